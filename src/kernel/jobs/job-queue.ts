import type { Call } from '../call.ts'
import type { Db } from '../db/database.ts'

/** What JSON can say. */
export type Json =
  | null
  | boolean
  | number
  | string
  | readonly Json[]
  | { readonly [key: string]: Json | undefined }

/** The one table of the queue, in each database that holds jobs. Times are ISO-8601 text. */
export interface JobsTable {
  id: string
  /** Which definition runs it, for instance `volume.create`. */
  kind: string
  /** Jobs of one resource run one after the other, oldest first. */
  resource: string
  /** JSON. */
  payload: string
  /** JSON, what `Job.save` wrote last; null before. */
  state: string | null
  /** How often a run has begun, in this process or in one that died. */
  attempts: number
  /** How many of those ended because their process was stopped: they do not count against `maxAttempts`. */
  stops: number
  run_at: string
  request_id: string
  created_at: string
}

export interface JobTables {
  jobs: JobsTable
  /** PostgreSQL only: by which lock it can be seen whether a worker of graphile-worker is alive. */
  job_workers: { worker_id: string; lock_key: number }
}

/** A job as its handler sees it. */
export interface Job extends Call {
  readonly id: string
  /** The request that asked for it, `req-…`, for logs and user messages. */
  readonly requestId: string
  /** 1 for the first run; more after a crash or a retry. */
  readonly attempt: number
  /** What the last `save` wrote, in this run or in one that died. */
  readonly state: Json | undefined
  /** Records progress durably, so that the next run can go on from there. */
  save(state: Json): Promise<void>
}

/**
 * What a kind of job does. Both functions may be killed at any line and run again from the top: they are
 * idempotent.
 */
export interface JobDefinition<Payload extends Json> {
  readonly kind: string
  /** Runs that may fail with a retryable `BackendError`, or die with the process, before it is given up; 5. */
  readonly maxAttempts?: number
  run(payload: Payload, job: Job): Promise<void>
  /** Called when `run` has failed for good: undoes what is half-made and leaves the resource in its error state. */
  fail(payload: Payload, error: unknown, job: Job): Promise<void>
}

/**
 * Durable work. A job is enqueued in the transaction of the state change that it belongs to; it runs at least
 * once, whatever process dies when.
 */
export interface JobQueue extends AsyncDisposable {
  /** @param db the open transaction; the job exists when, and only when, that commits */
  enqueue<Payload extends Json>(
    db: Db<JobTables>,
    definition: Pick<JobDefinition<Payload>, 'kind'>,
    job: { resource: string; payload: Payload; requestId: string; delayMs?: number },
  ): Promise<void>
  /** Begins to run jobs, those of earlier processes first. */
  start(definitions: readonly AnyJobDefinition[]): Promise<void>
  /** Resolves when no job is running or due. For tests and for a clean stop. */
  idle(): Promise<void>
}

/** A definition of whatever payload; `defineJob` makes one. */
export type AnyJobDefinition = JobDefinition<never>

export function defineJob<Payload extends Json>(definition: JobDefinition<Payload>): JobDefinition<Payload> {
  return definition
}
