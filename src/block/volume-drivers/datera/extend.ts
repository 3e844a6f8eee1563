import { onlyVolume } from '@emberglass/edf'
import type { BackendVolume } from '../../volume-driver.ts'
import { requireVolume } from './lookup.ts'
import type { Operation } from './operation.ts'
import { volumePolicy } from './policies.ts'
import { changeQuietly, sizeInGib } from './provision.ts'
import { limitsFor, sameLimits } from './quality-of-service.ts'
import { requireResizable } from './templates.ts'

/** Grows a volume where it is, hosts connected or not, and its limits per GiB with it. */
export async function extendVolume(
  operation: Operation,
  volume: BackendVolume,
  sizeBytes: number,
): Promise<void> {
  const sizeGib = sizeInGib(sizeBytes)
  const { scope, appInstance } = await requireVolume(operation, volume)
  const { storageInstance, volume: stored } = onlyVolume(appInstance)
  if (stored.size < sizeGib) {
    await requireResizable(operation, appInstance)
    const volumes = scope.volumes(storageInstance)
    await changeQuietly(operation, scope, appInstance, () =>
      volumes.update(stored.path, { size: sizeGib }, operation.edf),
    )
  }
  const policy = volumePolicy(operation.checked.policy, volume.type, (message) => operation.log.warn(message))
  if (policy.iops_per_gb === 0 && policy.bandwidth_per_gb === 0) return
  const limits = limitsFor(policy, Math.max(sizeGib, stored.size))
  if (!sameLimits(stored.performance_policy, limits)) {
    await scope.setPerformancePolicy(stored, limits, operation.edf)
  }
}
