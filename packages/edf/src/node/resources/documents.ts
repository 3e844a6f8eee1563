import type { ReferenceInput, ResolvedReference } from '../../schemas/common.ts'
import type { NodeContext } from '../context.ts'
import { isUniqueViolation } from '../database/database.ts'
import type { DocumentRow } from '../database/rows.ts'
import { conflict, notFound } from '../errors.ts'
import { nameOf, pathOf } from './locate.ts'
import { lineage, rootTenant } from './tenants.ts'

/**
 * Collections whose objects are little more than a name and attributes: address pools, policies, templates. Each
 * object lives in one tenant, and is seen from the tenants below it.
 */
export type Collection =
  | 'access_network_ip_pools'
  | 'placement_policies'
  | 'media_policies'
  | 'app_templates'
  | 'storage_pools'
  | 'failure_domains'
  | 'remote_providers'

export const documentPath = (collection: Collection, name: string) => `/${collection}/${name}`

/** Own objects and inherited ones; an own one hides its namesake above. In order of creation. */
export function listDocuments(
  node: Pick<NodeContext, 'database'>,
  collection: Collection,
  tenant: string,
): DocumentRow[] {
  const line = lineage(tenant)
  const rows = node.database
    .all<DocumentRow>('SELECT * FROM document WHERE collection = ? ORDER BY seq', collection)
    .filter((row) => line.includes(row.tenant))
  return rows.filter(
    (row) =>
      !rows.some((other) => other.name === row.name && line.indexOf(other.tenant) < line.indexOf(row.tenant)),
  )
}

/** The object of that name in the tenant, or in the nearest one above that has it. */
export function findDocument(
  node: Pick<NodeContext, 'database'>,
  collection: Collection,
  tenant: string,
  name: string,
): DocumentRow | undefined {
  for (const path of lineage(tenant)) {
    const row = node.database.get<DocumentRow>(
      'SELECT * FROM document WHERE collection = ? AND tenant = ? AND name = ?',
      collection,
      path,
      name,
    )
    if (row !== undefined) return row
  }
  return undefined
}

/** @throws ApiError 404 */
export function requireDocument(
  node: Pick<NodeContext, 'database'>,
  collection: Collection,
  tenant: string,
  name: string,
): DocumentRow {
  const row = findDocument(node, collection, tenant, name)
  if (row === undefined) throw notFound(documentPath(collection, name))
  return row
}

/** @throws ApiError 409 when the tenant has an object of that name */
export function insertDocument(
  node: Pick<NodeContext, 'database'>,
  document: {
    readonly collection: Collection
    readonly tenant: string
    readonly name: string
    readonly content: object
  },
): void {
  try {
    node.database.run(
      'INSERT INTO document (collection, tenant, name, content) VALUES (?, ?, ?, ?)',
      document.collection,
      document.tenant,
      document.name,
      JSON.stringify(document.content),
    )
  } catch (error) {
    if (!isUniqueViolation(error)) throw error
    throw conflict(`${documentPath(document.collection, document.name)} exists`)
  }
}

export function updateDocument(node: Pick<NodeContext, 'database'>, row: DocumentRow, content: object): void {
  node.database.run('UPDATE document SET content = ? WHERE seq = ?', JSON.stringify(content), row.seq)
}

/**
 * Follows a reference to an object of a collection.
 * @param fallback name that is meant when the client gave none
 * @throws ApiError 404
 */
export function resolveDocument(
  node: Pick<NodeContext, 'database'>,
  collection: Collection,
  tenant: string,
  reference: ReferenceInput | undefined,
  fallback: string,
): ResolvedReference {
  const given = pathOf(reference)
  const name = given === '' ? fallback : nameOf(given)
  const row = requireDocument(node, collection, tenant, name)
  const resolved = documentPath(collection, row.name)
  return {
    path: given.includes('/') ? given : resolved,
    resolved_path: resolved,
    resolved_tenant: row.tenant,
  }
}

/** Only the owner's requests may change an object; from below it is not there. @throws ApiError 404 */
export function requireOwnDocument(
  node: Pick<NodeContext, 'database'>,
  collection: Collection,
  tenant: string,
  name: string,
): DocumentRow {
  const row = requireDocument(node, collection, tenant, name)
  if (row.tenant !== tenant) throw notFound(documentPath(collection, name))
  return row
}

/** Puts in place what every array has. Repeats safely. */
export function seedDocuments(node: Pick<NodeContext, 'database'>): void {
  const seed = (collection: Collection, name: string, content: object) =>
    node.database.run(
      `INSERT INTO document (collection, tenant, name, content)
       SELECT ?, ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM setting WHERE name = 'seeded')`,
      collection,
      rootTenant,
      name,
      JSON.stringify(content),
    )
  seed('access_network_ip_pools', 'default', { descr: '' })
  // Clients write the modes with underscores; the names with hyphens are those of Cinder's and dbmp's documentation.
  const media = ['default', 'hybrid', 'flash', 'all-flash']
  for (const [priority, name] of media.entries()) {
    seed('media_policies', name, { descr: '', priority: priority + 1 })
  }
  const placements = {
    ...{ default: 'default', hybrid: 'hybrid', single_flash: 'flash', all_flash: 'flash' },
    ...{ 'single-flash': 'all-flash', 'all-flash': 'all-flash' },
  }
  for (const [name, medium] of Object.entries(placements)) {
    seed('placement_policies', name, { descr: '', max: [`/media_policies/${medium}`], min: [] })
  }
  seed('app_templates', 'basic_small', {
    descr: '',
    snapshot_policies: [],
    storage_templates: [
      {
        name: 'storage-1',
        service_configuration: 'iscsi',
        ip_pool: '/access_network_ip_pools/default',
        volume_templates: [
          {
            name: 'volume-1',
            size: 10,
            replica_count: 3,
            placement_mode: 'hybrid',
            placement_policy: '/placement_policies/default',
            snapshot_policies: [],
          },
        ],
      },
    ],
  })
  node.database.run(`INSERT INTO setting (name, value) VALUES ('seeded', '1') ON CONFLICT DO NOTHING`)
}
