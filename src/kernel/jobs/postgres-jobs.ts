import { type RawBuilder, sql } from 'kysely'
import type { Database, Db } from '../db/database.ts'
import type { Logger } from '../log.ts'
import type { AnyJobDefinition, JobQueue, JobsTable, JobTables } from './job-queue.ts'
import { newJobRow } from './job-row.ts'
import { type PostgresWorker, startPostgresWorker } from './postgres-worker.ts'
import { runJob } from './run-job.ts'

/** How often `idle` looks, in milliseconds. */
const idlePollMs = 25
/** A row that is due this soon, in milliseconds, is run now: clocks of hosts differ. */
const earlyMs = 1_000
/** Deliveries that may fail because the database does; `attempts` of the row count the runs. */
const maxDeliveries = 1_000

/**
 * The queue of several processes: the same rows as on SQLite, delivered by graphile-worker, whose job says no
 * more than "run row N". Its named queues keep the jobs of one resource apart.
 * @param options.database its URL is used for connections of the queue's own; closing it remains the caller's
 */
export async function postgresJobQueue(options: {
  database: Database<JobTables>
  log: Logger
  /** Jobs of different resources that may run in this process at once. */
  concurrency?: number
}): Promise<JobQueue> {
  const { database, log } = options
  const db = database.kysely
  const schema = await graphileSchema(db)
  const { runMigrations } = await import('graphile-worker')
  await runMigrations({ connectionString: database.url, schema })

  const stopping = new AbortController()
  const definitions = new Map<string, AnyJobDefinition>()
  let worker: PostgresWorker | undefined
  let running = 0
  /** Rows that this process was given and did not finish; delivered again when it takes no more. */
  const leftOver: JobsTable[] = []

  const deliver = (row: JobsTable) => addJob(schema, row)

  /** Runs a row, unless an older one of its resource is still there: that one calls for it when it is done. */
  async function run(id: string, lost: AbortSignal): Promise<void> {
    const row = await db.selectFrom('jobs').selectAll().where('id', '=', id).executeTakeFirst()
    if (row === undefined) return
    if (stopping.signal.aborted) {
      leftOver.push(row)
      return
    }
    const first = await oldestOf(db, row.resource)
    if (first !== undefined && first.id !== row.id) return
    if (Date.parse(row.run_at) > Date.now() + earlyMs) {
      await deliver(row).execute(db)
      return
    }
    running++
    try {
      const signal = AbortSignal.any([stopping.signal, lost])
      const outcome = await runJob(db, row, definitions, { signal, log })
      if (outcome.done) {
        const next = await oldestOf(db, row.resource)
        if (next !== undefined) await deliver(next).execute(db)
        return
      }
      if (lost.aborted) return // others have seen it end, and deliver the row again
      if (stopping.signal.aborted) {
        leftOver.push(row)
        return
      }
      const again = { ...row, run_at: new Date(Date.now() + outcome.retryAfterMs).toISOString() }
      await db.transaction().execute(async (transaction) => {
        await transaction.updateTable('jobs').set({ run_at: again.run_at }).where('id', '=', id).execute()
        await deliver(again).execute(transaction)
      })
    } finally {
      running--
    }
  }

  return {
    async enqueue(transaction, definition, job) {
      const row = newJobRow(definition, job, new Date())
      await transaction.insertInto('jobs').values(row).execute()
      await deliver(row).execute(transaction)
    },

    async start(list) {
      for (const definition of list) definitions.set(definition.kind, definition)
      worker = await startPostgresWorker({
        database,
        schema,
        log,
        kinds: [...definitions.keys()],
        concurrency: options.concurrency ?? 16,
        run,
        deliver,
      })
    },

    async idle() {
      while (worker !== undefined && !stopping.signal.aborted) {
        if (running === 0 && !(await anyDue(db, definitions))) return
        await new Promise((resolve) => setTimeout(resolve, idlePollMs))
      }
    },

    async [Symbol.asyncDispose]() {
      stopping.abort(new Error('the service is stopping'))
      await worker?.[Symbol.asyncDispose]()
      for (const row of leftOver) {
        await deliver(row)
          .execute(db)
          .catch((error: unknown) => {
            log.warn({ err: error, job: row.kind }, 'a job was left to be found by a later sweep')
          })
      }
    },
  }
}

/** graphile-worker's own schema; one for each schema of ours, so that tests do not see each other's jobs. */
async function graphileSchema(db: Db<JobTables>): Promise<string> {
  const { rows } = await sql<{ name: string }>`select current_schema() as name`.execute(db)
  const own = rows[0]?.name ?? 'public'
  return own === 'public' ? 'graphile_worker' : `${own}_graphile`
}

/** Delivers a row when it is due; a delivery that is waiting already is replaced. */
function addJob(schema: string, row: JobsTable): RawBuilder<unknown> {
  return sql`select from ${sql.id(schema, 'add_job')}(
    identifier => ${row.kind},
    payload => ${JSON.stringify({ id: row.id })}::json,
    queue_name => ${row.resource},
    run_at => ${row.run_at}::timestamptz,
    max_attempts => ${maxDeliveries}::integer,
    job_key => ${row.id}
  )`
}

function oldestOf(db: Db<JobTables>, resource: string): Promise<JobsTable | undefined> {
  return db
    .selectFrom('jobs')
    .selectAll()
    .where('resource', '=', resource)
    .orderBy('id')
    .limit(1)
    .executeTakeFirst()
}

/** Is there a resource whose oldest job is due, of a kind that we run? */
async function anyDue(db: Db<JobTables>, definitions: ReadonlyMap<string, unknown>): Promise<boolean> {
  const rows = await db.selectFrom('jobs').select(['resource', 'kind', 'run_at']).orderBy('id').execute()
  const seen = new Set<string>()
  return rows.some((row) => {
    if (seen.has(row.resource)) return false
    seen.add(row.resource)
    return definitions.has(row.kind) && Date.parse(row.run_at) <= Date.now()
  })
}
