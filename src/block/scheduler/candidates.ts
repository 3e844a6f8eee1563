import { sql } from 'kysely'
import { GiB } from '../../kernel/bytes.ts'
import type { PoolAt } from '../backends.ts'
import type { Block } from '../context.ts'
import { type Candidate, gibOf } from './pools.ts'

/** A candidate with what the service itself knows of it. */
export interface PoolCandidate extends Candidate {
  readonly at: PoolAt
}

/**
 * Every pool of the backends that are up, with what has been promised on it. Those of services that are disabled or
 * frozen are left out.
 */
export async function poolCandidates(
  block: Pick<Block, 'db' | 'backends'>,
  signal: AbortSignal,
  options: { withDisabled?: boolean } = {},
): Promise<readonly PoolCandidate[]> {
  const pools = await block.backends.pools(signal)
  const used = await sql<{ host: string; size: number; count: number }>`
    select host, sum(provisioned_gib) as size, sum(volumes) as count
    from volume_host_totals group by host`.execute(block.db)
  const byHost = new Map(used.rows.map((row) => [row.host, row]))
  const closed = await block.db
    .selectFrom('volume_services')
    .select('host')
    .where('binary', '=', 'cinder-volume')
    .where((is) => is.or([is('disabled', '=', 1), is('frozen', '=', 1)]))
    .execute()
  const disabled = new Set(closed.map((service) => service.host))
  return pools
    .filter(({ backend }) => options.withDisabled || !disabled.has(backend.host))
    .map((at) => {
      const row = byHost.get(at.host)
      return candidate(at, Number(row?.size ?? 0) * GiB, Number(row?.count ?? 0))
    })
}

function candidate(at: PoolAt, provisionedBytes: number, volumes: number): PoolCandidate {
  const { backend, pool, host } = at
  const { reservedPercentage, overSubscriptionRatio, filterFunction, goodnessFunction } = backend
  return {
    at,
    host,
    availabilityZone: backend.availabilityZone,
    totalBytes: pool.totalBytes,
    freeBytes: pool.freeBytes,
    provisionedBytes,
    reservedPercentage,
    overSubscriptionRatio:
      overSubscriptionRatio === 'auto'
        ? automaticOverSubscription(pool, provisionedBytes)
        : overSubscriptionRatio,
    capabilities: {
      ...pool.capabilities,
      volume_backend_name: backend.volumeBackendName,
      pool_name: pool.name,
      total_capacity_gb: gibOf(pool.totalBytes),
      free_capacity_gb: gibOf(pool.freeBytes),
      allocated_capacity_gb: gibOf(provisionedBytes),
      provisioned_capacity_gb: gibOf(provisionedBytes),
      reserved_percentage: reservedPercentage,
      max_over_subscription_ratio: String(overSubscriptionRatio),
      total_volumes: volumes,
      backend_state: backend.state === 'up' ? 'up' : 'down',
      filter_function: filterFunction ?? pool.capabilities['filter_function'] ?? null,
      goodness_function: goodnessFunction ?? pool.capabilities['goodness_function'] ?? null,
      ...backend.extraCapabilities,
    },
  }
}

/**
 * How many times a pool's size may be promised, by how much of what was promised has been written so far.
 * @see cinder/utils.py calculate_max_over_subscription_ratio
 */
export function automaticOverSubscription(
  { totalBytes, freeBytes }: { totalBytes: number; freeBytes: number },
  provisionedBytes: number,
): number {
  const used = totalBytes - freeBytes
  if (provisionedBytes === 0 || !Number.isFinite(used)) return 20
  return 1 + provisionedBytes / (used + GiB)
}
