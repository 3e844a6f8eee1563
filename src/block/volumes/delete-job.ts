import { messageOf } from '../../kernel/errors.ts'
import { defineJob, type Job, type JobDefinition } from '../../kernel/jobs/job-queue.ts'
import type { Block } from '../context.ts'
import { moveMember } from '../groups/settle.ts'
import { deleteSnapshotRow, findSnapshot } from '../snapshots/queries.ts'
import { backendSnapshot, backendVolume } from './backend-facts.ts'
import {
  deleteVolumeRow,
  findVolume,
  snapshotsOfVolume,
  transitionVolume,
  type VolumeRow,
} from './queries.ts'

/** Removes a volume and, when the request said so, its snapshots: from the backend, then from the database. */
export function deleteVolumeJob(block: Block): JobDefinition<{ readonly volumeId: string }> {
  return defineJob<{ readonly volumeId: string }>({
    kind: 'volume.delete',

    async run({ volumeId }, job) {
      const volume = await findVolume(block.db, volumeId)
      if (volume === undefined || volume.status !== 'deleting') return
      // what could not be managed was never the volume's
      const isOurs = volume.previous_status !== 'error_managing'
      if (volume.host !== null && isOurs) await removeFromBackend(volume, job)
      await moveMember(block, volume.group_id, (transaction) => deleteVolumeRow(transaction, volumeId))
      job.log.info({ volumeId }, 'volume deleted')
    },

    async fail({ volumeId }, error, job) {
      job.log.error({ volumeId, error: messageOf(error) }, 'volume could not be deleted')
      const volume = await findVolume(block.db, volumeId)
      await moveMember(block, volume?.group_id ?? null, async (transaction) => {
        await transitionVolume(transaction, volumeId, ['deleting'], {
          status: 'error_deleting',
          updated_at: block.now().toISOString(),
        })
        await transaction
          .updateTable('snapshots')
          .set({ status: 'error_deleting' })
          .where('volume_id', '=', volumeId)
          .where('status', '=', 'deleting')
          .execute()
      })
    },
  })

  async function removeFromBackend(volume: VolumeRow, job: Job): Promise<void> {
    const { driver } = await block.backends.ready(volume.host, job.signal)
    for (const { id } of await snapshotsOfVolume(block.db, volume.id)) {
      const snapshot = await findSnapshot(block.db, id)
      if (snapshot === undefined) continue
      await driver.snapshots?.delete(await backendSnapshot(block.db, block.settings, snapshot, volume), job)
      await deleteSnapshotRow(block.db, id)
    }
    await driver.delete(await backendVolume(block.db, block.settings, volume), job)
  }
}
