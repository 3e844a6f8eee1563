import { greatestBandwidth, greatestIops, type LimitName, limitNames, type Policy } from './policies.ts'

/** The six limits of a volume; 0 is unlimited. */
export type Limits = Readonly<Record<LimitName, number>>

/**
 * A volume's limits: a limit per GiB times the size, and the fixed total, whichever is less; 0 counts as absent.
 * Clamped to what the array takes.
 */
export function limitsFor(policy: Policy, sizeGib: number): Limits {
  return {
    total_iops_max: lesser(policy.total_iops_max, policy.iops_per_gb * sizeGib, greatestIops),
    read_iops_max: policy.read_iops_max,
    write_iops_max: policy.write_iops_max,
    total_bandwidth_max: lesser(
      policy.total_bandwidth_max,
      policy.bandwidth_per_gb * sizeGib,
      greatestBandwidth,
    ),
    read_bandwidth_max: policy.read_bandwidth_max,
    write_bandwidth_max: policy.write_bandwidth_max,
  }
}

/** Whether a volume has any limit. */
export function isLimited(limits: Limits): boolean {
  return limitNames.some((name) => limits[name] > 0)
}

/** Whether a volume's limits on the array are already those. @param stored absent: none */
export function sameLimits(stored: Partial<Limits> | undefined, wanted: Limits): boolean {
  return limitNames.every((name) => (stored?.[name] ?? 0) === wanted[name])
}

function lesser(total: number, scaled: number, greatest: number): number {
  const present = [total, scaled].filter((limit) => limit > 0)
  return present.length === 0 ? 0 : Math.min(...present, greatest)
}
