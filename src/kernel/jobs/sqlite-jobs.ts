import type { Kysely } from 'kysely'
import type { Logger } from '../log.ts'
import type { AnyJobDefinition, JobQueue, JobsTable, JobTables } from './job-queue.ts'
import { newJobRow } from './job-row.ts'
import { runJob } from './run-job.ts'

/** How long `close` waits for running jobs to notice that they are cancelled, in milliseconds. */
const stopPatienceMs = 10_000

/**
 * The queue of a single process: rows in SQLite, woken in memory.
 *
 * A running job that the process takes down with it is found at the next start, because its row is still there.
 */
export function sqliteJobQueue(options: {
  db: Kysely<JobTables>
  log: Logger
  /** Jobs of different resources that may run at once. */
  concurrency?: number
  now?: () => Date
}): JobQueue {
  const { db, log } = options
  const concurrency = options.concurrency ?? 16
  const now = options.now ?? (() => new Date())
  const stopping = new AbortController()
  const definitions = new Map<string, AnyJobDefinition>()
  const busyResources = new Set<string>()
  const running = new Set<Promise<void>>()
  const idleWaiters = new Set<() => void>()
  let started = false
  let scanning: Promise<void> | undefined
  let scanAgain = false
  let timer: NodeJS.Timeout | undefined

  function wake(): void {
    if (!started || stopping.signal.aborted) return
    if (scanning !== undefined) {
      scanAgain = true
      return
    }
    scanning = scan()
      .catch((error: unknown) => {
        log.error({ err: error }, 'the job queue could not be read, will be tried again')
        later(1_000)
      })
      .finally(() => {
        scanning = undefined
        if (scanAgain) {
          scanAgain = false
          wake()
        } else if (running.size === 0) {
          for (const resolve of idleWaiters) resolve()
          idleWaiters.clear()
        }
      })
  }

  function later(milliseconds: number): void {
    clearTimeout(timer)
    timer = setTimeout(wake, milliseconds)
    timer.unref()
  }

  /** Starts what is due: of each resource that nothing runs for the oldest job, if there is room for it. */
  async function scan(): Promise<void> {
    const heads = db
      .selectFrom('jobs')
      .select(({ fn }) => fn.min('id').as('id'))
      .groupBy('resource')
    const time = now()
    const free = concurrency - running.size
    if (free > 0) {
      const rows = await db
        .selectFrom('jobs')
        .selectAll()
        .where('id', 'in', heads)
        .where('run_at', '<=', time.toISOString())
        .where('resource', 'not in', [...busyResources])
        .orderBy('id')
        .limit(free)
        .execute()
      if (stopping.signal.aborted) return
      for (const row of rows) begin(row)
    }
    const next = await db
      .selectFrom('jobs')
      .select(({ fn }) => fn.min('run_at').as('run_at'))
      .where('id', 'in', heads)
      .where('run_at', '>', time.toISOString())
      .executeTakeFirst()
    if (next?.run_at != null) later(Math.min(Date.parse(next.run_at) - time.getTime(), 60_000))
  }

  function begin(row: JobsTable): void {
    busyResources.add(row.resource)
    const run = runJob(db, row, definitions, { signal: stopping.signal, log })
      .then(async (outcome) => {
        if (outcome.done || stopping.signal.aborted) return
        const runAt = new Date(now().getTime() + outcome.retryAfterMs).toISOString()
        await db.updateTable('jobs').set({ run_at: runAt }).where('id', '=', row.id).execute()
      })
      .catch((error: unknown) => {
        log.error({ err: error, job: row.kind, resource: row.resource }, 'the job queue could not be written')
      })
      .finally(() => {
        busyResources.delete(row.resource)
        running.delete(run)
        wake()
      })
    running.add(run)
  }

  return {
    async enqueue(transaction, definition, job) {
      await transaction
        .insertInto('jobs')
        .values(newJobRow(definition, job, now()))
        .execute()
      setImmediate(wake) // the scan waits for the transaction: SQLite has one connection
    },

    async start(list) {
      for (const definition of list) definitions.set(definition.kind, definition)
      started = true
      wake()
    },

    idle() {
      if (!started) return Promise.resolve()
      return new Promise((resolve) => {
        idleWaiters.add(resolve)
        wake()
      })
    },

    async [Symbol.asyncDispose]() {
      stopping.abort(new Error('the service is stopping'))
      clearTimeout(timer)
      await scanning
      let patience: NodeJS.Timeout | undefined
      await Promise.race([
        Promise.allSettled(running),
        new Promise((resolve) => {
          patience = setTimeout(resolve, stopPatienceMs)
        }),
      ])
      clearTimeout(patience)
    },
  }
}
