import { readFileSync } from 'node:fs'
import { Misconfigured, messageOf } from '../kernel/errors.ts'
import type { Block } from './context.ts'
import type { Operation } from './operation.ts'

/** What may be filtered by, by resource. */
export type ResourceFilters = Readonly<Record<string, readonly string[]>>

/** Upstream's default filter file. @see block-storage-api specification 1.9 */
export const defaultFilters = {
  volume: [
    'name',
    'status',
    'metadata',
    'bootable',
    'migration_status',
    'availability_zone',
    'group_id',
    'size',
    'created_at',
    'updated_at',
    'consumes_quota',
  ],
  backup: ['name', 'status', 'volume_id'],
  snapshot: ['name', 'status', 'volume_id', 'metadata', 'availability_zone', 'consumes_quota'],
  group: ['name'],
  group_snapshot: ['name', 'status', 'group_id'],
  attachment: ['volume_id', 'status', 'instance_id', 'attach_status'],
  message: ['resource_uuid', 'resource_type', 'event_id', 'request_id', 'message_level'],
  pool: ['name', 'volume_type'],
  volume_type: ['is_public'],
} as const satisfies ResourceFilters

/**
 * Reads the file that `resource_query_filters_file` names.
 * @returns undefined where none is named
 * @throws Misconfigured when it is not a JSON object of lists of names
 */
export function readResourceFilters(path: string | undefined): ResourceFilters | undefined {
  if (path === undefined) return undefined
  const refuse = (why: string) =>
    new Misconfigured(`[DEFAULT] resource_query_filters_file: ${path}: ${why}`, {
      details: { option: 'resource_query_filters_file' },
    })
  let file: unknown
  try {
    file = JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    throw refuse(messageOf(error))
  }
  const isNames = (value: unknown): value is readonly string[] =>
    Array.isArray(value) && value.every((name) => typeof name === 'string')
  if (typeof file !== 'object' || file === null) throw refuse('expected an object of lists of names')
  const filters: Record<string, readonly string[]> = {}
  for (const [resource, names] of Object.entries(file)) {
    if (!isNames(names)) throw refuse(`expected a list of names for ${resource}`)
    filters[resource] = names
  }
  return filters
}

/** What users may filter a resource by: what the file says, else what is built in. */
export function allowedFilters(
  settings: Pick<Block['settings'], 'resourceFilters'>,
  resource: string,
  builtIn: readonly string[],
): readonly string[] {
  const { resourceFilters } = settings
  return resourceFilters === undefined ? builtIn : (resourceFilters[resource] ?? [])
}

/** `/resource_filters`, from 3.33 on. */
export function resourceFilterOperations({ settings }: Pick<Block, 'settings'>): readonly Operation[] {
  return [
    {
      method: 'GET',
      path: '/resource_filters',
      since: 33,
      async run(request) {
        const wanted = request.query.get('resource')
        const found = Object.entries<readonly string[]>(settings.resourceFilters ?? defaultFilters).filter(
          ([resource]) => wanted === null || resource === wanted,
        )
        return {
          status: 200,
          body: { resource_filters: found.map(([resource, names]) => ({ resource, filters: names })) },
        }
      },
    },
  ]
}
