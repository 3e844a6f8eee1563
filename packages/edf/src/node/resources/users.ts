import type { Reference, ReferenceInput } from '../../schemas/common.ts'
import { Link } from '../../schemas/common.ts'
import { CreateUser, type Role, UpdateUser, type User } from '../../schemas/user.ts'
import type { NodeContext } from '../context.ts'
import { isUniqueViolation } from '../database/database.ts'
import type { UserRow } from '../database/rows.ts'
import { conflict, invalidRequest, notFound } from '../errors.ts'
import { listOf } from '../http/list.ts'
import type { ApiRequest, Route } from '../http/route.ts'
import { hashPassword } from '../password.ts'
import { isRoleName, privilegesOf, privilegesOfRole, roleNames } from '../roles.ts'
import type { SessionUser } from '../sessions.ts'
import { nameOf, pathOf } from './locate.ts'
import { canonicalTenant, rootTenant } from './tenants.ts'

export function sessionUserOf(row: UserRow): SessionUser {
  const names: string[] = JSON.parse(row.roles)
  const tenants: string[] = JSON.parse(row.tenants)
  return {
    userId: row.user_id,
    tenants: tenants.length > 0 ? tenants : [rootTenant],
    roles: names,
    privileges: privilegesOf(names),
  }
}

export function userRoutes(node: NodeContext): Route[] {
  const required = (key: string): UserRow => {
    const row = node.database.get<UserRow>('SELECT * FROM user WHERE user_id = ?', key)
    if (row === undefined) throw notFound(`/users/${key}`)
    return row
  }
  const answer = (row: UserRow) => ({ data: view(row), path: `/users/${row.user_id}`, tenant: rootTenant })
  const own = (request: ApiRequest) => required(request.param('user'))
  return [
    {
      method: 'GET',
      path: '/users',
      summary: 'List users',
      privilege: 'administrate',
      handle: (request) => {
        const rows = node.database.all<UserRow>('SELECT * FROM user ORDER BY seq')
        const { items, page } = listOf(request, rows.map(view))
        return { data: items, page }
      },
    },
    {
      method: 'POST',
      path: '/users',
      summary: 'Create a user',
      body: CreateUser,
      privilege: 'administrate',
      handle: async (request) => {
        await createUser(node, request.body(CreateUser))
        return answer(required(request.body(CreateUser).user_id))
      },
    },
    {
      method: 'GET',
      path: '/users/:user',
      summary: 'Read a user',
      privilege: 'administrate',
      handle: (request) => answer(own(request)),
    },
    {
      method: 'PUT',
      path: '/users/:user',
      summary: 'Update a user; its sessions end',
      body: UpdateUser,
      privilege: 'administrate',
      handle: async (request) => {
        const row = own(request)
        await updateUser(node, row, request.body(UpdateUser))
        return answer(required(row.user_id))
      },
    },
    {
      method: 'DELETE',
      path: '/users/:user',
      summary: 'Delete a user; its sessions end',
      privilege: 'administrate',
      handle: (request) => {
        const row = own(request)
        if (row.user_id === 'admin') throw invalidRequest('The user admin cannot be deleted')
        node.database.run('DELETE FROM user WHERE seq = ?', row.seq)
        node.sessions.closeAllOf(row.user_id)
        return answer(row)
      },
    },
    {
      method: 'GET',
      path: '/users/:user/roles',
      summary: 'List the roles of a user',
      privilege: 'administrate',
      handle: (request) => {
        const names: string[] = JSON.parse(own(request).roles)
        const { items, page } = listOf(request, names.map(roleView))
        return { data: items, page }
      },
    },
    {
      method: 'PUT',
      path: '/users/:user/roles',
      summary: 'Give or take a role',
      body: Link,
      privilege: 'administrate',
      handle: (request) => {
        const row = own(request)
        const link = request.body(Link)
        const name = nameOf(pathOf(link))
        if (!isRoleName(name)) throw notFound(`/roles/${name}`)
        const names: string[] = JSON.parse(row.roles)
        if (link.op === 'add' && names.includes(name)) throw conflict(`${row.user_id} has the role ${name}`)
        if (link.op === 'remove' && !names.includes(name))
          throw notFound(`/users/${row.user_id}/roles/${name}`)
        const after = link.op === 'add' ? [...names, name] : names.filter((item) => item !== name)
        refuseLockout(row, after)
        node.database.run('UPDATE user SET roles = ? WHERE seq = ?', JSON.stringify(after), row.seq)
        node.sessions.closeAllOf(row.user_id)
        return { data: roleView(name), path: `/roles/${name}` }
      },
    },
    {
      method: 'GET',
      path: '/roles',
      summary: 'List roles',
      handle: (request) => {
        const { items, page } = listOf(request, roleNames.map(roleView))
        return { data: items, page }
      },
    },
    {
      method: 'GET',
      path: '/roles/:role',
      summary: 'Read a role',
      handle: (request) => {
        const name = request.param('role')
        if (!isRoleName(name)) throw notFound(`/roles/${name}`)
        return { data: roleView(name), path: `/roles/${name}` }
      },
    },
  ]
}

/** @throws ApiError 409 when the user exists */
export async function createUser(node: Pick<NodeContext, 'database'>, input: CreateUser): Promise<void> {
  const names = roleNamesIn(input.roles) ?? ['admin']
  const tenants = tenantPaths(node, input.tenants) ?? [rootTenant]
  const hash = await hashPassword(input.password)
  try {
    node.database.run(
      `INSERT INTO user (user_id, full_name, password_hash, email, enabled, roles, tenants)
       VALUES (?, ?, ?, ?, ?, ?, ?)`,
      input.user_id,
      input.full_name,
      hash,
      input.email ?? '',
      (input.enabled ?? true) ? 1 : 0,
      JSON.stringify(names),
      JSON.stringify(tenants),
    )
  } catch (error) {
    if (!isUniqueViolation(error)) throw error
    throw conflict(`The user ${input.user_id} exists`)
  }
}

async function updateUser(node: NodeContext, row: UserRow, input: UpdateUser): Promise<void> {
  const names = roleNamesIn(input.roles)
  const tenants = tenantPaths(node, input.tenants)
  if (names) refuseLockout(row, names)
  if (input.enabled === false && row.user_id === 'admin') {
    throw invalidRequest('The user admin cannot be disabled')
  }
  const hash = input.password === undefined ? row.password_hash : await hashPassword(input.password)
  node.database.run(
    `UPDATE user SET full_name = ?, password_hash = ?, email = ?, enabled = ?, roles = ?, tenants = ?
     WHERE seq = ?`,
    input.full_name ?? row.full_name,
    hash,
    input.email ?? row.email,
    input.enabled === undefined ? row.enabled : input.enabled ? 1 : 0,
    names ? JSON.stringify(names) : row.roles,
    tenants ? JSON.stringify(tenants) : row.tenants,
    row.seq,
  )
  node.sessions.closeAllOf(row.user_id)
}

function refuseLockout(row: UserRow, names: readonly string[]): void {
  if (row.user_id === 'admin' && !names.includes('admin')) {
    throw invalidRequest('The user admin keeps the role admin')
  }
}

/** @throws ApiError 404 for a role that does not exist */
function roleNamesIn(input: readonly ReferenceInput[] | undefined): string[] | undefined {
  return input?.map((reference) => {
    const name = nameOf(pathOf(reference))
    if (!isRoleName(name)) throw notFound(`/roles/${name}`)
    return name
  })
}

/** @throws ApiError 404 for a tenant that does not exist */
function tenantPaths(
  node: Pick<NodeContext, 'database'>,
  input: readonly ReferenceInput[] | undefined,
): string[] | undefined {
  return input?.map((reference) => {
    const path = canonicalTenant(pathOf(reference))
    if (node.database.get('SELECT 1 FROM tenant WHERE path = ?', path) === undefined) throw notFound(path)
    return path
  })
}

function roleView(name: string): Role {
  return { path: `/roles/${name}`, role_id: name, privileges: [...privilegesOfRole(name)] }
}

function view(row: UserRow): User {
  const references = (list: string, prefix: string): Reference[] =>
    JSON.parse(list).map((item: string) => ({ path: `${prefix}${item}` }))
  return {
    path: `/users/${row.user_id}`,
    user_id: row.user_id,
    full_name: row.full_name,
    password: '(hidden)',
    email: row.email,
    enabled: row.enabled === 1,
    roles: references(row.roles, '/roles/'),
    tenants: references(row.tenants, ''),
    version: '',
  }
}
