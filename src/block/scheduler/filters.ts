import { GiB } from '../../kernel/bytes.ts'
import { type ExpressionScope, evaluate } from './expression.ts'
import { answersQuery } from './json-query.ts'
import { backendOf, type Candidate, hasCapabilities, hasCapacity, isInZone, type Placement } from './pools.ts'

type Filter = (pool: Candidate, placement: Placement) => boolean

/**
 * Filters by the names that `scheduler_default_filters` gives them.
 * @see block-storage-api specification 5.3; cinder/scheduler/filters
 */
export const filters: Readonly<Record<string, Filter>> = {
  AvailabilityZoneFilter: isInZone,
  CapabilitiesFilter: (pool, placement) => hasCapabilities(pool, placement.extraSpecs),
  CapacityFilter: hasCapacity,
  DriverFilter: satisfiesFunction,
  IgnoreAttemptedHostsFilter: (pool, placement) => !placement.excluded?.includes(pool.host),
  SameBackendFilter: (pool, { hints }) =>
    hints?.sameHost === undefined || hints.sameHost.includes(backendOf(pool.host)),
  DifferentBackendFilter: (pool, { hints }) => !hints?.differentHost?.includes(backendOf(pool.host)),
  // whoever wants to be near a server cannot be helped: no compute service is asked where that server runs
  InstanceLocalityFilter: (_pool, { hints }) => hints?.localToInstance === undefined,
  JsonFilter: (pool, { hints }) => hints?.query === undefined || answersQuery(hints.query, reportedBy(pool)),
}

/** The pool's own condition. One that cannot be evaluated rejects. */
function satisfiesFunction(pool: Candidate, placement: Placement): boolean {
  const condition = pool.capabilities['filter_function']
  if (typeof condition !== 'string' || condition === '') return true
  try {
    const value = evaluate(condition, scopeOf(pool, placement))
    return value !== false && value !== 0
  } catch {
    return false
  }
}

/** What the names in a pool's functions stand for. */
export function scopeOf(pool: Candidate, placement: Placement): ExpressionScope {
  const { capabilities } = pool
  return {
    stats: { ...capabilities, host: pool.host },
    capabilities,
    volume: { size: placement.sizeBytes / GiB, ...placement.volume },
    extra: placement.extraSpecs,
    volume_type: placement.extraSpecs,
    qos: placement.qosSpecs ?? {},
  }
}

function reportedBy(pool: Candidate): Readonly<Record<string, unknown>> {
  return { ...pool.capabilities, host: pool.host, capabilities: pool.capabilities }
}
