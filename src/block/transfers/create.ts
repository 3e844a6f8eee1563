import { randomUUID } from 'node:crypto'
import { Invalid } from '../../kernel/errors.ts'
import type { Block } from '../context.ts'
import { InvalidState } from '../errors.ts'
import type { BlockRequest } from '../operation.ts'
import { authorize } from '../policy.ts'
import { lockVolume, snapshotsOfVolume, updateVolume } from '../volumes/queries.ts'
import { hashKey, randomKey } from './key.ts'
import type { TransferRow } from './queries.ts'

/** From this minor version on encrypted volumes travel. */
const encryptedSince = 70

/**
 * Offers a volume to whoever will know the key.
 * @param wanted.noSnapshots its snapshots stay behind; they only travel with the newer API
 * @returns the row, and the key, which is nowhere else
 * @throws NotFound, Forbidden, InvalidState, Invalid @see block-storage-api specification 5.12
 */
export async function createTransfer(
  block: Block,
  request: BlockRequest,
  wanted: { volumeId: string; name: string | null; noSnapshots: boolean },
): Promise<{ row: TransferRow; key: string }> {
  const { settings } = block
  const key = randomKey(settings.volumeTransferKeyLength)
  const salt = randomKey(settings.volumeTransferSaltLength)
  const row = await block.db.transaction().execute(async (transaction) => {
    const volume = await lockVolume(transaction, request, wanted.volumeId)
    authorize(request.identity, 'volume:create_transfer', volume.project_id)
    if (volume.status !== 'available') {
      throw new InvalidState('Invalid volume: status must be available')
    }
    if (volume.group_id !== null) {
      throw new InvalidState(`Invalid volume: Volume ${volume.id} belongs to group ${volume.group_id}.`)
    }
    if (volume.encryption_key_id !== null) {
      if (request.minor < encryptedSince) {
        throw new Invalid('Invalid volume: transferring encrypted volume is not supported')
      }
      if (wanted.noSnapshots) {
        throw new Invalid(
          'Invalid volume: transferring encrypted volume without its snapshots is not supported',
        )
      }
    }
    if (!wanted.noSnapshots) {
      const snapshots = await snapshotsOfVolume(transaction, volume.id)
      const busy = snapshots.find((snapshot) => snapshot.status !== 'available')
      if (busy !== undefined) {
        throw new InvalidState(`Invalid snapshot: Snapshot: ${busy.id} status must be available to transfer`)
      }
      const part = snapshots.find((snapshot) => snapshot.group_snapshot_id !== null)
      if (part !== undefined) {
        throw new InvalidState(`Invalid snapshot: Snapshot ${part.id} is part of a group snapshot`)
      }
    }
    const now = block.now().toISOString()
    await updateVolume(transaction, volume.id, { status: 'awaiting-transfer', updated_at: now })
    return await transaction
      .insertInto('volume_transfers')
      .values({
        id: randomUUID(),
        volume_id: volume.id,
        name: wanted.name,
        salt,
        key_hash: hashKey(salt, key),
        no_snapshots: wanted.noSnapshots ? 1 : 0,
        source_project_id: volume.project_id,
        created_at: now,
      })
      .returningAll()
      .executeTakeFirstOrThrow()
  })
  request.log.info({ transferId: row.id, volumeId: row.volume_id }, 'volume offered')
  return { row, key }
}
