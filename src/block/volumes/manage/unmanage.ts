import { Invalid, messageOf } from '../../../kernel/errors.ts'
import { defineJob, type JobDefinition } from '../../../kernel/jobs/job-queue.ts'
import { type Block, enqueue } from '../../context.ts'
import { InvalidState } from '../../errors.ts'
import type { BlockRequest } from '../../operation.ts'
import { authorize } from '../../policy.ts'
import { backendVolume } from '../backend-facts.ts'
import { checkDeletable } from '../delete.ts'
import {
  deleteVolumeRow,
  findVolume,
  lockVolume,
  snapshotsOfVolume,
  transitionVolume,
  updateVolume,
} from '../queries.ts'

/**
 * `os-unmanage`: forgets a volume; its bytes stay where they are.
 * @throws NotFound, Forbidden, InvalidState, Invalid
 */
export async function unmanageVolume(block: Block, request: BlockRequest, id: string): Promise<void> {
  await block.db.transaction().execute(async (transaction) => {
    const volume = await lockVolume(transaction, request, id)
    authorize(request.identity, 'volume_extension:volume_unmanage', volume.project_id)
    checkDeletable(volume, false)
    if (volume.encryption_key_id !== null) {
      throw new Invalid('Invalid volume: Unmanaging encrypted volumes is not supported.')
    }
    if ((await snapshotsOfVolume(transaction, id)).length > 0) {
      throw new InvalidState(`Invalid volume: Volume ${id} has snapshots and cannot be unmanaged.`)
    }
    await updateVolume(transaction, id, { status: 'unmanaging', updated_at: block.now().toISOString() })
    await enqueue(block, transaction, 'volume.unmanage', {
      resource: `volume:${id}`,
      payload: { volumeId: id },
      requestId: request.requestId,
    })
  })
}

/** Tells the backend, and removes the row. A backend that cannot manage volumes has nothing to forget. */
export function unmanageVolumeJob(block: Block): JobDefinition<{ readonly volumeId: string }> {
  return defineJob<{ readonly volumeId: string }>({
    kind: 'volume.unmanage',

    async run({ volumeId }, job) {
      const volume = await findVolume(block.db, volumeId)
      if (volume?.status !== 'unmanaging') return
      if (volume.host !== null) {
        const { driver } = await block.backends.ready(volume.host, job.signal)
        await driver.manage?.unmanage(await backendVolume(block.db, block.settings, volume), job)
      }
      await block.db.transaction().execute((transaction) => deleteVolumeRow(transaction, volumeId))
      job.log.info({ volumeId }, 'volume unmanaged')
    },

    async fail({ volumeId }, error, job) {
      job.log.error({ volumeId, error: messageOf(error) }, 'volume could not be unmanaged')
      await transitionVolume(block.db, volumeId, ['unmanaging'], {
        status: 'error_unmanaging',
        updated_at: block.now().toISOString(),
      })
    },
  })
}
