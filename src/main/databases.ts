import { type Kysely, sql } from 'kysely'
import { type Database, openDatabase } from '../kernel/db/database.ts'
import { migrate } from '../kernel/db/migrate.ts'
import { Misconfigured, messageOf } from '../kernel/errors.ts'
import type { JobQueue, JobTables } from '../kernel/jobs/job-queue.ts'
import { jobMigrations } from '../kernel/jobs/migrations.ts'
import { openJobQueue } from '../kernel/jobs/open-job-queue.ts'
import type { Locks } from '../kernel/locks/locks.ts'
import { openLocks } from '../kernel/locks/open-locks.ts'
import type { Logger } from '../kernel/log.ts'

/** One open database with its job queue and locks. */
export interface SharedDatabase {
  /** The tables a service declares live here: it says which when it takes it. */
  as<Tables>(): Database<Tables & JobTables>
  readonly jobs: JobQueue
  readonly locks: Locks
}

/**
 * The databases of one process: services that name the same URL share one connection pool, one queue and one set
 * of locks. On SQLite they must: two connections of one process would wait for each other's write locks.
 */
export class Databases implements AsyncDisposable {
  readonly #log: Logger
  readonly #open = new Map<string, Promise<SharedDatabase>>()
  readonly #closers: (() => PromiseLike<void>)[] = []

  constructor(log: Logger) {
    this.#log = log
  }

  /** @throws Misconfigured for a kind of database that is not supported, and for one that cannot be used */
  open(url: string): Promise<SharedDatabase> {
    const known = this.#open.get(url)
    if (known !== undefined) return known
    const opened = this.#openNew(url)
    this.#open.set(url, opened)
    return opened
  }

  async #openNew(url: string): Promise<SharedDatabase> {
    const database = await openDatabase<JobTables>(url)
    this.#closers.push(() => database[Symbol.asyncDispose]())
    await checkUsable(database)
    await migrate(database.kysely, 'jobs', jobMigrations)
    const locks = await openLocks({ database, log: this.#log.child({ part: 'locks' }) })
    this.#closers.push(() => locks[Symbol.asyncDispose]())
    const jobs = await openJobQueue({ database, log: this.#log.child({ part: 'jobs' }) })
    this.#closers.push(() => jobs[Symbol.asyncDispose]())
    return {
      as: <Tables>() => ({
        engine: database.engine,
        url: database.url,
        // The same connection, seen with the tables of the service that asks: each migrates its own.
        kysely: database.kysely as unknown as Kysely<Tables & JobTables>,
        [Symbol.asyncDispose]: async () => {},
      }),
      jobs,
      locks,
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const close of this.#closers.toReversed()) await close()
  }
}

/** @throws Misconfigured that names the database, but not the password in its URL */
async function checkUsable({ kysely, url }: Database<JobTables>): Promise<void> {
  try {
    await sql`select 1`.execute(kysely)
  } catch (cause) {
    const shown = url.replace(/(\/\/[^:@]*):.*@/, '$1:•••@').replace(/(password=)[^&]*/, '$1•••')
    throw new Misconfigured(`The database ${shown} cannot be used: ${messageOf(cause)}`, { cause })
  }
}
