import type { Block } from '../../context.ts'
import { InvalidState } from '../../errors.ts'
import type { BlockRequest } from '../../operation.ts'
import { authorize } from '../../policy.ts'
import { stringMapOf } from '../../types/queries.ts'
import { lockVolume, updateVolume } from '../queries.ts'

/** `os-set_bootable`. @throws InvalidState during maintenance */
export async function setBootable(
  block: Block,
  request: BlockRequest,
  id: string,
  bootable: boolean,
): Promise<void> {
  await block.db.transaction().execute(async (transaction) => {
    const volume = await lockVolume(transaction, request, id)
    authorize(request.identity, 'volume:update', volume.project_id)
    if (volume.status === 'maintenance') {
      throw new InvalidState('Invalid volume: The volume cannot be updated during maintenance.')
    }
    await updateVolume(transaction, id, { bootable: bootable ? 1 : 0, updated_at: block.now().toISOString() })
  })
}

/** `os-update_readonly_flag`. @throws InvalidState unless the volume is available */
export async function setReadOnly(
  block: Block,
  request: BlockRequest,
  id: string,
  readOnly: boolean,
): Promise<void> {
  await block.db.transaction().execute(async (transaction) => {
    const volume = await lockVolume(transaction, request, id)
    authorize(request.identity, 'volume:update_readonly_flag', volume.project_id)
    if (volume.status !== 'available') {
      throw new InvalidState(
        `Invalid volume: Volume ${id} status must be available to update readonly flag, but current status is: ${volume.status}.`,
      )
    }
    const adminMetadata = { ...stringMapOf(volume.admin_metadata), readonly: readOnly ? 'True' : 'False' }
    await updateVolume(transaction, id, {
      admin_metadata: JSON.stringify(adminMetadata),
      updated_at: block.now().toISOString(),
    })
  })
}
