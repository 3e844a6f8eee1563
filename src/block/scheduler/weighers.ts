import { evaluate } from './expression.ts'
import { scopeOf } from './filters.ts'
import { type Candidate, type Placement, virtualFreeBytes } from './pools.ts'

type Weigher = (pool: Candidate, placement: Placement) => number

/** Weighers by the names that `scheduler_default_weighers` gives them. @see cinder/scheduler/weights */
export const weighers: Readonly<Record<string, Weigher>> = {
  AllocatedCapacityWeigher: (pool) => Number(pool.capabilities['allocated_capacity_gb'] ?? 0),
  CapacityWeigher: (pool, placement) => virtualFreeBytes(pool, placement.extraSpecs),
  ChanceWeigher: () => Math.random(),
  GoodnessWeigher: goodness,
  VolumeNumberWeigher: (pool) => Number(pool.capabilities['total_volumes'] ?? 0),
}

/** 0 to 100, by the pool's own function; 0 for one that cannot be evaluated or says something else. */
function goodness(pool: Candidate, placement: Placement): number {
  const expression = pool.capabilities['goodness_function']
  if (typeof expression !== 'string' || expression === '') return 0
  try {
    const value = Number(evaluate(expression, scopeOf(pool, placement)))
    return value >= 0 && value <= 100 ? value : 0
  } catch {
    return 0
  }
}
