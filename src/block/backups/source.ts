import type { Call } from '../../kernel/call.ts'
import { derivedUuid } from '../../kernel/crypto/derived-uuid.ts'
import { NotFound, Unsupported } from '../../kernel/errors.ts'
import type { BackupSource } from '../backup-driver.ts'
import type { Block } from '../context.ts'
import { findSnapshot } from '../snapshots/queries.ts'
import type { BackendVolume, Moments, NewVolume, VolumeDriver } from '../volume-driver.ts'
import { backendSnapshot, backendVolume } from '../volumes/backend-facts.ts'
import type { VolumeRow } from '../volumes/queries.ts'
import type { BackupRow } from './queries.ts'

/**
 * Opens the bytes that are to be kept, which nobody changes meanwhile. Of a snapshot: a temporary volume. Of a volume
 * on a backend that can tell what has changed: a moment of it. Of others: the volume itself, or, while hosts use it, a
 * temporary volume. Whoever opens it closes it.
 */
export async function openSource(
  block: Block,
  backup: BackupRow,
  volume: VolumeRow,
  call: Call,
): Promise<BackupSource> {
  const { driver } = await block.backends.ready(volume.host, call.signal)
  const facts = await backendVolume(block.db, block.settings, volume)
  if (backup.snapshot_id === null) {
    if (driver.moments !== undefined) return await momentOf(driver.moments, backup, facts, call)
    if (volume.previous_status !== 'in-use') return { device: await driver.open(facts, 'r', call) }
  }
  const temporary = temporaryVolume(block, backup, facts)
  const { providerLocation } = await makeTemporary(block, driver, backup, volume, temporary, call)
  return { device: await driver.open({ ...temporary, providerLocation }, 'r', call) }
}

async function momentOf(
  moments: Moments,
  backup: BackupRow,
  volume: BackendVolume,
  call: Call,
): Promise<BackupSource> {
  await moments.create(volume, backup.id, call)
  const changed =
    backup.parent_id === null
      ? undefined
      : await moments.changed(volume, { since: backup.parent_id, until: backup.id }, call)
  return { device: await moments.open(volume, backup.id, call), changed }
}

async function makeTemporary(
  block: Block,
  driver: VolumeDriver,
  backup: BackupRow,
  volume: VolumeRow,
  temporary: NewVolume,
  call: Call,
) {
  if (backup.snapshot_id !== null) {
    const snapshot = await findSnapshot(block.db, backup.snapshot_id)
    if (snapshot === undefined) throw new NotFound(`Snapshot ${backup.snapshot_id} could not be found.`)
    if (driver.snapshots === undefined) throw new Unsupported('The backend has no snapshots.')
    const facts = await backendSnapshot(block.db, block.settings, snapshot, volume)
    return await driver.snapshots.createVolume(facts, temporary, call)
  }
  if (driver.clones === undefined) {
    throw new Unsupported('The backend does not clone volumes: one that is in use cannot be backed up.')
  }
  return await driver.clones.create(await backendVolume(block.db, block.settings, volume), temporary, call)
}

/** Removes the temporary volume that `openSource` may have made, also in a process that was killed. */
export async function removeTemporary(
  block: Block,
  backup: Pick<BackupRow, 'id'>,
  volume: VolumeRow,
  call: Call,
): Promise<void> {
  const { driver } = await block.backends.ready(volume.host, call.signal)
  const facts = await backendVolume(block.db, block.settings, volume)
  await driver.delete({ ...temporaryVolume(block, backup, facts), providerLocation: undefined }, call)
}

/** A backup that is not there cannot be a parent: nobody asks any more what has changed since. */
export async function removeMoment(
  block: Block,
  backup: Pick<BackupRow, 'id'>,
  volume: VolumeRow,
  call: Call,
): Promise<void> {
  const { driver } = await block.backends.ready(volume.host, call.signal)
  await driver.moments?.remove(await backendVolume(block.db, block.settings, volume), backup.id, call)
}

/** Of all moments of a volume only that of its newest backup is of use. */
export async function keepMoment(
  block: Block,
  backup: BackupRow,
  volume: VolumeRow,
  call: Call,
): Promise<void> {
  if (backup.snapshot_id !== null) return
  const { driver } = await block.backends.ready(volume.host, call.signal)
  await driver.moments?.keepOnly(await backendVolume(block.db, block.settings, volume), backup.id, call)
}

/** Its id derives from the backup's, so that it is found again. */
function temporaryVolume(
  block: Block,
  backup: Pick<BackupRow, 'id'>,
  { sizeBytes, projectId, type }: BackendVolume,
): NewVolume {
  const id = derivedUuid(backup.id, 'temporary volume')
  const name = block.settings.volumeNameTemplate.replace('%s', id)
  return { id, name, sizeBytes, projectId, type, metadata: {} }
}
