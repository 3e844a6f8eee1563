import { GiB } from '../../kernel/bytes.ts'
import { messageOf } from '../../kernel/errors.ts'
import { defineJob, type JobDefinition } from '../../kernel/jobs/job-queue.ts'
import { type Block, enqueue } from '../context.ts'
import { InvalidState } from '../errors.ts'
import type { BlockRequest } from '../operation.ts'
import { authorize } from '../policy.ts'
import type { Activity } from './progress.ts'
import { Progress } from './progress.ts'
import { chainOf, findBackup, lockBackup, updateBackup } from './queries.ts'
import { Interrupted, workerOf } from './worker.ts'

/**
 * Begins to read a backup back, with all that it is an increment of; what comes of it is shown by its progress.
 * @throws NotFound, Forbidden, InvalidState
 */
export async function verifyBackup(block: Block, request: BlockRequest, id: string): Promise<void> {
  await block.db.transaction().execute(async (transaction) => {
    const backup = await lockBackup(transaction, request, id)
    authorize(request.identity, 'backup:restore', backup.project_id)
    if (backup.status !== 'available') {
      throw new InvalidState('Invalid backup: Backup status must be available')
    }
    const now = block.now().toISOString()
    const activity: Activity = {
      operation: 'verify',
      doneBytes: 0,
      totalBytes: backup.size_gib * GiB,
      startedAt: now,
      updatedAt: now,
    }
    await updateBackup(transaction, id, { activity: JSON.stringify(activity) })
    await enqueue(block, transaction, 'backup.verify', {
      resource: workerOf(block, id),
      payload: { backupId: id },
      requestId: request.requestId,
    })
  })
}

/** Reads a backup and checks every digest; nothing is written but the result. */
export function verifyBackupJob(block: Block): JobDefinition<{ readonly backupId: string }> {
  return defineJob<{ readonly backupId: string }>({
    kind: 'backup.verify',

    async run({ backupId }, job) {
      const backup = await findBackup(block.db, backupId)
      if (backup === undefined) return
      if (job.state !== undefined) throw new Interrupted()
      await job.save({ begun: true })
      const chain = await chainOf(block, backup)
      const driver = await block.backups.ready(backup.handler, job.signal)
      await using progress = new Progress(block, backup, 'verify', backup.size_gib * GiB, job)
      await driver.verify(chain, progress.call)
      await updateBackup(block.db, backupId, { activity: progress.finished() })
      job.log.info({ backupId }, 'backup verified')
    },

    async fail({ backupId }, error, job) {
      job.log.error({ backupId, error: messageOf(error) }, 'backup is damaged, or cannot be read')
      const backup = await findBackup(block.db, backupId)
      if (backup === undefined) return
      const now = block.now().toISOString()
      const before = backup.activity === null ? {} : Object(JSON.parse(backup.activity))
      const activity = { ...before, operation: 'verify', updatedAt: now, finishedAt: now }
      await updateBackup(block.db, backupId, {
        activity: JSON.stringify({ ...activity, error: messageOf(error) }),
      })
    },
  })
}
