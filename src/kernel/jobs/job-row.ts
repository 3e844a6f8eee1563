import { randomUUID } from 'node:crypto'
import type { JobDefinition, JobsTable, Json } from './job-queue.ts'

let sequence = 0

/** A new row of the queue. Ids sort by time of creation, also among those of one millisecond. */
export function newJobRow<Payload extends Json>(
  definition: Pick<JobDefinition<Payload>, 'kind'>,
  job: { resource: string; payload: Payload; requestId: string; delayMs?: number },
  created: Date,
): JobsTable {
  const time = created.getTime().toString(16).padStart(12, '0')
  const order = (sequence++).toString(16).padStart(6, '0')
  return {
    id: `${time}-${order}-${randomUUID().slice(0, 8)}`,
    kind: definition.kind,
    resource: job.resource,
    payload: JSON.stringify(job.payload),
    state: null,
    attempts: 0,
    stops: 0,
    run_at: new Date(created.getTime() + (job.delayMs ?? 0)).toISOString(),
    request_id: job.requestId,
    created_at: created.toISOString(),
  }
}
