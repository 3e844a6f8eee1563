import type { Database } from '../db/database.ts'
import type { Logger } from '../log.ts'
import type { JobQueue, JobTables } from './job-queue.ts'
import { sqliteJobQueue } from './sqlite-jobs.ts'

/**
 * The queue that suits the database: its own runner on SQLite, graphile-worker (loaded only then) on PostgreSQL.
 * The tables must be there: `migrate(database.kysely, 'jobs', jobMigrations)`.
 */
export async function openJobQueue(options: {
  database: Database<JobTables>
  log: Logger
  /** Jobs of different resources that may run in this process at once; 16. */
  concurrency?: number
}): Promise<JobQueue> {
  const { database, ...rest } = options
  if (database.engine === 'sqlite') return sqliteJobQueue({ db: database.kysely, ...rest })
  const { postgresJobQueue } = await import('./postgres-jobs.ts')
  return postgresJobQueue(options)
}
