import type { AnyJobDefinition } from '../../kernel/jobs/job-queue.ts'
import type { Block } from '../context.ts'
import { createBackupJob } from './create-job.ts'
import { deleteBackupJob } from './delete.ts'
import { importBackupJob } from './import-job.ts'
import { restoreBackupJob } from './restore-job.ts'
import { verifyBackupJob } from './verify.ts'

/** Every kind of job on backups. */
export function backupJobs(block: Block): readonly AnyJobDefinition[] {
  return [
    createBackupJob(block),
    deleteBackupJob(block),
    restoreBackupJob(block),
    verifyBackupJob(block),
    importBackupJob(block),
  ] as unknown as readonly AnyJobDefinition[] // a definition takes only payloads that it was enqueued with itself
}
