import type { Kysely } from 'kysely'
import { BackendError, messageOf } from '../errors.ts'
import type { Logger } from '../log.ts'
import type { AnyJobDefinition, Job, JobDefinition, JobsTable, JobTables, Json } from './job-queue.ts'

const defaultMaxAttempts = 5
/** Between two tries to run a `fail` that failed itself. */
const failRetryMs = 10_000

/** What became of one run. */
export type Outcome = { done: true } | { done: false; retryAfterMs: number }

/**
 * Runs one row of the queue once, and removes it when it needs no further run. The same for every engine: they
 * differ only in who calls it, and when.
 */
export async function runJob(
  db: Kysely<JobTables>,
  row: JobsTable,
  definitions: ReadonlyMap<string, AnyJobDefinition>,
  context: { signal: AbortSignal; log: Logger },
): Promise<Outcome> {
  const log = context.log.child({ job: row.kind, resource: row.resource, requestId: row.request_id })
  const found = definitions.get(row.kind)
  if (found === undefined) {
    log.error('no such kind of job; left in the queue for a process that knows it')
    return { done: false, retryAfterMs: 60_000 }
  }
  const definition = found as unknown as JobDefinition<Json> // the payload was written by the same definition
  const attempt = row.attempts + 1
  const maxAttempts = definition.maxAttempts ?? defaultMaxAttempts
  await db.updateTable('jobs').set({ attempts: attempt }).where('id', '=', row.id).execute()

  let state: Json | undefined = row.state === null ? undefined : (JSON.parse(row.state) as Json)
  const job: Job = {
    id: row.id,
    requestId: row.request_id,
    attempt,
    signal: context.signal,
    log,
    get state() {
      return state
    },
    async save(next) {
      await db
        .updateTable('jobs')
        .set({ state: JSON.stringify(next) })
        .where('id', '=', row.id)
        .execute()
      state = next
    },
  }
  const payload = JSON.parse(row.payload) as Json

  let failure: unknown
  try {
    if (attempt - row.stops > maxAttempts) throw new Error(`gave up after ${maxAttempts} attempts`)
    await definition.run(payload, job)
    await db.deleteFrom('jobs').where('id', '=', row.id).execute()
    return { done: true }
  } catch (error) {
    failure = error
  }

  if (context.signal.aborted) {
    // stopping: the next process goes on
    await db
      .updateTable('jobs')
      .set({ stops: row.stops + 1 })
      .where('id', '=', row.id)
      .execute()
    return { done: false, retryAfterMs: 0 }
  }
  const retryAfterMs = failure instanceof BackendError ? failure.retryAfterMs : undefined
  if (retryAfterMs !== undefined && attempt - row.stops < maxAttempts) {
    log.warn({ error: messageOf(failure), attempt, retryAfterMs }, 'job failed, will be tried again')
    return { done: false, retryAfterMs }
  }
  log.error({ err: failure, attempt }, 'job failed')
  try {
    await definition.fail(payload, failure, job)
    await db.deleteFrom('jobs').where('id', '=', row.id).execute()
    return { done: true }
  } catch (error) {
    if (context.signal.aborted) return { done: false, retryAfterMs: 0 }
    log.error({ err: error }, 'cleaning up after a failed job failed, will be tried again')
    return { done: false, retryAfterMs: failRetryMs }
  }
}
