import { Invalid, NotFound } from '../kernel/errors.ts'
import type { Logger } from '../kernel/log.ts'
import type { Block } from './context.ts'
import { wireDate } from './links.ts'
import { type Operation, parameter } from './operation.ts'
import { authorize } from './policy.ts'
import { allowedFilters } from './resource-filters.ts'
import { type PoolCandidate, poolCandidates } from './scheduler/candidates.ts'
import { backendOf, hasCapabilities } from './scheduler/pools.ts'
import { getTypeByIdOrName, stringMapOf } from './types/queries.ts'
import { queryBoolean } from './validation.ts'

/** `scheduler-stats/get_pools` and `capabilities/{host}`. @see block-storage-api specification 5.3, 5.4 */
export function poolOperations(block: Block): readonly Operation[] {
  return [
    {
      method: 'GET',
      path: '/scheduler-stats/get_pools',
      async run(request) {
        authorize(request.identity, 'scheduler_extension:scheduler_stats:get_pools')
        const { query, minor } = request
        const builtIn = minor >= 35 ? ['name', 'volume_type'] : ['name']
        const allowed = allowedFilters(block.settings, 'pool', builtIn)
        const unknown = [...query.keys()].filter((name) => name !== 'detail' && !allowed.includes(name))
        if (minor >= 31 && unknown.length > 0) {
          throw new Invalid(`Invalid filters ${unknown.join(',')} are found in query options.`)
        }
        const name = minor >= 28 ? query.get('name') : null
        const typeName = minor >= 35 ? query.get('volume_type') : null
        const type = typeName === null ? undefined : await getTypeByIdOrName(block.db, request, typeName)
        const specs = stringMapOf(type?.extra_specs ?? null)
        const detail = query.get('detail')
        const wantsDetail = detail !== null && queryBoolean('detail', detail)
        const pools = (await poolCandidates(block, request.signal, { withDisabled: true }))
          .filter((pool) => name === null || pool.host === name)
          .filter((pool) => hasCapabilities(pool, specs))
        const timestamp = wireDate(block.now().toISOString())
        return {
          status: 200,
          body: {
            pools: pools.map((pool) =>
              wantsDetail
                ? { name: pool.host, capabilities: { ...pool.capabilities, timestamp } }
                : { name: pool.host },
            ),
          },
        }
      },
    },
    {
      method: 'GET',
      path: '/capabilities/:host',
      async run(request) {
        authorize(request.identity, 'volume_extension:capabilities')
        const host = parameter(request, 'host')
        const candidates = await poolCandidates(block, request.signal, { withDisabled: true })
        const found = candidates.find(
          (pool) => pool.host === host || backendOf(pool.host) === backendOf(host),
        )
        if (found === undefined) throw new NotFound(`Host ${host} could not be found.`)
        const text = (name: string) => String(found.capabilities[name] ?? '')
        return {
          status: 200,
          body: {
            namespace: `OS::Storage::Capabilities::${backendOf(host)}`,
            vendor_name: text('vendor_name'),
            volume_backend_name: text('volume_backend_name'),
            pool_name: found.at.pool.name,
            driver_version: text('driver_version'),
            storage_protocol: text('storage_protocol'),
            display_name: null,
            description: null,
            visibility: null,
            replication_targets: [],
            properties: await propertiesOf(found, request.signal, block.log),
          },
        }
      },
    },
  ]
}

/** The properties that upstream publishes for every backend: title and description. */
const standardProperties = {
  thin_provisioning: ['Thin Provisioning', 'Whether volumes take only the room that their data needs.'],
  compression: ['Compression', 'Whether data is compressed.'],
  qos: ['QoS', 'Whether limits of bandwidth and operations are enforced.'],
  replication_enabled: ['Replication', 'Whether volumes are replicated to another backend.'],
} as const

/** The settings that types may have on a backend: upstream's standard ones, and the driver's own. */
async function propertiesOf({ at }: PoolCandidate, signal: AbortSignal, log: Logger) {
  const standard = Object.entries(standardProperties).map(([key, [title, description]]) => [
    key,
    { title, description, type: 'boolean' },
  ])
  const { capabilities } = at.backend.driver
  return { ...Object.fromEntries(standard), ...(await capabilities?.properties({ signal, log })) }
}
