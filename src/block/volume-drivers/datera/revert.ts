import { type AppInstance, type EdfScope, isInUse, onlyVolume, untilSnapshotReady } from '@emberglass/edf'
import { Conflict, NotFound } from '../../../kernel/errors.ts'
import type { BackendSnapshot } from '../../volume-driver.ts'
import { requireVolume } from './lookup.ts'
import { type Operation, whenCleaning } from './operation.ts'
import { findSnapshot, readyLimitMs } from './snapshots.ts'

/**
 * Makes a volume's bytes those of a snapshot, in constant time. The array wants the app instance offline for it; it
 * is online again afterwards when it was before.
 * @throws Conflict when a host is let in
 */
export async function revertToSnapshot(operation: Operation, snapshot: BackendSnapshot): Promise<void> {
  const { scope, appInstance } = await requireVolume(operation, snapshot.volume)
  if (isInUse(appInstance)) {
    throw new Conflict(`Volume ${snapshot.volume.id} is attached: it cannot be reverted.`)
  }
  const { storageInstance, volume } = onlyVolume(appInstance)
  const stored = await findSnapshot(operation, scope, volume, snapshot)
  if (stored === undefined) throw new NotFound(`Snapshot ${snapshot.id} does not exist on the array.`)
  const ready = await untilSnapshotReady(scope, volume, stored, readyLimitMs, operation.edf)
  await whileOffline(operation, scope, appInstance, async () => {
    const change = { restore_point: ready.utc_ts }
    await scope.volumes(storageInstance).update(volume.path, change, operation.edf)
  })
}

/** Sessions without an entry on the list are none of a host that may be here: they are ended. */
async function whileOffline(
  operation: Operation,
  scope: EdfScope,
  appInstance: AppInstance,
  work: () => Promise<void>,
): Promise<void> {
  if (appInstance.admin_state === 'offline') return await work()
  const { path } = appInstance
  await scope.appInstances.update(path, { admin_state: 'offline', force: true }, operation.edf)
  try {
    await work()
  } finally {
    await scope.appInstances.update(path, { admin_state: 'online' }, whenCleaning(operation).edf)
  }
}
