import type { BlockDevice } from '@emberglass/iscsi'
import type { Call } from '../../kernel/call.ts'
import { derivedUuid } from '../../kernel/crypto/derived-uuid.ts'
import { NotFound, Unsupported } from '../../kernel/errors.ts'
import type { Block } from '../context.ts'
import { findSnapshot } from '../snapshots/queries.ts'
import type { BackendVolume, NewVolume, VolumeDriver } from '../volume-driver.ts'
import { backendSnapshot, backendVolume } from '../volumes/backend-facts.ts'
import type { VolumeRow } from '../volumes/queries.ts'
import type { BackupRow } from './queries.ts'

/**
 * Opens the bytes that are to be kept, which nobody changes meanwhile: of a volume that is not in use the volume
 * itself; of one that is, or of a snapshot, a temporary volume. Closing takes the temporary volume away again.
 */
export async function openSource(
  block: Block,
  backup: BackupRow,
  volume: VolumeRow,
  call: Call,
): Promise<BlockDevice> {
  const { driver } = await block.backends.ready(volume.host, call.signal)
  const facts = await backendVolume(block.db, block.settings, volume)
  if (backup.snapshot_id === null && volume.previous_status !== 'in-use') {
    return await driver.open(facts, 'r', call)
  }
  const temporary = temporaryVolume(block, backup, facts)
  const { providerLocation } = await makeTemporary(block, driver, backup, volume, temporary, call)
  return await driver.open({ ...temporary, providerLocation }, 'r', call)
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

/** Removes what `openSource` may have made, also in a process that was killed. Nothing there: fine. */
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
