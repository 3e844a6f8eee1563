import { CreateTenant, type Tenant, UpdateTenant } from '../../schemas/tenant.ts'
import type { VersionTraits } from '../../versions.ts'
import type { NodeContext } from '../context.ts'
import type { Database } from '../database/database.ts'
import type { TenantRow } from '../database/rows.ts'
import { conflict, invalidRequest, notFound, notPermitted, validationFailed } from '../errors.ts'
import { listOf } from '../http/list.ts'
import type { ApiRequest, Route } from '../http/route.ts'
import type { SessionUser } from '../sessions.ts'

export const rootTenant = '/root'

/** `/root/foo`, `root/foo`, `/tenants/root/foo`, `foo` → `/root/foo`; empty → empty. */
export function canonicalTenant(text: string): string {
  const segments = text.split('/').filter((segment) => segment !== '')
  if (segments[0] === 'tenants') segments.shift()
  if (segments.length === 0) return ''
  if (segments[0] !== 'root') segments.unshift('root')
  return `/${segments.join('/')}`
}

/** The tenant and those above it, nearest first. */
export function lineage(tenant: string): string[] {
  const line: string[] = []
  for (let path = tenant; path !== ''; path = path.slice(0, path.lastIndexOf('/'))) line.push(path)
  return line
}

/** The tenant that a `tenant` header means. @throws ApiError 403 outside of the user's tenants, 404 when unknown */
export function resolveTenant(database: Database, header: string, user: SessionUser): string {
  const path = canonicalTenant(header) || (user.tenants[0] ?? rootTenant)
  if (!user.tenants.some((own) => path === own || path.startsWith(`${own}/`))) {
    throw notPermitted(`The tenant ${path} is not one of the user's`)
  }
  if (database.get('SELECT 1 FROM tenant WHERE path = ?', path) === undefined) throw notFound(path)
  return path
}

export function tenantRoutes(node: NodeContext): Route[] {
  const { database } = node
  const read = (request: ApiRequest, path: string) => ({
    data: view(node, find(node, request, path), request.traits),
    path,
    tenant: rootTenant,
  })
  const update = (request: ApiRequest, path: string) => {
    const row = find(node, request, path)
    const attributes = { ...JSON.parse(row.attributes), ...pick(request.body(UpdateTenant)) }
    database.run('UPDATE tenant SET attributes = ? WHERE path = ?', JSON.stringify(attributes), path)
    return read(request, path)
  }
  const remove = (request: ApiRequest, path: string) => {
    const answer = read(request, path)
    removeTenant(node, path)
    return answer
  }
  const named = (request: ApiRequest) => canonicalTenant(request.param('*'))
  return [
    {
      method: 'GET',
      path: '/tenants',
      summary: 'List tenants, the root first',
      handle: (request) => {
        const rows = database
          .all<TenantRow>('SELECT * FROM tenant ORDER BY seq')
          .filter((row) =>
            request.user.tenants.some((own) => row.path === own || row.path.startsWith(`${own}/`)),
          )
        const { items, page } = listOf(
          request,
          rows.map((row) => view(node, row, request.traits)),
        )
        return { data: items, page }
      },
    },
    {
      method: 'POST',
      path: '/tenants',
      summary: 'Create a tenant',
      body: CreateTenant,
      privilege: 'administrate',
      handle: (request) => read(request, createTenant(node, request)),
    },
    { method: 'GET', path: '/tenants/*', summary: 'Read a tenant', handle: (r) => read(r, named(r)) },
    {
      method: 'PUT',
      path: '/tenants/*',
      summary: 'Update a tenant',
      body: UpdateTenant,
      privilege: 'administrate',
      handle: (r) => update(r, named(r)),
    },
    {
      method: 'DELETE',
      path: '/tenants/*',
      summary: 'Delete a tenant',
      privilege: 'administrate',
      handle: (r) => remove(r, named(r)),
    },
    ...aliases(read, update, remove),
  ]
}

/** `/root/foo` is `/tenants/root/foo`: clients use an entity's `path` as its URL. */
function aliases(
  read: (request: ApiRequest, path: string) => ReturnType<Route['handle']>,
  update: typeof read,
  remove: typeof read,
): Route[] {
  const verbs = [
    { method: 'GET', act: read, privilege: 'read' },
    { method: 'PUT', act: update, privilege: 'administrate' },
    { method: 'DELETE', act: remove, privilege: 'administrate' },
  ] as const
  return verbs.flatMap(({ method, act, privilege }): Route[] => [
    {
      method,
      privilege,
      path: '/root',
      unlisted: true,
      summary: 'The root tenant',
      handle: (r) => act(r, rootTenant),
    },
    {
      method,
      privilege,
      path: '/root/*',
      unlisted: true,
      summary: 'A tenant by its path',
      handle: (r) => act(r, canonicalTenant(`root/${r.param('*')}`)),
    },
  ])
}

function find(node: NodeContext, request: ApiRequest, path: string): TenantRow {
  const visible = request.user.tenants.some((own) => path === own || path.startsWith(`${own}/`))
  const row = visible && node.database.get<TenantRow>('SELECT * FROM tenant WHERE path = ?', path)
  if (!row) throw notFound(`/tenants${path}`)
  return row
}

function createTenant(node: NodeContext, request: ApiRequest): string {
  const body = request.body(CreateTenant)
  const parent = canonicalTenant(body.parent_path ?? '') || rootTenant
  const segments = body.name.split('/').filter((segment) => segment !== '')
  if (segments[0] === 'root') segments.shift()
  if (segments.length === 0) throw conflict('The tenant /root exists')
  if (segments.some((segment) => segment === '.' || segment === '..')) {
    throw validationFailed(`"${body.name}" is not a tenant's name`)
  }
  const allowed = request.user.tenants.some((own) => parent === own || parent.startsWith(`${own}/`))
  if (!allowed) throw validationFailed('Only descendants of tenants that the user administers may be created')
  return node.database.transaction(() => {
    let path = parent
    let created = false
    for (const [index, segment] of segments.entries()) {
      if (node.database.get('SELECT 1 FROM tenant WHERE path = ?', path) === undefined) throw notFound(path)
      const above = path
      path = `${above}/${segment}`
      if (node.database.get('SELECT 1 FROM tenant WHERE path = ?', path) !== undefined) continue
      const attributes = index === segments.length - 1 ? JSON.stringify({ descr: body.descr ?? '' }) : '{}'
      node.database.run(
        'INSERT INTO tenant (path, name, parent_path, attributes) VALUES (?, ?, ?, ?)',
        path,
        segment,
        above,
        attributes,
      )
      created = true
    }
    if (!created) throw conflict(`The tenant ${path} exists`)
    return path
  })
}

function removeTenant(node: NodeContext, path: string): void {
  if (path === rootTenant) throw invalidRequest('The root tenant cannot be deleted')
  const { database } = node
  database.transaction(() => {
    const holders = ['app_instance', 'initiator', 'initiator_group', 'document']
    const held = holders.find(
      (table) => database.get(`SELECT 1 FROM ${table} WHERE tenant = ? LIMIT 1`, path) !== undefined,
    )
    if (held !== undefined) {
      throw invalidRequest(`The tenant ${path} still holds an object of the kind ${held}`)
    }
    if (database.get('SELECT 1 FROM tenant WHERE parent_path = ? LIMIT 1', path) !== undefined) {
      throw invalidRequest(`The tenant ${path} still holds tenants`)
    }
    database.run('DELETE FROM tenant WHERE path = ?', path)
  })
}

function view(node: NodeContext, row: TenantRow, traits: VersionTraits): Tenant {
  const children = node.database
    .all<{ path: string }>('SELECT path FROM tenant WHERE parent_path = ? ORDER BY seq', row.path)
    .map(({ path }) => path)
  return {
    tenant: rootTenant,
    path: row.path,
    name: row.name,
    descr: '',
    parent_path: row.parent_path,
    subtenants: traits.subtenants === 'strings' ? children : children.map((path) => ({ path })),
    initiator_list_src: '',
    quota: {},
    quota_status: {},
    ...JSON.parse(row.attributes),
  }
}

/** The known attributes of a body that knows more. */
function pick(body: UpdateTenant): UpdateTenant {
  return {
    ...(body.descr !== undefined && { descr: body.descr }),
    ...(body.initiator_list_src !== undefined && { initiator_list_src: body.initiator_list_src }),
    ...(body.mgmt_ips !== undefined && { mgmt_ips: body.mgmt_ips }),
    ...(body.quota !== undefined && { quota: body.quota }),
  }
}
