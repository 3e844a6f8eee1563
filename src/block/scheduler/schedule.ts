import { filters } from './filters.ts'
import { backendOf, type Candidate, type Placement } from './pools.ts'
import { weighers } from './weighers.ts'

/** Which filters and weighers decide, as `cinder.conf` says. */
export interface SchedulerRules {
  readonly filters: readonly string[]
  readonly weighers: readonly string[]
  /** By weigher; below 0 the smallest wins. */
  readonly multipliers: Readonly<Record<string, number>>
}

/** Upstream's defaults. */
export const defaultRules: SchedulerRules = {
  filters: ['AvailabilityZoneFilter', 'CapacityFilter', 'CapabilitiesFilter'],
  weighers: ['CapacityWeigher'],
  multipliers: {
    AllocatedCapacityWeigher: -1,
    CapacityWeigher: 1,
    ChanceWeigher: 1,
    GoodnessWeigher: 1,
    VolumeNumberWeigher: -1,
  },
}

/** The names of filters and weighers that do not exist here. */
export function unknownNames(rules: SchedulerRules): readonly string[] {
  return [
    ...rules.filters.filter((name) => !Object.hasOwn(filters, name)),
    ...rules.weighers.filter((name) => !Object.hasOwn(weighers, name)),
  ]
}

/**
 * The candidates that can take it, best first.
 * @see block-storage-api specification 5.3
 */
export function schedule<Pool extends Candidate>(
  pools: readonly Pool[],
  placement: Placement,
  rules: SchedulerRules = defaultRules,
): readonly Pool[] {
  const able = pools
    .filter((pool) => !placement.excluded?.includes(pool.host))
    .filter((pool) => placement.onBackend === undefined || backendOf(pool.host) === placement.onBackend)
    .filter((pool) => rules.filters.every((name) => filters[name]?.(pool, placement) ?? true))
  const scores = new Map(able.map((pool) => [pool, 0]))
  for (const name of rules.weighers) {
    const weigh = weighers[name]
    if (weigh === undefined) continue
    const weights = normalised(able.map((pool) => weigh(pool, placement)))
    const multiplier = rules.multipliers[name] ?? 1
    for (const [i, pool] of able.entries()) {
      scores.set(pool, (scores.get(pool) ?? 0) + multiplier * (weights[i] ?? 0))
    }
  }
  return able.toSorted((a, b) => (scores.get(b) ?? 0) - (scores.get(a) ?? 0))
}

/** Between 0 and 1, so that weighers of different units can be added. All the same is 0. */
function normalised(weights: readonly number[]): readonly number[] {
  const finite = weights.filter(Number.isFinite)
  const [smallest, largest] = [Math.min(...finite), Math.max(...finite)]
  return weights.map((weight) => {
    if (!Number.isFinite(weight)) return weight > 0 ? 1 : 0
    return largest === smallest ? 0 : (weight - smallest) / (largest - smallest)
  })
}
