import type { AnyJobDefinition } from '../kernel/jobs/job-queue.ts'
import { backupJobs } from './backups/jobs.ts'
import type { Block } from './context.ts'
import { takeTogetherJob } from './group-snapshots/take-together.ts'
import { createGroupJob } from './groups/create.ts'
import { createSnapshotJob } from './snapshots/create.ts'
import { deleteSnapshotJob } from './snapshots/delete.ts'
import { manageSnapshotJob } from './snapshots/manage/manage.ts'
import { unmanageSnapshotJob } from './snapshots/manage/unmanage.ts'
import { createVolumeJob } from './volumes/create-job.ts'
import { deleteVolumeJob } from './volumes/delete-job.ts'
import { extendVolumeJob } from './volumes/extend.ts'
import { manageVolumeJob } from './volumes/manage/manage.ts'
import { unmanageVolumeJob } from './volumes/manage/unmanage.ts'
import { migrateVolumeJob } from './volumes/migration/migrate.ts'
import { retypeVolumeJob } from './volumes/migration/retype.ts'
import { reimageVolumeJob } from './volumes/reimage.ts'
import { revertVolumeJob } from './volumes/revert.ts'
import { uploadVolumeJob } from './volumes/upload-job.ts'

/** Every kind of job of the block storage service. */
export function blockJobs(block: Block): readonly AnyJobDefinition[] {
  return [
    ...backupJobs(block),
    createVolumeJob(block),
    deleteVolumeJob(block),
    extendVolumeJob(block),
    uploadVolumeJob(block),
    reimageVolumeJob(block),
    revertVolumeJob(block),
    retypeVolumeJob(block),
    migrateVolumeJob(block),
    manageVolumeJob(block),
    unmanageVolumeJob(block),
    manageSnapshotJob(block),
    unmanageSnapshotJob(block),
    createSnapshotJob(block),
    deleteSnapshotJob(block),
    createGroupJob(block),
    takeTogetherJob(block),
  ] as unknown as readonly AnyJobDefinition[] // a definition takes only payloads that it was enqueued with itself
}
