import {
  type AppInstance,
  absentIfNotFound,
  type EdfScope,
  findAppInstances,
  tenantOf,
} from '@emberglass/edf'
import { BackendError, NotFound } from '../../../kernel/errors.ts'
import type { BackendVolume } from '../../volume-driver.ts'
import { idInName, isNameOfVolume, parseLocation } from './naming.ts'
import { type Operation, scopeOf } from './operation.ts'

/** An app instance, and the tenant in which it is reached. */
export interface Found {
  readonly tenant: string | undefined
  readonly scope: EdfScope
  readonly appInstance: AppInstance
}

/**
 * The app instance of a volume: by its remembered place, else by its name, which contains the volume's id.
 * @throws BackendError when several look like it
 */
export async function findVolume(
  operation: Operation,
  volume: Pick<BackendVolume, 'id' | 'projectId' | 'providerLocation'>,
): Promise<Found | undefined> {
  const location = parseLocation(volume.providerLocation)
  if (location !== undefined) {
    const scope = scopeOf(operation, location.tenant)
    const known = await absentIfNotFound(scope.appInstances.get(location.appInstanceId, operation.edf))
    if (known !== undefined && isVolume(known, volume.id)) {
      return { tenant: location.tenant, scope, appInstance: known }
    }
  }
  for (const tenant of tenantsOf(operation, volume.projectId, location?.tenant)) {
    const scope = scopeOf(operation, tenant)
    const appInstance = await findInTenant(operation, scope, volume.id)
    if (appInstance !== undefined) return { tenant, scope, appInstance }
  }
  return undefined
}

/** @throws NotFound, BackendError */
export async function requireVolume(
  operation: Operation,
  volume: Pick<BackendVolume, 'id' | 'projectId' | 'providerLocation'>,
): Promise<Found> {
  const found = await findVolume(operation, volume)
  if (found === undefined) throw new NotFound(`Volume ${volume.id} does not exist on the array.`)
  return found
}

/** The one app instance of a volume in one tenant. @throws BackendError when there are several */
export async function findInTenant(
  operation: Operation,
  scope: EdfScope,
  volumeId: string,
): Promise<AppInstance | undefined> {
  const found = await findAppInstances(scope, volumeId, (each) => isVolume(each, volumeId), operation.edf)
  if (found.length > 1) {
    const names = found.map(({ name }) => name).join(', ')
    throw new BackendError(`Several app instances look like volume ${volumeId}: ${names}.`, {
      left: 'nothing',
      details: { volumeId, names },
    })
  }
  return found[0]
}

/** By its name; by its uuid when somebody has given it a name that says nothing. */
function isVolume({ name, uuid }: AppInstance, volumeId: string): boolean {
  if (isNameOfVolume(name, volumeId)) return true
  return uuid === volumeId && idInName(name) === undefined
}

/** Where a volume may lie: where it was put, where its project's volumes go, and where older drivers put them. */
function tenantsOf(
  operation: Operation,
  projectId: string,
  remembered: string | undefined,
): readonly (string | undefined)[] {
  const rule = operation.checked.tenant
  const tenants = new Set([tenantOf(rule, projectId)])
  if (remembered !== undefined) tenants.add(remembered)
  if (rule.kind === 'map' && /^[0-9a-f]{32}$/.test(projectId)) {
    const dashed = projectId.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
    tenants.add(tenantOf(rule, dashed))
  }
  return [...tenants]
}
