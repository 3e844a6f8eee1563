import { GiB } from '../../kernel/bytes.ts'
import { BackendError, messageOf, NotFound } from '../../kernel/errors.ts'
import { defineJob, type Job, type JobDefinition } from '../../kernel/jobs/job-queue.ts'
import type { BackupDriver } from '../backup-driver.ts'
import type { Block, BlockDb } from '../context.ts'
import { actions, details, writeMessage } from '../messages/queries.ts'
import { notifyBackup } from '../notifications/backups.ts'
import { transitionSnapshot } from '../snapshots/queries.ts'
import { findVolume, transitionVolume } from '../volumes/queries.ts'
import { usableBackupHost } from './backup-service.ts'
import type { CreateBackupPayload } from './create.ts'
import { Progress } from './progress.ts'
import { type BackupRow, findBackup, requireStored, storedBackup, transitionBackup } from './queries.ts'
import { keepMoment, openSource, removeMoment, removeTemporary } from './source.ts'
import { volumeFacts } from './volume-facts.ts'
import { whileWanted } from './watch.ts'
import { Interrupted } from './worker.ts'

const creating = ['creating']

/** No backup service is enabled and alive. */
class NotScheduled extends BackendError {}

/** Reads a volume or a snapshot and keeps its bytes. */
export function createBackupJob(block: Block): JobDefinition<CreateBackupPayload> {
  return defineJob<CreateBackupPayload>({
    kind: 'backup.create',

    async run(payload, job) {
      const backup = await findBackup(block.db, payload.backupId)
      if (backup?.status !== 'creating') return await undo(payload, backup, job)
      if (job.state !== undefined) throw new Interrupted()
      if ((await usableBackupHost(block, block.db, backup.availability_zone)) === undefined) {
        throw new NotScheduled('No backup service is available.', { left: 'nothing' })
      }
      const driver = await block.backups.ready(backup.handler, job.signal)
      await job.save({ begun: true })
      notifyBackup(block, 'create.start', backup)
      using wanted = whileWanted(job.signal, async () => {
        return (await findBackup(block.db, backup.id))?.status === 'creating'
      })
      const call = { signal: wanted.signal, log: job.log }
      try {
        const work = () => keep(driver, backup, payload, call)
        // increments of one parent may be written over the same bytes of the target
        const alone = () =>
          backup.parent_id === null
            ? work()
            : block.backups.exclusively(backup.parent_id, wanted.signal, work)
        await block.backups.exclusively(backup.id, wanted.signal, alone)
      } catch (error) {
        if (!wanted.isUnwanted) throw error
        job.log.info({ backupId: backup.id }, 'backup cancelled')
        return await undo(payload, backup, job)
      }
    },

    async fail(payload, error, job) {
      const backup = await findBackup(block.db, payload.backupId)
      await undo(payload, backup, job).catch((cause: unknown) => {
        // the backup keeps its place: whoever deletes it removes what is left
        job.log.error(
          { backupId: payload.backupId, error: messageOf(cause) },
          'a failed backup left something',
        )
      })
      await block.db.transaction().execute(async (transaction) => {
        await releaseSource(transaction, payload)
        const failed = await transitionBackup(transaction, payload.backupId, creating, {
          status: 'error',
          fail_reason: messageOf(error).slice(0, 255),
          updated_at: block.now().toISOString(),
        })
        if (failed === undefined) return
        await writeMessage(block, transaction, {
          projectId: failed.project_id,
          requestId: job.requestId,
          resourceType: 'VOLUME_BACKUP',
          resourceId: failed.id,
          action: actions.createBackup,
          detail:
            error instanceof NotScheduled ? details.backupScheduleError : details.backupCreateDriverError,
          sentence: messageOf(error),
        })
      })
    },
  })

  /** Everything between the first byte and the backup's being available. */
  async function keep(
    driver: BackupDriver,
    backup: BackupRow,
    payload: CreateBackupPayload,
    call: Pick<Job, 'signal' | 'log'>,
  ): Promise<void> {
    const volume = await findVolume(block.db, payload.volumeId)
    if (volume === undefined) throw new NotFound(`Volume ${payload.volumeId} could not be found.`)
    const parent = backup.parent_id === null ? undefined : await findBackup(block.db, backup.parent_id)
    const sizeBytes = backup.size_gib * GiB
    await using progress = new Progress(block, backup, 'backup', sizeBytes, call)
    const plan = {
      ...requireStored(backup),
      parent: parent && requireStored(parent),
      volumeMetadata: volumeFacts(volume),
    }
    let result: Awaited<ReturnType<BackupDriver['backup']>>
    {
      const source = await openSource(block, backup, volume, call)
      await using _ = source.device
      result = await driver.backup(plan, source, progress.call)
    }
    await removeTemporary(block, backup, volume, call)
    const done = await block.db.transaction().execute(async (transaction) => {
      await releaseSource(transaction, payload)
      return await transitionBackup(transaction, backup.id, creating, {
        status: 'available',
        object_count: result.objectCount,
        metadata_sha256: result.metadataSha256 ?? null,
        activity: progress.finished(),
        updated_at: block.now().toISOString(),
      })
    })
    if (done === undefined) {
      await driver.delete(plan, call)
      await removeMoment(block, backup, volume, call)
    } else {
      // what is left after a failure here goes with the volume's next backup
      await keepMoment(block, backup, volume, call).catch((error: unknown) => {
        call.log.warn({ backupId: backup.id, error: messageOf(error) }, 'an older moment was left')
      })
      notifyBackup(block, 'create.end', done)
      call.log.info({ backupId: backup.id, objects: result.objectCount }, 'backup created')
    }
  }

  /** Removes whatever was made, and gives the source back; for a backup that is not wanted or has failed. */
  async function undo(payload: CreateBackupPayload, backup: BackupRow | undefined, job: Job): Promise<void> {
    if (backup?.status === 'available') return // an earlier run has finished it
    const volume = await findVolume(block.db, payload.volumeId)
    if (volume !== undefined) {
      await removeTemporary(block, { id: payload.backupId }, volume, job)
      await removeMoment(block, { id: payload.backupId }, volume, job)
    }
    const stored = backup && storedBackup(backup)
    if (backup !== undefined && stored !== undefined && job.state !== undefined) {
      const driver = await block.backups.ready(backup.handler, job.signal)
      await block.backups.exclusively(backup.id, job.signal, () => driver.delete(stored, job))
    }
    await releaseSource(block.db, payload)
  }

  /** The volume or snapshot is its users' again. */
  async function releaseSource(db: BlockDb, { volumeId, snapshotId }: CreateBackupPayload): Promise<void> {
    const updated_at = block.now().toISOString()
    if (snapshotId !== null) {
      await transitionSnapshot(db, snapshotId, ['backing-up'], { status: 'available', updated_at })
      return
    }
    const volume = await findVolume(db, volumeId)
    await transitionVolume(db, volumeId, ['backing-up'], {
      status: volume?.previous_status ?? 'available',
      previous_status: null,
      updated_at,
    })
  }
}
