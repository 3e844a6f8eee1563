import type { ApiVersion, VersionTraits } from '../../versions.ts'
import { isPlainObject } from './body.ts'
import type { Answer } from './route.ts'

/** The JSON body of an answer, in the shape of the version that was asked. */
export function renderAnswer(
  answer: Answer,
  request: {
    readonly version: ApiVersion
    readonly traits: VersionTraits
    readonly path: string
    readonly tenant: string
  },
  elapsedMs: number,
): unknown {
  if (answer.bare) return answer.data
  const { traits } = request
  const data = traits.keyedCollections ? keyed(answer.data, answer.page !== undefined) : answer.data
  if (!traits.envelope) return data
  return {
    tenant: answer.tenant ?? request.tenant,
    path: answer.path ?? request.path,
    version: `v${request.version}`,
    data,
    ...(answer.page && { metadata: metadataOf(answer, traits) }),
    request_time: elapsedMs,
  }
}

function metadataOf(answer: Answer, traits: VersionTraits): unknown {
  const { page } = answer
  if (page === undefined) return undefined
  if (!traits.paging) return { total: page.total }
  return {
    total_count: page.total,
    request_count: Array.isArray(answer.data) ? answer.data.length : 0,
    limit: page.limit,
    offset: page.offset,
  }
}

/** Attributes that are collections of v2 even when they are empty. */
const collections = new Set([
  'storage_instances',
  'volumes',
  'snapshots',
  'snapshot_policies',
  'storage_templates',
  'volume_templates',
  'network_paths',
])

/** v2: arrays of entities are objects keyed by id, name or time; references are bare strings. */
function keyed(value: unknown, isCollection: boolean): unknown {
  if (Array.isArray(value)) {
    if (!isCollection && value.every(isReference)) return value.map((item) => item.path)
    const isEntities = value.every((item) => isPlainObject(item) && typeof item['path'] === 'string')
    if (!isEntities || (value.length === 0 && !isCollection)) return value.map((item) => keyed(item, false))
    return Object.fromEntries(value.map((item) => [lastSegment(String(item.path)), keyed(item, false)]))
  }
  if (!isPlainObject(value)) return value
  if (isReference(value) || 'resolved_path' in value) return value['path']
  const result: Record<string, unknown> = {}
  for (const [name, item] of Object.entries(value)) {
    result[name] = item === '(hidden)' ? '' : keyed(item, collections.has(name))
  }
  return result
}

function isReference(value: unknown): value is { path: string } {
  return isPlainObject(value) && typeof value['path'] === 'string' && Object.keys(value).length === 1
}

function lastSegment(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}
