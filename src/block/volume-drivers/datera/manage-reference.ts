import {
  type AppInstance,
  findAppInstances,
  type OnlyVolume,
  onlyVolume,
  parseTenant,
  tenantOf,
} from '@emberglass/edf'
import { Invalid, messageOf } from '../../../kernel/errors.ts'
import type { ManageReference, NewVolume } from '../../volume-driver.ts'
import { tenantsOf } from './leftovers.ts'
import type { Found } from './lookup.ts'
import { type Operation, scopeOf } from './operation.ts'

/** What a reference says. */
interface Named {
  /** `undefined`: where this backend's volumes lie. */
  readonly tenant: string | undefined
  /** Name or id. */
  readonly appInstance: string
  readonly storageInstance: string | undefined
  readonly volume: string | undefined
}

/** How an app instance is named to those who want to manage it. @param tenant named where there are several */
export function referenceOf(appInstance: AppInstance, tenant: string | undefined): ManageReference {
  const [storageInstance] = appInstance.storage_instances
  const parts = [appInstance.name, storageInstance?.name ?? '', storageInstance?.volumes[0]?.name ?? '']
  return { 'source-name': [...(tenant === undefined ? [] : [tenant]), ...parts].join(':') }
}

/**
 * The one app instance that a reference names: `source-name` is `app instance:storage instance:volume`, a tenant may
 * come first; `source-id` is the app instance's id.
 * @param volume which it shall be: its project's tenant is looked into first
 * @throws Invalid when there is none, or it is not of one volume, or there are several
 */
export async function requireReferenced(
  operation: Operation,
  volume: Pick<NewVolume, 'projectId'>,
  reference: ManageReference,
): Promise<Found & OnlyVolume> {
  const named = parse(reference)
  const own = tenantOf(operation.checked.tenant, volume.projectId)
  const [first] = await findNamed(operation, [named.tenant ?? own], named.appInstance)
  if (first !== undefined) return { ...first, ...requireOne(first.appInstance, named, reference) }
  const others = named.tenant === undefined ? await tenantsOf(operation) : []
  const [only, ...more] = await findNamed(operation, others, named.appInstance)
  if (only === undefined) throw invalid(reference, 'the array has no such app instance')
  if (more.length > 0) throw invalid(reference, 'several tenants have one of that name: say which')
  return { ...only, ...requireOne(only.appInstance, named, reference) }
}

async function findNamed(
  operation: Operation,
  tenants: readonly (string | undefined)[],
  nameOrId: string,
): Promise<Found[]> {
  const found: Found[] = []
  for (const tenant of tenants) {
    const scope = scopeOf(operation, tenant)
    const isMeant = ({ id, name }: AppInstance) => id === nameOrId || name === nameOrId
    const byId = uuidPattern.test(nameOrId)
      ? await scope.appInstances.find(nameOrId, operation.edf)
      : undefined
    const all = byId === undefined ? await findAppInstances(scope, nameOrId, isMeant, operation.edf) : [byId]
    found.push(...all.map((appInstance) => ({ tenant, scope, appInstance })))
  }
  return found
}

function parse(reference: ManageReference): Named {
  const { 'source-name': name, 'source-id': id } = reference
  if (name === undefined) {
    if (id === undefined) throw invalid(reference, 'source-name or source-id is missing')
    return { tenant: undefined, appInstance: id, storageInstance: undefined, volume: undefined }
  }
  const parts = name.split(':')
  const [volume, storageInstance, appInstance, tenant] = parts.toReversed()
  if (parts.length < 3 || parts.length > 4 || !appInstance || !storageInstance || !volume) {
    throw invalid(reference, 'expected app_instance:storage_instance:volume, or a tenant before them')
  }
  return { tenant: tenantNamed(reference, tenant), appInstance, storageInstance, volume }
}

function tenantNamed(reference: ManageReference, text: string | undefined): string | undefined {
  if (text === undefined) return undefined
  try {
    const rule = parseTenant(text)
    return rule.kind === 'path' ? rule.path : undefined
  } catch (cause) {
    throw invalid(reference, messageOf(cause))
  }
}

function requireOne(appInstance: AppInstance, named: Named, reference: ManageReference): OnlyVolume {
  const [storageInstance, ...otherInstances] = appInstance.storage_instances
  const otherVolumes = storageInstance?.volumes.slice(1) ?? []
  if (storageInstance?.volumes[0] === undefined) throw invalid(reference, 'it has no volume')
  if (otherInstances.length + otherVolumes.length > 0) {
    throw invalid(reference, 'it has more than one storage instance or volume')
  }
  const only = onlyVolume(appInstance)
  const isNamed =
    (named.storageInstance ?? only.storageInstance.name) === only.storageInstance.name &&
    (named.volume ?? only.volume.name) === only.volume.name
  if (!isNamed) throw invalid(reference, 'it has no such storage instance or volume')
  return only
}

const uuidPattern = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

export function invalid(reference: ManageReference, why: string): Invalid {
  return new Invalid(`Reference ${JSON.stringify(reference)} cannot be managed: ${why}.`, {
    details: { reference },
  })
}
