import type { AnyJobDefinition } from '../kernel/jobs/job-queue.ts'
import type { Block } from './context.ts'
import { createGroupJob } from './groups/create.ts'
import { createSnapshotJob } from './snapshots/create.ts'
import { deleteSnapshotJob } from './snapshots/delete.ts'
import { createVolumeJob } from './volumes/create-job.ts'
import { deleteVolumeJob } from './volumes/delete-job.ts'
import { extendVolumeJob } from './volumes/extend.ts'

/** Every kind of job of the block storage service. */
export function blockJobs(block: Block): readonly AnyJobDefinition[] {
  return [
    createVolumeJob(block),
    deleteVolumeJob(block),
    extendVolumeJob(block),
    createSnapshotJob(block),
    deleteSnapshotJob(block),
    createGroupJob(block),
  ] as unknown as readonly AnyJobDefinition[] // a definition takes only payloads that it was enqueued with itself
}
