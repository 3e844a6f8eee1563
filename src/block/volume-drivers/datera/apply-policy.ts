import { type AppInstance, type EdfScope, isInUse, onlyVolume, type UpdateVolume } from '@emberglass/edf'
import { chooseIpPool } from './ip-pools.ts'
import type { Operation } from './operation.ts'
import { pathIn, placementOf } from './placement.ts'
import type { Policy } from './policies.ts'
import { changeQuietly } from './provision.ts'
import { limitsFor, sameLimits } from './quality-of-service.ts'
import { isFromTemplate, requireResizable } from './templates.ts'

/**
 * Brings a made app instance, blank or cloned, to its size and policy; changes only what differs.
 * @returns the app instance as it is now
 */
export async function applyPolicy(
  operation: Operation,
  scope: EdfScope,
  appInstance: AppInstance,
  policy: Policy,
  sizeGib: number,
  options: { volumeId: string; keepPlacement: boolean },
): Promise<AppInstance> {
  const { storageInstance, volume } = onlyVolume(appInstance)
  const volumes = scope.volumes(storageInstance)
  let changed = false
  const change = async (work: () => Promise<unknown>) => {
    await changeQuietly(operation, scope, appInstance, work)
    changed = true
  }
  if (volume.size < sizeGib) {
    await requireResizable(operation, appInstance)
    await change(() => volumes.update(volume.path, { size: sizeGib }, operation.edf))
  }
  if (!options.keepPlacement) {
    const wanted = volumeChanges(operation, appInstance, policy)
    if (wanted !== undefined) await change(() => volumes.update(volume.path, wanted, operation.edf))
    const pool = pathIn('/access_network_ip_pools', chooseIpPool(policy.ip_pool, options.volumeId))
    const current = storageInstance.ip_pool?.path ?? ''
    const free = !isInUse(appInstance) && !isFromTemplate(appInstance)
    if (free && policy.ip_pool !== 'default' && current !== pool) {
      const collection = scope.storageInstances(appInstance)
      await change(() => collection.update(storageInstance.path, { ip_pool: { path: pool } }, operation.edf))
    }
  }
  const limits = limitsFor(policy, sizeGib)
  if (!sameLimits(volume.performance_policy, limits)) {
    await scope.setPerformancePolicy(volume, limits, operation.edf)
  }
  return changed ? await scope.appInstances.get(appInstance.path, operation.edf) : appInstance
}

/** What of a volume differs from its policy: more replicas (never fewer), another placement. */
export function volumeChanges(
  operation: Operation,
  appInstance: AppInstance,
  policy: Policy,
): UpdateVolume | undefined {
  const { volume } = onlyVolume(appInstance)
  const placement = placementOf(operation, policy)
  const same =
    'placement_mode' in placement
      ? (volume.placement_mode ?? 'hybrid') === placement.placement_mode
      : (volume.placement_policy?.path ?? '') === placement.placement_policy.path
  const changes = {
    ...(volume.replica_count < policy.replica_count ? { replica_count: policy.replica_count } : {}),
    ...(same ? {} : placement),
  }
  return Object.keys(changes).length === 0 ? undefined : changes
}
