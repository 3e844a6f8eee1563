import type { RateLimits } from '@emberglass/iscsi/target'
import type { StoredPolicy } from '../resources/performance-policy.ts'

/** What the target has to enforce. In a policy 0 means unlimited, and bandwidth is KiB/s. */
export function rateLimitsOf(stored: string | null): RateLimits {
  if (stored === null) return {}
  const policy: StoredPolicy = JSON.parse(stored)
  const limit = (perSecond: number, unit = 1) => (perSecond === 0 ? undefined : perSecond * unit)
  return {
    totalIops: limit(policy.total_iops_max),
    readIops: limit(policy.read_iops_max),
    writeIops: limit(policy.write_iops_max),
    totalBytesPerSecond: limit(policy.total_bandwidth_max, 1024),
    readBytesPerSecond: limit(policy.read_bandwidth_max, 1024),
    writeBytesPerSecond: limit(policy.write_bandwidth_max, 1024),
  }
}
