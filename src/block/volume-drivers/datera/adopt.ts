import { type AppInstance, findAppInstances } from '@emberglass/edf'
import type { Adopted, BackendVolume } from '../../volume-driver.ts'
import { type Found, findVolume, requireVolume } from './lookup.ts'
import { writeVolumeMetadata } from './metadata.ts'
import { appInstanceName, formatLocation, isNameOfVolume, migratedName, parseLocation } from './naming.ts'
import { type Operation, scopeOf } from './operation.ts'

/**
 * After a migration: what was made as `copy` gets the volume's name. When the old bytes lie on this array, they are
 * renamed first, so that at no moment two app instances are called alike.
 * @throws NotFound when the copy is not here
 */
export async function adoptVolume(
  operation: Operation,
  volume: BackendVolume,
  copy: BackendVolume,
): Promise<Adopted> {
  // Renamed already, when this is called again.
  const renamed = await findVolume(operation, { ...copy, id: volume.id })
  const isCopy = renamed?.appInstance.id === parseLocation(copy.providerLocation)?.appInstanceId
  const moved = renamed !== undefined && isCopy ? renamed : await requireVolume(operation, copy)
  const old = await findOld(operation, volume, copy, moved)
  if (old !== undefined) await rename(operation, old, migratedName(copy.id))
  if (!isNameOfVolume(moved.appInstance.name, volume.id)) {
    await rename(operation, moved, appInstanceName(volume.id, volume.displayName ?? volume.name))
  }
  await writeVolumeMetadata(operation, moved.scope, moved.appInstance, volume)
  return { volume: locationOf(moved), old: old && locationOf(old) }
}

/** Where the volume's bytes were before, if that is on this array: by its own name, or by the one it was given since. */
async function findOld(
  operation: Operation,
  volume: BackendVolume,
  copy: BackendVolume,
  moved: Found,
): Promise<Found | undefined> {
  const tenants = new Set([moved.tenant, parseLocation(volume.providerLocation)?.tenant ?? moved.tenant])
  const isOld = ({ id, name }: AppInstance) =>
    id !== moved.appInstance.id && (isNameOfVolume(name, volume.id) || name === migratedName(copy.id))
  for (const tenant of tenants) {
    const scope = scopeOf(operation, tenant)
    for (const id of [volume.id, copy.id]) {
      const [appInstance] = await findAppInstances(scope, id, isOld, operation.edf)
      if (appInstance !== undefined) return { tenant, scope, appInstance }
    }
  }
  return undefined
}

async function rename(operation: Operation, found: Found, name: string): Promise<void> {
  if (found.appInstance.name === name) return
  await found.scope.appInstances.update(found.appInstance.path, { name }, operation.edf)
}

function locationOf({ tenant, appInstance }: Found) {
  return { providerLocation: formatLocation({ tenant, appInstanceId: appInstance.id }) }
}
