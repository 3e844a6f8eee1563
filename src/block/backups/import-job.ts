import { messageOf, NotFound } from '../../kernel/errors.ts'
import { defineJob, type Job, type JobDefinition } from '../../kernel/jobs/job-queue.ts'
import type { Block } from '../context.ts'
import { chooseHandler } from './dispatch.ts'
import { type BackupRow, findBackup, requireStored, transitionBackup } from './queries.ts'

/** What the job that takes a record in is told. */
export interface ImportPayload {
  readonly [key: string]: string
  readonly backupId: string
  /** As the record says. */
  readonly volumeId: string
  readonly service: string
}

/** Looks whether the data of an imported backup is there, and who has it. */
export function importBackupJob(block: Block): JobDefinition<ImportPayload> {
  return defineJob<ImportPayload>({
    kind: 'backup.import',

    async run({ backupId, volumeId, service }, job) {
      const backup = await findBackup(block.db, backupId)
      if (backup?.status !== 'creating') return
      const handler = backup.handler ?? (await handlerOf(backup, service, job))
      const driver = await block.backups.ready(handler, job.signal)
      await driver.find({ ...requireStored(backup), volumeId }, job)
      await transitionBackup(block.db, backupId, ['creating'], {
        status: 'available',
        volume_id: volumeId,
        handler,
        updated_at: block.now().toISOString(),
      })
      job.log.info({ backupId, handler }, 'backup imported')
    },

    async fail({ backupId, volumeId }, error) {
      await transitionBackup(block.db, backupId, ['creating'], {
        status: 'error',
        volume_id: volumeId,
        fail_reason: messageOf(error).slice(0, 255),
        updated_at: block.now().toISOString(),
      })
    },
  })

  /** Of a record that does not say it. @see datera-drivers specification 5.7 */
  async function handlerOf(backup: BackupRow, service: string, job: Job): Promise<string> {
    const named = block.backups.keyOf(service) ?? block.backups.keyOf(backup.service ?? '')
    if (named !== undefined) return named
    if (block.backups.enabled.includes('datera')) {
      const array = await block.backups.ready('datera', job.signal)
      try {
        await array.find(requireStored(backup), job)
        return 'datera'
      } catch (error) {
        if (!(error instanceof NotFound)) throw error
      }
    }
    return chooseHandler(backup.name, block.backups)
  }
}
