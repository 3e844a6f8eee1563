import type { Transaction } from 'kysely'
import { type Block, enqueue } from '../context.ts'
import type { Tables } from '../db/tables.ts'
import { InvalidState } from '../errors.ts'
import type { BlockRequest } from '../operation.ts'
import { authorize } from '../policy.ts'
import { refuseFrozen } from '../services/frozen.ts'
import { updateSnapshot } from '../snapshots/queries.ts'
import { deleteVolumeRow, lockVolume, snapshotsOfVolume, updateVolume, type VolumeRow } from './queries.ts'

const deletable = ['available', 'error', 'error_restoring', 'error_extending', 'error_managing']
const settled = [null, 'deleting', 'error', 'success']
const deletableSnapshots = ['available', 'error', 'deleting']

/**
 * Marks a volume as deleting and records the job, in one transaction: of two requests the second finds it
 * deleting already.
 * @param options.force the status does not matter; only for admins
 * @param options.cascade its snapshots go with it
 * @throws NotFound, Forbidden, InvalidState @see block-storage-api specification 4.1
 */
export async function deleteVolume(
  block: Block,
  request: BlockRequest,
  id: string,
  options: { force?: boolean; cascade?: boolean } = {},
): Promise<void> {
  await block.db.transaction().execute(async (transaction) => {
    const volume = await lockVolume(transaction, request, id)
    authorize(
      request.identity,
      options.force ? 'volume_extension:volume_admin_actions:force_delete' : 'volume:delete',
      volume.project_id,
    )
    const neverPlaced = volume.host === null && (volume.status === 'error' || options.force === true)
    if (neverPlaced) {
      await deleteVolumeRow(transaction, id)
      return
    }
    checkDeletable(volume, options.force ?? false)
    await refuseFrozen(transaction, volume.host)
    const snapshots = await snapshotsOfVolume(transaction, id)
    if (snapshots.length > 0 && !options.cascade) throw notDeletable(volume, 'it has snapshots')
    const busy = snapshots.find(
      (snapshot) =>
        !deletableSnapshots.includes(snapshot.status) ||
        snapshot.group_snapshot_id !== null ||
        (!request.isAdmin && snapshot.project_id !== request.projectId),
    )
    if (busy !== undefined) throw notDeletable(volume, `its snapshot ${busy.id} cannot be deleted`)
    for (const snapshot of snapshots) await updateSnapshot(transaction, snapshot.id, { status: 'deleting' })
    await markDeleting(transaction, volume)
    await enqueue(block, transaction, 'volume.delete', {
      resource: `volume:${id}`,
      payload: { volumeId: id },
      requestId: request.requestId,
    })
  })

  async function markDeleting(transaction: Transaction<Tables>, volume: VolumeRow): Promise<void> {
    await updateVolume(transaction, volume.id, {
      status: 'deleting',
      previous_status: volume.status,
      updated_at: block.now().toISOString(),
    })
  }
}

/** @throws InvalidState with upstream's sentence unless the volume may go */
export function checkDeletable(volume: VolumeRow, force: boolean): void {
  if (!force && !deletable.includes(volume.status)) {
    throw new InvalidState(
      `Invalid volume: Volume status must be available or error or error_restoring or error_extending or error_managing and must not be migrating, attached, belong to a group, have snapshots, awaiting a transfer, or be disassociated from snapshots after volume transfer. It is ${volume.status}.`,
    )
  }
  if (force && volume.status === 'deleting') throw notDeletable(volume, 'it is being deleted')
  if (volume.attach_status === 'attached') throw notDeletable(volume, 'it is attached')
  if (!settled.includes(volume.migration_status)) throw notDeletable(volume, 'it is being migrated')
  if (volume.group_id !== null) throw notDeletable(volume, 'it belongs to a group')
}

function notDeletable(volume: VolumeRow, why: string): InvalidState {
  return new InvalidState(`Invalid volume: Volume ${volume.id} cannot be deleted because ${why}.`)
}
