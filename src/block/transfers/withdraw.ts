import type { Block } from '../context.ts'
import { InvalidState } from '../errors.ts'
import type { BlockRequest } from '../operation.ts'
import { authorize } from '../policy.ts'
import { lockVolume, updateVolume } from '../volumes/queries.ts'
import { deleteTransferRow, getTransfer, transferNotFound } from './queries.ts'

/** Withdraws an offer: the volume is available again. @throws NotFound, Forbidden, InvalidState */
export async function withdrawTransfer(block: Block, request: BlockRequest, id: string): Promise<void> {
  await block.db.transaction().execute(async (transaction) => {
    const row = await getTransfer(transaction, request, id)
    const volume = await lockVolume(transaction, { ...request, isAdmin: true }, row.volume_id)
    authorize(request.identity, 'volume:delete_transfer', volume.project_id)
    if (volume.status !== 'awaiting-transfer') {
      throw new InvalidState(`Invalid volume: Volume ${volume.id} is not awaiting a transfer.`)
    }
    if (!(await deleteTransferRow(transaction, id))) throw transferNotFound(id)
    await updateVolume(transaction, volume.id, {
      status: 'available',
      updated_at: block.now().toISOString(),
    })
  })
}
