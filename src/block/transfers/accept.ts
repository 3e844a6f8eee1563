import type { Transaction } from 'kysely'
import { Invalid } from '../../kernel/errors.ts'
import type { Block } from '../context.ts'
import type { Tables } from '../db/tables.ts'
import { InvalidState } from '../errors.ts'
import type { BlockRequest } from '../operation.ts'
import { authorize } from '../policy.ts'
import { claimQuota } from '../quotas/limits.ts'
import { lockVolume, updateVolume, type VolumeRow } from '../volumes/queries.ts'
import { isKey } from './key.ts'
import { deleteTransferRow, findTransfer, type TransferRow, transferNotFound } from './queries.ts'

/**
 * Takes over an offered volume, and its snapshots if they travel.
 * @throws NotFound; Invalid for a wrong key; InvalidState; OverQuota @see block-storage-api specification 5.12
 */
export async function acceptTransfer(
  block: Block,
  request: BlockRequest,
  id: string,
  key: string,
): Promise<TransferRow> {
  authorize(request.identity, 'volume:accept_transfer')
  const row = await block.db.transaction().execute(async (transaction) => {
    const transfer = await findTransfer(transaction, id)
    if (transfer === undefined) throw transferNotFound(id)
    if (!isKey(key, transfer.salt, transfer.key_hash)) {
      throw new Invalid(`Invalid auth key: Attempt to transfer ${id} with invalid auth key.`)
    }
    const volume = await lockVolume(transaction, { ...request, isAdmin: true }, transfer.volume_id)
    if (volume.status !== 'awaiting-transfer') {
      throw new InvalidState(
        `Invalid volume: Transfer ${id}: Volume id ${volume.id} expected in awaiting-transfer, and is in state ${volume.status}.`,
      )
    }
    if (volume.group_id !== null) {
      throw new InvalidState(`Invalid volume: Volume ${volume.id} must not be part of a consistency group.`)
    }
    if (!(await deleteTransferRow(transaction, id))) throw transferNotFound(id)
    await move(transaction, volume, transfer)
    return transfer
  })
  request.log.info({ transferId: id, volumeId: row.volume_id }, 'volume taken over')
  return row

  async function move(
    transaction: Transaction<Tables>,
    volume: VolumeRow,
    transfer: TransferRow,
  ): Promise<void> {
    const owner = { project_id: request.projectId, user_id: request.identity.userId }
    const snapshots =
      transfer.no_snapshots === 1
        ? []
        : await transaction
            .selectFrom('snapshots')
            .select('size_gib')
            .where('volume_id', '=', volume.id)
            .execute()
    const snapshotsGib = snapshots.reduce((sum, snapshot) => sum + snapshot.size_gib, 0)
    const type = await transaction
      .selectFrom('volume_types')
      .select('name')
      .where('id', '=', volume.volume_type_id ?? '')
      .executeTakeFirst()
    if (request.projectId !== volume.project_id) {
      await claimQuota(transaction, block.settings, request.projectId, {
        volumes: 1,
        snapshots: snapshots.length,
        gigabytes: volume.size_gib + (block.settings.noSnapshotGbQuota ? 0 : snapshotsGib),
        volumeSizeGib: volume.size_gib,
        typeName: type?.name ?? null,
      })
    }
    const updated_at = block.now().toISOString()
    await updateVolume(transaction, volume.id, { ...owner, status: 'available', updated_at })
    if (snapshots.length > 0) {
      await transaction
        .updateTable('snapshots')
        .set({ ...owner, updated_at })
        .where('volume_id', '=', volume.id)
        .execute()
    }
  }
}
