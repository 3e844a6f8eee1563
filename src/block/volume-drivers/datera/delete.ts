import { onlyVolume, removeAppInstance } from '@emberglass/edf'
import { Conflict } from '../../../kernel/errors.ts'
import type { BackendVolume } from '../../volume-driver.ts'
import { findVolume } from './lookup.ts'
import type { Operation } from './operation.ts'

/** Removes a volume, attached or not. Already gone: fine. @throws Conflict when it has snapshots */
export async function deleteVolume(operation: Operation, volume: BackendVolume): Promise<void> {
  const found = await findVolume(operation, volume)
  if (found === undefined) {
    operation.log.info({ volumeId: volume.id }, 'the volume is not on the array any more')
    return
  }
  const { scope, appInstance } = found
  const hasVolume = (appInstance.storage_instances[0]?.volumes.length ?? 0) > 0
  const snapshots = hasVolume
    ? await scope.snapshots(onlyVolume(appInstance).volume).list({}, operation.edf)
    : []
  if (snapshots.length > 0) {
    throw new Conflict(`Volume ${volume.id} has ${snapshots.length} snapshots on the array.`, {
      details: { volumeId: volume.id, snapshots: snapshots.map(({ uuid }) => uuid) },
    })
  }
  await removeAppInstance(scope, appInstance, operation.edf)
}
