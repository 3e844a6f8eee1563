import type { AppInstance } from '@emberglass/edf'
import { GiB } from '../../../kernel/bytes.ts'
import { Conflict } from '../../../kernel/errors.ts'
import type {
  BackendVolume,
  Created,
  Known,
  Manageable,
  ManageReference,
  NewVolume,
} from '../../volume-driver.ts'
import { tenantsOf } from './leftovers.ts'
import { findVolume } from './lookup.ts'
import { invalid, referenceOf, requireReferenced } from './manage-reference.ts'
import { clearVolumeMetadata, writeOrigin, writeVolumeMetadata } from './metadata.ts'
import { appInstanceName, formatLocation, idInName, parseLocation, unmanagedName } from './naming.ts'
import { type Operation, scopeOf } from './operation.ts'

/** @returns bytes */
export async function manageableSize(
  operation: Operation,
  volume: NewVolume,
  reference: ManageReference,
): Promise<number> {
  const { volume: stored } = await requireReferenced(operation, volume, reference)
  return Math.ceil(stored.size) * GiB
}

/** Gives an app instance a volume's name, and remembers the one it had. Its data and its hosts notice nothing. */
export async function manageVolume(
  operation: Operation,
  volume: NewVolume,
  reference: ManageReference,
  known: Known,
): Promise<Created> {
  const earlier = await findVolume(operation, { ...volume, providerLocation: undefined })
  const isOurs = earlier !== undefined && earlier.appInstance.name !== unmanagedName(volume.id)
  if (isOurs) return locationOf(earlier)
  const found = await requireReferenced(operation, volume, reference)
  const { scope, appInstance } = found
  const id = managedId(appInstance, known)
  if (id !== undefined && id !== volume.id) {
    throw new Conflict(`App instance ${appInstance.name} is managed already, as volume ${id}.`, {
      details: { reference, volumeId: id },
    })
  }
  const purpose = otherPurpose(appInstance)
  if (purpose !== undefined) throw invalid(reference, `it is ${purpose}`)
  await writeOrigin(operation, scope, appInstance)
  const name = appInstanceName(volume.id, volume.displayName ?? volume.name)
  const renamed = await scope.appInstances.update(appInstance.path, { name }, operation.edf)
  await writeVolumeMetadata(operation, scope, renamed, volume)
  return locationOf({ ...found, appInstance: renamed })
}

/** Gives a volume a name that says it is nobody's; everything else stays. */
export async function unmanageVolume(operation: Operation, volume: BackendVolume): Promise<void> {
  const found = await findVolume(operation, volume)
  if (found === undefined) return
  const { scope, appInstance } = found
  await clearVolumeMetadata(operation, scope, appInstance)
  const name = unmanagedName(volume.id)
  if (appInstance.name === name) return
  await scope.appInstances.update(appInstance.path, { name }, operation.edf)
}

/** An app instance, and what may be done with it. */
export interface Listed {
  readonly appInstance: AppInstance
  readonly manageable: Manageable
}

/** Everything in the tenants of this backend: one request per page, whatever lies there. */
export async function listManageable(operation: Operation, known: Known): Promise<readonly Listed[]> {
  const tenants = await tenantsOf(operation)
  const named = operation.checked.tenant.kind === 'map'
  const listed: Listed[] = []
  for (const tenant of tenants) {
    for await (const appInstance of scopeOf(operation, tenant).appInstances.iterate({}, operation.edf)) {
      const reference = referenceOf(appInstance, named ? tenant : undefined)
      listed.push({ appInstance, manageable: { reference, ...describe(appInstance, known) } })
    }
  }
  return listed
}

function describe(appInstance: AppInstance, known: Known): Omit<Manageable, 'reference'> {
  const volumes = appInstance.storage_instances.flatMap((each) => each.volumes)
  const managedAs = managedId(appInstance, known)
  const reasonNotSafe = managedAs === undefined ? unsafe(appInstance) : 'already managed'
  const mode = appInstance.create_mode
  const snapshots = volumes.flatMap((each) => each.snapshots ?? [])
  return {
    sizeBytes: volumes.reduce((sum, { size }) => sum + Math.ceil(size), 0) * GiB,
    safeToManage: reasonNotSafe === undefined,
    reasonNotSafe,
    managedAs: managedAs ?? (reasonNotSafe === undefined ? idInName(appInstance.name) : undefined),
    extraInfo: {
      snapshots: JSON.stringify(snapshots.map(({ utc_ts, uuid }) => [utc_ts, uuid])),
      ...(mode === undefined || mode === 'openstack' ? {} : { create_mode: mode }),
    },
  }
}

/** Which of the known volumes it is: by what is remembered of them, or by its name. */
export function managedId(appInstance: AppInstance, known: Known): string | undefined {
  const id = idInName(appInstance.name)
  const found = known.volumes.find(
    (volume) => volume.id === id || parseLocation(volume.providerLocation)?.appInstanceId === appInstance.id,
  )
  return found?.id
}

function unsafe(appInstance: AppInstance): string | undefined {
  const purpose = otherPurpose(appInstance)
  if (purpose !== undefined) return purpose
  const [storageInstance, ...others] = appInstance.storage_instances
  if (storageInstance?.volumes[0] === undefined) return 'no volume'
  if (others.length > 0 || storageInstance.volumes.length > 1) {
    return 'more than one storage instance or volume'
  }
  return (storageInstance.active_initiators ?? []).length > 0 ? 'in use' : undefined
}

/** What begins the description of a copy of an image that this driver keeps. */
export const cachedImageDescription = 'cached image'

/** What an app instance is, if it is for something else than a volume. */
function otherPurpose({ name, descr }: AppInstance): string | undefined {
  if (name.startsWith('OS-IMAGE-')) return 'an image of the image store'
  if (name.startsWith('BACKUP-')) return 'a backup'
  if (name.startsWith('OS-TMP-') || name.startsWith('OS-MIGRATED-')) return 'temporary'
  return descr?.startsWith(cachedImageDescription) ? 'a cached image' : undefined
}

function locationOf({ tenant, appInstance }: { tenant: string | undefined; appInstance: AppInstance }) {
  return { providerLocation: formatLocation({ tenant, appInstanceId: appInstance.id }) }
}
