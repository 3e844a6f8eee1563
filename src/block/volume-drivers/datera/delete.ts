import { removeAppInstance } from '@emberglass/edf'
import type { BackendVolume } from '../../volume-driver.ts'
import { findVolume } from './lookup.ts'
import { unmanagedName } from './naming.ts'
import type { Operation } from './operation.ts'

/**
 * Removes a volume, attached or not, with the snapshots that others have taken of it on the array. Already gone, or
 * not ours any more: fine.
 */
export async function deleteVolume(operation: Operation, volume: BackendVolume): Promise<void> {
  const found = await findVolume(operation, volume)
  if (found === undefined || found.appInstance.name === unmanagedName(volume.id)) {
    operation.log.info({ volumeId: volume.id }, 'the volume is not on the array any more')
    return
  }
  const { scope, appInstance } = found
  const volumes = appInstance.storage_instances.flatMap((each) => each.volumes)
  const snapshots = volumes.flatMap((each) => each.snapshots ?? []).map(({ utc_ts }) => utc_ts)
  if (snapshots.length > 0) {
    operation.log.warn(
      { volumeId: volume.id, snapshots },
      'snapshots that the service does not know go with the volume',
    )
  }
  await removeAppInstance(scope, appInstance, operation.edf)
}
