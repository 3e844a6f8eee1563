import type { Transaction } from 'kysely'
import { Type } from 'typebox'
import type { Block } from '../context.ts'
import type { Tables } from '../db/tables.ts'
import { InvalidState } from '../errors.ts'
import type { BlockRequest } from '../operation.ts'
import { authorize } from '../policy.ts'
import { closed, Name, UuidOrNull, validator } from '../validation.ts'
import { createVolume } from '../volumes/create.ts'
import { lockVolume, updateVolume } from '../volumes/queries.ts'
import { requireBackupHost } from './backup-service.ts'
import { type BackupRow, getBackup, lockBackup, updateBackup } from './queries.ts'
import { enqueueRestore } from './restore-job.ts'

export const restoreBody = validator(
  closed({ restore: closed({ volume_id: Type.Optional(UuidOrNull), name: Type.Optional(Name) }) }),
)

/** Where a backup is being restored to. */
export interface Restoring {
  readonly id: string
  readonly name: string | null
}

/**
 * Begins to restore a backup, to a volume that exists or to a new one.
 * @throws NotFound, Forbidden, Invalid, InvalidState, OverQuota @see block-storage-api specification 4.4, 5.11
 */
export async function restoreBackup(
  block: Block,
  request: BlockRequest,
  id: string,
  body: { volume_id?: string | null; name?: string | null },
): Promise<Restoring> {
  const backup = await getBackup(block.db, request, id)
  authorize(request.identity, 'backup:restore', backup.project_id)
  checkRestorable(backup)
  await requireBackupHost(block, block.db, backup.availability_zone)
  const { volume_id: volumeId } = body
  if (volumeId) {
    return await block.db
      .transaction()
      .execute((transaction) => restoreOver(block, transaction, request, id, volumeId))
  }
  const volume = {
    size: backup.size_gib,
    name: body.name ?? `restore_backup_${id}`,
    description: 'auto-created_from_restore_from_backup',
  }
  return await createVolume(block, request, volume, {
    async restoring(transaction, newId) {
      await markRestoring(block, transaction, request, id, newId)
      return id
    },
  })
}

async function restoreOver(
  block: Block,
  transaction: Transaction<Tables>,
  request: BlockRequest,
  id: string,
  volumeId: string,
): Promise<Restoring> {
  const backup = await markRestoring(block, transaction, request, id, volumeId)
  const volume = await lockVolume(transaction, request, volumeId)
  if (volume.status !== 'available') {
    throw new InvalidState('Invalid volume: Volume to be restored to must be available')
  }
  if (backup.size_gib > volume.size_gib) {
    throw new InvalidState(
      `Invalid volume: volume size ${volume.size_gib} is too small to restore backup of size ${backup.size_gib}.`,
    )
  }
  const updated_at = block.now().toISOString()
  await updateVolume(transaction, volumeId, { status: 'restoring-backup', updated_at })
  await enqueueRestore(block, transaction, { backupId: id, volumeId, isNew: false }, request.requestId)
  return volume
}

/** The backup, of which nobody else can begin anything now. */
async function markRestoring(
  block: Block,
  transaction: Transaction<Tables>,
  request: BlockRequest,
  id: string,
  volumeId: string,
): Promise<BackupRow> {
  const backup = await lockBackup(transaction, request, id)
  checkRestorable(backup)
  const updated_at = block.now().toISOString()
  await updateBackup(transaction, id, { status: 'restoring', restore_volume_id: volumeId, updated_at })
  return backup
}

function checkRestorable(backup: BackupRow): void {
  if (backup.status !== 'available') {
    throw new InvalidState('Invalid backup: Backup status must be available')
  }
  if (backup.size_gib < 1) {
    throw new InvalidState('Invalid backup: Backup to be restored has invalid size')
  }
}
