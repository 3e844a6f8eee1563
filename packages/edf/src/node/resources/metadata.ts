import type { Metadata } from '../../schemas/metadata.ts'
import type { NodeContext } from '../context.ts'
import type { AppInstanceRow } from '../database/rows.ts'
import { validationFailed } from '../errors.ts'
import { isPlainObject } from '../http/body.ts'
import { listOf } from '../http/list.ts'
import type { ApiRequest, Route } from '../http/route.ts'
import { appInstancePath, locateAppInstance, locateStorageInstance, storageInstancePath } from './locate.ts'

/** Characters of the JSON map. Documented is 2048; connectors of OpenStack need more. */
const maximumLength = 16_384

/** One map behind two views: `metadata` shows strings and booleans only, `int_ecosystem_data` values as they are. */
export function metadataRoutes(node: NodeContext): Route[] {
  const ai = '/app_instances/:ai'
  const si = '/app_instances/:ai/storage_instances/:si'
  return [
    ...mapRoutes(node, `${ai}/metadata`, appInstanceMap, plain),
    ...mapRoutes(node, `${si}/metadata`, storageInstanceMap, plain),
    // In every version: the Python SDK (1.2.27) goes by the product's version, not by the API's.
    ...mapRoutes(node, `${ai}/int_ecosystem_data`, appInstanceMap, (map) => map),
    {
      method: 'GET',
      path: '/app_instance_int_ecosystem_data',
      since: '2.2',
      summary: 'List the metadata of all app instances',
      handle: (request) => {
        const rows = node.database.all<AppInstanceRow>(
          `SELECT * FROM app_instance WHERE tenant = ? AND state = 'ready' ORDER BY seq`,
          request.tenant,
        )
        const { items, page } = listOf(
          request,
          rows.map((row) => ({ name: row.name, data: JSON.parse(row.metadata) })),
        )
        return { data: items, page }
      },
    },
  ]
}

interface StoredMap {
  readonly path: string
  readonly tenant: string
  readonly map: Metadata
  save(map: Metadata): void
}

type FindMap = (node: NodeContext, request: ApiRequest) => StoredMap

const appInstanceMap: FindMap = (node, request) => {
  const ai = locateAppInstance(node, request)
  return {
    path: appInstancePath(ai),
    tenant: ai.tenant,
    map: JSON.parse(ai.metadata),
    save: (map) =>
      node.database.run('UPDATE app_instance SET metadata = ? WHERE id = ?', JSON.stringify(map), ai.id),
  }
}

const storageInstanceMap: FindMap = (node, request) => {
  const { ai, si } = locateStorageInstance(node, request)
  return {
    path: storageInstancePath(ai.id, si.name),
    tenant: ai.tenant,
    map: JSON.parse(si.metadata),
    save: (map) =>
      node.database.run(
        'UPDATE storage_instance SET metadata = ? WHERE uuid = ?',
        JSON.stringify(map),
        si.uuid,
      ),
  }
}

function mapRoutes(
  node: NodeContext,
  path: string,
  find: FindMap,
  show: (map: Metadata) => Metadata,
): Route[] {
  const view = path.slice(path.lastIndexOf('/'))
  return [
    {
      method: 'GET',
      path,
      summary: 'Read the metadata, nothing but the pairs that were written',
      handle: (request) => {
        const found = find(node, request)
        return { data: show(found.map), path: `${found.path}${view}`, tenant: found.tenant }
      },
    },
    {
      method: 'PUT',
      path,
      summary: 'Merge pairs into the metadata',
      handle: (request) => {
        const found = find(node, request)
        const merged = { ...found.map, ...mapOf(request, view === '/int_ecosystem_data') }
        if (JSON.stringify(merged).length > maximumLength) {
          throw validationFailed(`The metadata would be longer than ${maximumLength} characters`)
        }
        found.save(merged)
        return { data: show(merged), path: `${found.path}${view}`, tenant: found.tenant }
      },
    },
  ]
}

/** `{data: {…}}` or the bare map. */
function mapOf(request: ApiRequest, wrapped: boolean): Metadata {
  const body = request.rawBody() ?? {}
  if (!isPlainObject(body)) throw validationFailed('The metadata have to be a JSON object')
  const inner = body['data']
  return wrapped && isPlainObject(inner) && Object.keys(body).length === 1 ? inner : body
}

/** Go's SDK fails on numbers and null. */
function plain(map: Metadata): Metadata {
  const result: Metadata = {}
  for (const [name, value] of Object.entries(map)) {
    if (typeof value === 'string' || typeof value === 'boolean') result[name] = value
    else if (value === null) result[name] = ''
    else result[name] = typeof value === 'object' ? JSON.stringify(value) : String(value)
  }
  return result
}
