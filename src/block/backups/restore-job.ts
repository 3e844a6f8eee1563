import type { Transaction } from 'kysely'
import { GiB } from '../../kernel/bytes.ts'
import { BackendError, messageOf, NotFound } from '../../kernel/errors.ts'
import { defineJob, type Job, type JobDefinition } from '../../kernel/jobs/job-queue.ts'
import { type Block, type BlockDb, enqueue } from '../context.ts'
import type { Tables } from '../db/tables.ts'
import { actions, details, writeMessage } from '../messages/queries.ts'
import { notifyBackup } from '../notifications/backups.ts'
import { backendVolume } from '../volumes/backend-facts.ts'
import { findVolume, transitionVolume, type VolumeRow } from '../volumes/queries.ts'
import { Progress } from './progress.ts'
import { type BackupRow, chainOf, findBackup, updateBackup } from './queries.ts'
import { restoredFacts } from './volume-facts.ts'
import { whileWanted } from './watch.ts'
import { Interrupted, workerOf } from './worker.ts'

/** What the job that restores a backup is told. */
export interface RestorePayload {
  readonly [key: string]: string | boolean
  readonly backupId: string
  readonly volumeId: string
  /** The volume was made for it, and reads as zeroes. */
  readonly isNew: boolean
}

export async function enqueueRestore(
  block: Block,
  transaction: Transaction<Tables>,
  payload: RestorePayload,
  requestId: string,
): Promise<void> {
  const resource = workerOf(block, payload.backupId)
  await enqueue(block, transaction, 'backup.restore', { resource, payload, requestId })
}

/** The volume will not be restored to any more: the backup may be used again. */
export async function releaseRestoring(block: Block, db: BlockDb, volumeId: string): Promise<void> {
  await db
    .updateTable('backups')
    .set({ status: 'available', updated_at: block.now().toISOString() })
    .where('restore_volume_id', '=', volumeId)
    .where('status', '=', 'restoring')
    .execute()
}

/** Writes a backup's bytes to a volume. */
export function restoreBackupJob(block: Block): JobDefinition<RestorePayload> {
  return defineJob<RestorePayload>({
    kind: 'backup.restore',

    async run(payload, job) {
      const { backupId, volumeId } = payload
      const volume = await findVolume(block.db, volumeId)
      const backup = await findBackup(block.db, backupId)
      if (volume?.status !== 'restoring-backup') return await releaseRestoring(block, block.db, volumeId)
      if (backup === undefined) throw new NotFound(`Backup ${backupId} could not be found.`)
      if (job.state !== undefined) throw new Interrupted()
      await block.backups.ready(backup.handler, job.signal)
      await job.save({ begun: true })
      notifyBackup(block, 'restore.start', backup)
      const status = backup.status
      using wanted = whileWanted(job.signal, async () => {
        const now = await findBackup(block.db, backupId)
        const target = await findVolume(block.db, volumeId)
        const isReset = status === 'restoring' && now?.status !== 'restoring'
        return !isReset && target?.status === 'restoring-backup'
      })
      try {
        await restore(backup, volume, payload.isNew, { signal: wanted.signal, log: job.log })
      } catch (error) {
        if (!wanted.isUnwanted) throw error
        job.log.info({ backupId, volumeId }, 'restore cancelled')
        await end(payload, job, 'error', new BackendError('The restore was cancelled.', { left: 'partial' }))
      }
    },

    async fail(payload, error, job) {
      await end(payload, job, 'error_restoring', error)
    },
  })

  async function restore(
    backup: BackupRow,
    volume: VolumeRow,
    isNew: boolean,
    call: Pick<Job, 'signal' | 'log'>,
  ): Promise<void> {
    const chain = await chainOf(block, backup)
    const handler = await block.backups.ready(backup.handler, call.signal)
    const { driver } = await block.backends.ready(volume.host, call.signal)
    await using progress = new Progress(block, backup, 'restore', backup.size_gib * GiB, call)
    let facts: readonly string[]
    {
      const target = await backendVolume(block.db, block.settings, volume)
      await using device = await driver.open(target, 'rw', call)
      facts = await handler.restore(chain, device, { targetIsZeroed: isNew }, progress.call)
    }
    const now = block.now().toISOString()
    const done = await block.db.transaction().execute(async (transaction) => {
      await releaseRestoring(block, transaction, volume.id)
      await updateBackup(transaction, backup.id, { activity: progress.finished() })
      return await transitionVolume(transaction, volume.id, ['restoring-backup'], {
        ...restoredFacts(volume, backup.id, facts),
        status: 'available',
        launched_at: volume.launched_at ?? now,
        updated_at: now,
      })
    })
    notifyBackup(block, 'restore.end', { ...backup, status: 'available' })
    if (done !== undefined) call.log.info({ backupId: backup.id, volumeId: volume.id }, 'backup restored')
  }

  /** The backup is available again; the volume holds nobody knows what. */
  async function end(
    { backupId, volumeId }: RestorePayload,
    job: Job,
    status: 'error' | 'error_restoring',
    error: unknown,
  ): Promise<void> {
    await block.db.transaction().execute(async (transaction) => {
      await releaseRestoring(block, transaction, volumeId)
      const updated_at = block.now().toISOString()
      const failed = await transitionVolume(transaction, volumeId, ['restoring-backup'], {
        status,
        updated_at,
      })
      const backup = await findBackup(transaction, backupId)
      if (failed === undefined || backup === undefined) return
      await updateBackup(transaction, backupId, {
        activity: JSON.stringify({ ...activityOf(backup), finishedAt: updated_at, error: messageOf(error) }),
      })
      await writeMessage(block, transaction, {
        projectId: backup.project_id,
        requestId: job.requestId,
        resourceType: 'VOLUME_BACKUP',
        resourceId: backupId,
        action: actions.restoreBackup,
        detail: details.backupRestoreError,
        sentence: messageOf(error),
      })
    })
  }

  function activityOf(backup: BackupRow): object {
    const now = block.now().toISOString()
    const none = { operation: 'restore', doneBytes: 0, totalBytes: 0, startedAt: now, updatedAt: now }
    return backup.activity === null ? none : Object(JSON.parse(backup.activity))
  }
}
