import { messageOf } from '../../kernel/errors.ts'
import { defineJob, type JobDefinition } from '../../kernel/jobs/job-queue.ts'
import { type Block, enqueue } from '../context.ts'
import { InvalidState } from '../errors.ts'
import { actions, details, writeMessage } from '../messages/queries.ts'
import { notifyBackup } from '../notifications/backups.ts'
import type { BlockRequest } from '../operation.ts'
import { authorize } from '../policy.ts'
import { findVolume } from '../volumes/queries.ts'
import { requireBackupHost } from './backup-service.ts'
import {
  deleteBackupRow,
  findBackup,
  hasIncrements,
  lockBackup,
  storedBackup,
  transitionBackup,
  updateBackup,
} from './queries.ts'
import { removeMoment } from './source.ts'

/**
 * Marks a backup as deleting and records the job. A backup that is being made is cancelled by it.
 * @param force the status does not matter; only for admins
 * @throws NotFound, Forbidden, InvalidState
 */
export async function deleteBackup(
  block: Block,
  request: BlockRequest,
  id: string,
  force = false,
): Promise<void> {
  await block.db.transaction().execute(async (transaction) => {
    const backup = await lockBackup(transaction, request, id)
    if (force) {
      const rule = 'volume_extension:backup_admin_actions:force_delete'
      authorize(request.identity, rule, backup.project_id)
    }
    authorize(request.identity, 'backup:delete', backup.project_id)
    if (!force && backup.status !== 'available' && backup.status !== 'error') {
      throw new InvalidState('Invalid backup: Backup status must be available or error')
    }
    if (await hasIncrements(transaction, id)) {
      throw new InvalidState('Invalid backup: Incremental backups exist for this backup.')
    }
    await requireBackupHost(block, transaction, backup.availability_zone)
    await updateBackup(transaction, id, { status: 'deleting', updated_at: block.now().toISOString() })
    await enqueue(block, transaction, 'backup.delete', {
      resource: `backup:${id}`,
      payload: { backupId: id },
      requestId: request.requestId,
    })
  })
}

/** Removes a backup: from its target, then from the database. Waits for those who work on it to give up. */
export function deleteBackupJob(block: Block): JobDefinition<{ readonly backupId: string }> {
  return defineJob<{ readonly backupId: string }>({
    kind: 'backup.delete',

    async run({ backupId }, job) {
      const backup = await findBackup(block.db, backupId)
      if (backup?.status !== 'deleting') return
      notifyBackup(block, 'delete.start', backup)
      await block.backups.exclusively(backupId, job.signal, async () => {
        const stored = storedBackup(backup)
        if (stored !== undefined) {
          const driver = await block.backups.ready(backup.handler, job.signal)
          await driver.delete(stored, job)
        }
        const volume = await findVolume(block.db, backup.volume_id)
        if (volume !== undefined) {
          // a backend that is away does not keep a backup from going: its next backup removes the moment
          await removeMoment(block, backup, volume, job).catch((error: unknown) => {
            job.log.warn({ backupId, error: messageOf(error) }, 'the moment of a deleted backup was left')
          })
        }
        await deleteBackupRow(block.db, backupId)
      })
      notifyBackup(block, 'delete.end', { ...backup, status: 'deleted' })
      job.log.info({ backupId }, 'backup deleted')
    },

    async fail({ backupId }, error, job) {
      await block.db.transaction().execute(async (transaction) => {
        const failed = await transitionBackup(transaction, backupId, ['deleting'], {
          status: 'error_deleting',
          fail_reason: messageOf(error).slice(0, 255),
          updated_at: block.now().toISOString(),
        })
        if (failed === undefined) return
        await writeMessage(block, transaction, {
          projectId: failed.project_id,
          requestId: job.requestId,
          resourceType: 'VOLUME_BACKUP',
          resourceId: backupId,
          action: actions.deleteBackup,
          detail: details.backupDeleteDriverError,
          sentence: messageOf(error),
        })
      })
    },
  })
}
