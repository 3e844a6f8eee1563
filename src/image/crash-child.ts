/** A service in a process of its own, for `crash.test.ts` to kill: arguments are a database URL and a directory. */
import { openDatabase } from '../kernel/db/database.ts'
import { migrate } from '../kernel/db/migrate.ts'
import { jobMigrations } from '../kernel/jobs/migrations.ts'
import type { ImageTables } from './db/tables.ts'
import { startTestService } from './testing.ts'

const [, , url = '', directory = ''] = process.argv
const database = await openDatabase<ImageTables>(url)
await migrate(database.kysely, 'jobs', jobMigrations)
const service = await startTestService(database, { directory })
process.stdout.write(`${await service.listen()}\n`)
