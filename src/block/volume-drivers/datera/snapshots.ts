import {
  absentIfNotFound,
  EdfConflict,
  type EdfScope,
  onlyVolume,
  type Snapshot,
  untilSnapshotReady,
  type Volume,
} from '@emberglass/edf'
import { NotFound } from '../../../kernel/errors.ts'
import type { BackendSnapshot, Created, NewVolume } from '../../volume-driver.ts'
import { copyVolume } from './copy-volume.ts'
import { findVolume, requireVolume } from './lookup.ts'
import { type Operation, whenCleaning } from './operation.ts'

/** How long the array may take to complete a snapshot. */
export const readyLimitMs = 60_000

/** Takes a snapshot and waits until it is complete. Hosts are not interrupted. */
export async function createSnapshot(
  operation: Operation,
  snapshot: Omit<BackendSnapshot, 'providerLocation'>,
): Promise<Created> {
  const { scope, appInstance } = await requireVolume(operation, snapshot.volume)
  const { volume } = onlyVolume(appInstance)
  const { taken, fresh } = await take(operation, scope, volume, snapshot.id)
  try {
    const ready = await untilSnapshotReady(scope, volume, taken, readyLimitMs, operation.edf)
    return { providerLocation: ready.utc_ts }
  } catch (error) {
    operation.edf.signal.throwIfAborted()
    if (fresh) {
      const cleaning = whenCleaning(operation).edf
      await absentIfNotFound(scope.snapshots(volume).delete(taken.path, {}, cleaning))
    }
    throw error
  }
}

async function take(
  operation: Operation,
  scope: EdfScope,
  volume: Volume,
  uuid: string,
): Promise<{ taken: Snapshot; fresh: boolean }> {
  try {
    return { taken: await scope.snapshots(volume).create({ uuid }, operation.edf), fresh: true }
  } catch (error) {
    if (!(error instanceof EdfConflict)) throw error
    const earlier = await findSnapshot(operation, scope, volume, { id: uuid, providerLocation: undefined })
    if (earlier === undefined) throw error
    return { taken: earlier, fresh: false }
  }
}

/** Already gone, or its volume is: fine. */
export async function deleteSnapshot(operation: Operation, snapshot: BackendSnapshot): Promise<void> {
  const found = await findVolume(operation, snapshot.volume)
  if (found === undefined) return
  const { scope, appInstance } = found
  const { volume } = onlyVolume(appInstance)
  const stored = await findSnapshot(operation, scope, volume, snapshot)
  if (stored === undefined) {
    operation.log.info({ snapshotId: snapshot.id }, 'the snapshot is not on the array any more')
    return
  }
  await absentIfNotFound(scope.snapshots(volume).delete(stored.path, {}, operation.edf))
}

/** A volume with the bytes of a snapshot. */
export async function createVolumeFromSnapshot(
  operation: Operation,
  snapshot: BackendSnapshot,
  volume: NewVolume,
): Promise<Created> {
  const source = await requireVolume(operation, snapshot.volume)
  const parent = onlyVolume(source.appInstance).volume
  const stored = await findSnapshot(operation, source.scope, parent, snapshot)
  if (stored === undefined) throw new NotFound(`Snapshot ${snapshot.id} does not exist on the array.`)
  const ready = await untilSnapshotReady(source.scope, parent, stored, readyLimitMs, operation.edf)
  return await copyVolume(operation, source, volume, { clone_snapshot_src: { path: ready.path } })
}

/** By the time that is remembered of it, else by its uuid: the time may be stale, the uuid never is. */
export async function findSnapshot(
  operation: Operation,
  scope: EdfScope,
  volume: Volume,
  snapshot: Pick<BackendSnapshot, 'id' | 'providerLocation'>,
): Promise<Snapshot | undefined> {
  const snapshots = scope.snapshots(volume)
  if (snapshot.providerLocation !== undefined) {
    const known = await snapshots.find(snapshot.providerLocation, operation.edf)
    if (known !== undefined) return known
  }
  for await (const each of snapshots.iterate({}, operation.edf)) {
    if (each.uuid === snapshot.id) return each
  }
  return undefined
}
