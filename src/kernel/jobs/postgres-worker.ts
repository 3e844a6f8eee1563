import { EventEmitter } from 'node:events'
import type { RunnerOptions, TaskList, WorkerEvents } from 'graphile-worker'
import { type RawBuilder, sql } from 'kysely'
import type { Pool } from 'pg'
import { sleep } from '../call.ts'
import type { Database } from '../db/database.ts'
import type { Logger } from '../log.ts'
import type { JobsTable, JobTables } from './job-queue.ts'
import { livenessSpace, showLiveness } from './worker-liveness.ts'

/** How often the jobs of dead processes are looked for: soon after the start, then seldom. Milliseconds. */
const firstSweepsMs = [0, 500, 2_000]
const sweepEveryMs = 10_000
/** Wait before a worker that lost the database begins anew, in milliseconds. */
const restartAfterMs = 1_000
/** NOTIFY wakes workers at once; polling is for what is due later. Milliseconds. */
const pollMs = 500
/** Workers need a connection only to take a job and to give it back; one listens. */
const poolSize = 6
/** A worker that is not recorded after this many seconds never will be. */
const unrecordedSeconds = 30

/** This process's workers. Disposing stops taking jobs and waits, for some seconds, for the running ones. */
export type PostgresWorker = AsyncDisposable

interface Options {
  database: Database<JobTables>
  schema: string
  log: Logger
  kinds: readonly string[]
  concurrency: number
  /** @param lost is aborted when others may have begun to take this process for dead */
  run(id: string, lost: AbortSignal): Promise<void>
  deliver(row: JobsTable): RawBuilder<unknown>
}

/**
 * Runs graphile-worker for as long as it is not disposed, beginning anew when the database went away, and frees
 * the jobs of processes that died: graphile-worker itself would leave them locked for hours.
 */
export async function startPostgresWorker(options: Options): Promise<PostgresWorker> {
  const { database, log } = options
  const { default: pg } = await import('pg')
  const pool = new pg.Pool({
    connectionString: database.url,
    max: poolSize,
    connectionTimeoutMillis: 10_000,
  })
  // a broken connection is replaced; queries report their own errors
  pool.on('error', () => {})
  pool.on('connect', (client) => client.on('error', () => {}))
  const stopping = new AbortController()
  const started = Promise.withResolvers<void>()

  const finished = (async () => {
    while (!stopping.signal.aborted) {
      try {
        await workOnce(options, pool, stopping.signal, started.resolve)
      } catch (error) {
        started.reject(error)
        if (!stopping.signal.aborted) log.error({ err: error }, 'the job workers stopped, and begin anew')
      }
      await sleep(restartAfterMs, stopping.signal).catch(() => {})
    }
  })()
  try {
    await started.promise
  } catch (error) {
    stopping.abort()
    await finished
    await pool.end()
    throw error
  }
  return {
    async [Symbol.asyncDispose]() {
      stopping.abort()
      await finished
      await pool.end()
    },
  }
}

/** Until the workers are stopped or the database goes away. */
async function workOnce(
  options: Options,
  pool: Pool,
  stopping: AbortSignal,
  started: () => void,
): Promise<void> {
  const { database, schema, log } = options
  await using liveness = await showLiveness(database.url)
  const { run, Logger } = await import('graphile-worker')
  const lost = new AbortController()
  const workerIds: string[] = []
  const events: WorkerEvents = new EventEmitter()
  events.on('pool:create', ({ workerPool }) => {
    workerIds.push(workerPool.id) // jobs are locked in the name of the pool
  })

  const taskList: TaskList = {}
  for (const kind of options.kinds) {
    taskList[kind] = (payload: unknown) => options.run((payload as { id: string }).id, lost.signal) // see addJob
  }
  const settings: RunnerOptions = {
    pgPool: pool,
    schema,
    taskList,
    events,
    concurrency: options.concurrency,
    pollInterval: pollMs,
    noHandleSignals: true,
    logger: new Logger(() => (level, message) => {
      if (level === 'error') log.warn({ graphile: message }, 'job worker')
      else log.debug({ graphile: message }, 'job worker')
    }),
  }
  const runner = await run(settings)
  try {
    await recordWorkers(database, workerIds, liveness.lockKey)
    started()
    const stopped = new Promise<void>((resolve) => {
      if (stopping.aborted) resolve()
      else stopping.addEventListener('abort', () => resolve(), { once: true })
    })
    const ended = Promise.race([
      stopped,
      runner.promise,
      liveness.lost.then(() => lost.abort(new Error('the connection to the database is lost'))),
    ])
    let over = false
    const sweeping = (async () => {
      for (let round = 0; !over; round++) {
        const pause = new AbortController()
        const wait = sleep(firstSweepsMs[round] ?? sweepEveryMs, pause.signal).catch(() => {})
        await Promise.race([wait, ended.catch(() => {})])
        pause.abort()
        if (over || stopping.aborted || lost.signal.aborted) return
        await sweep(options, pool).catch((error: unknown) => {
          log.warn({ err: error }, 'jobs of dead processes could not be looked for, will be tried again')
        })
      }
    })()
    try {
      await ended
    } finally {
      over = true
      await sweeping
    }
  } finally {
    await runner.stop().catch(() => {}) // it has stopped by itself
    await runner.promise.catch(() => {}) // its last statements may outlive `stop`
    await forgetWorkers(database, workerIds).catch(() => {}) // a sweep does it
  }
}

async function recordWorkers(
  database: Database<JobTables>,
  workerIds: readonly string[],
  lockKey: number,
): Promise<void> {
  const rows = workerIds.map((id) => ({ worker_id: id, lock_key: lockKey }))
  if (rows.length > 0) await database.kysely.insertInto('job_workers').values(rows).execute()
}

async function forgetWorkers(database: Database<JobTables>, workerIds: readonly string[]): Promise<void> {
  if (workerIds.length === 0) return
  await database.kysely.deleteFrom('job_workers').where('worker_id', 'in', workerIds).execute()
}

/** Frees what dead workers hold, and delivers again the rows that have lost their delivery. */
async function sweep(options: Options, pool: Pool): Promise<void> {
  const { database, schema, log } = options
  const db = database.kysely
  const jobs = sql.id(schema, '_private_jobs')
  const queues = sql.id(schema, '_private_job_queues')

  const recorded = await db.selectFrom('job_workers').selectAll().execute()
  const deadKeys = new Set<number>()
  for (const key of new Set(recorded.map((row) => row.lock_key))) {
    // whoever can take the lock knows that its holder is dead; it is given back at the statement's end
    const { rows } = await sql<{ free: boolean }>`
      select pg_try_advisory_xact_lock(${livenessSpace}::integer, ${key}::integer) as free`.execute(db)
    if (rows[0]?.free === true) deadKeys.add(key)
  }
  const known = new Set(recorded.map((row) => row.worker_id))
  const { rows: lockers } = await sql<{ worker: string }>`
    select locked_by as worker from ${jobs}
      where locked_at < now() - make_interval(secs => ${unrecordedSeconds}::double precision)
    union select locked_by from ${queues}
      where locked_at < now() - make_interval(secs => ${unrecordedSeconds}::double precision)`.execute(db)
  const dead = [
    ...recorded.filter((row) => deadKeys.has(row.lock_key)).map((row) => row.worker_id),
    ...lockers.map((row) => row.worker).filter((worker) => !known.has(worker)),
  ]
  if (dead.length > 0) {
    const { makeWorkerUtils } = await import('graphile-worker')
    const utils = await makeWorkerUtils({ pgPool: pool, schema })
    try {
      await utils.forceUnlockWorkers(dead)
    } finally {
      await utils.release()
    }
    await forgetWorkers(database, dead)
    log.warn({ workers: dead.length }, 'freed the jobs of a process that died')
  }

  const { rows: orphans } = await sql<JobsTable>`
    select job.* from jobs as job
    where not exists (select from jobs as older where older.resource = job.resource and older.id < job.id)
      and not exists (
        select from ${jobs} as delivery
        where delivery.key = job.id and delivery.attempts < delivery.max_attempts
      )`.execute(db)
  for (const row of orphans) await options.deliver(row).execute(db)
}
