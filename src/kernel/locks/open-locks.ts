import type { Database } from '../db/database.ts'
import type { Logger } from '../log.ts'
import { type Locks, processLocks } from './locks.ts'

/** The locks that suit the database: of this process on SQLite, of all processes on PostgreSQL. */
export async function openLocks(options: {
  database: Pick<Database<unknown>, 'engine' | 'url'>
  log: Logger
}): Promise<Locks & AsyncDisposable> {
  if (options.database.engine === 'sqlite') {
    return { ...processLocks(), async [Symbol.asyncDispose]() {} }
  }
  const { postgresLocks } = await import('./postgres-locks.ts')
  return postgresLocks({ url: options.database.url, log: options.log })
}
