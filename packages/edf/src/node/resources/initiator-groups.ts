import { Link } from '../../schemas/common.ts'
import {
  CreateInitiatorGroup,
  type InitiatorGroup,
  UpdateInitiatorGroup,
} from '../../schemas/initiator-group.ts'
import type { NodeContext } from '../context.ts'
import { isUniqueViolation } from '../database/database.ts'
import type { InitiatorGroupRow, InitiatorRow } from '../database/rows.ts'
import { conflict, invalidRequest, notFound, validationFailed } from '../errors.ts'
import { listOf } from '../http/list.ts'
import type { ApiRequest, Route } from '../http/route.ts'
import { initiatorPath, initiatorView, requireInitiator } from './initiators.ts'
import { nameOf, pathOf } from './locate.ts'
import { lineage } from './tenants.ts'

export const initiatorGroupPath = (name: string) => `/initiator_groups/${name}`

export function membersOf(node: Pick<NodeContext, 'database'>, groupSeq: number): InitiatorRow[] {
  return node.database.all<InitiatorRow>(
    `SELECT initiator.* FROM initiator_group_member member JOIN initiator ON initiator.seq = member.initiator
     WHERE member.initiator_group = ? ORDER BY member.seq`,
    groupSeq,
  )
}

export function initiatorGroupView(node: NodeContext, row: InitiatorGroupRow): InitiatorGroup {
  return {
    tenant: row.tenant,
    path: initiatorGroupPath(row.name),
    name: row.name,
    members: membersOf(node, row.seq).map(({ id }) => ({ path: initiatorPath(id) })),
  }
}

/** Own group, or that of the nearest tenant above. @throws ApiError 404 */
export function requireInitiatorGroup(node: NodeContext, tenant: string, name: string): InitiatorGroupRow {
  for (const path of lineage(tenant)) {
    const row = node.database.get<InitiatorGroupRow>(
      'SELECT * FROM initiator_group WHERE tenant = ? AND name = ?',
      path,
      name,
    )
    if (row !== undefined) return row
  }
  throw notFound(initiatorGroupPath(name))
}

export function initiatorGroupRoutes(node: NodeContext): Route[] {
  const read = (request: ApiRequest, name: string) => {
    const row = requireInitiatorGroup(node, request.tenant, name)
    return { data: initiatorGroupView(node, row), path: initiatorGroupPath(row.name), tenant: row.tenant }
  }
  return [
    {
      method: 'GET',
      path: '/initiator_groups',
      summary: 'List initiator groups: the own ones if there are any, else those of the tenants above',
      handle: (request) => {
        const groups = listGroups(node, request.tenant).map((row) => initiatorGroupView(node, row))
        const { items, page } = listOf(request, groups)
        return { data: items, page }
      },
    },
    {
      method: 'POST',
      path: '/initiator_groups',
      summary: 'Create an initiator group',
      body: CreateInitiatorGroup,
      handle: (request) => {
        const { name, members = [] } = request.body(CreateInitiatorGroup)
        createGroup(node, request.tenant, name, resolveMembers(node, request.tenant, members))
        return read(request, name)
      },
    },
    {
      method: 'GET',
      path: '/initiator_groups/:name',
      summary: 'Read an initiator group',
      handle: (request) => read(request, request.param('name')),
    },
    {
      method: 'PUT',
      path: '/initiator_groups/:name',
      summary: 'Replace the members of an initiator group',
      body: UpdateInitiatorGroup,
      handle: async (request) => {
        const row = requireOwn(node, request)
        const { members } = request.body(UpdateInitiatorGroup)
        if (members !== undefined) {
          const resolved = resolveMembers(node, request.tenant, members)
          node.database.transaction(() => replaceMembers(node, row.seq, resolved))
          await refreshUsers(node, row)
        }
        return read(request, row.name)
      },
    },
    {
      method: 'DELETE',
      path: '/initiator_groups/:name',
      summary: 'Delete an initiator group; with force it leaves the access lists it is in',
      handle: async (request) => {
        const row = requireOwn(node, request)
        const answer = read(request, row.name)
        const users = usersOf(node, row)
        if (users.length > 0 && !request.force) {
          throw invalidRequest(
            `The initiator group ${row.name} is in use by access lists; use force to override this warning`,
          )
        }
        node.database.run('DELETE FROM initiator_group WHERE seq = ?', row.seq)
        for (const uuid of users) await node.exports.refreshAccess(uuid)
        return answer
      },
    },
    {
      method: 'GET',
      path: '/initiator_groups/:name/members',
      summary: 'List the members of an initiator group',
      handle: (request) => {
        const row = requireInitiatorGroup(node, request.tenant, request.param('name'))
        const { items, page } = listOf(request, membersOf(node, row.seq).map(initiatorView))
        return { data: items, page }
      },
    },
    {
      method: 'PUT',
      path: '/initiator_groups/:name/members',
      summary: 'Add or remove a member of an initiator group',
      body: Link,
      handle: (request) => linkMember(node, request),
    },
  ]
}

async function linkMember(node: NodeContext, request: ApiRequest) {
  const row = requireOwn(node, request)
  const link = request.body(Link)
  const initiator = requireInitiator(node, request.tenant, nameOf(pathOf(link)))
  if (link.op === 'add') {
    try {
      node.database.run(
        'INSERT INTO initiator_group_member (initiator_group, initiator) VALUES (?, ?)',
        row.seq,
        initiator.seq,
      )
    } catch (error) {
      if (!isUniqueViolation(error)) throw error
      throw conflict(`The initiator ${initiator.id} is a member of ${row.name}`)
    }
  } else {
    const removed = node.database.run(
      'DELETE FROM initiator_group_member WHERE initiator_group = ? AND initiator = ?',
      row.seq,
      initiator.seq,
    )
    if (removed === 0) throw notFound(`${initiatorGroupPath(row.name)}/members/${initiator.id}`)
  }
  await refreshUsers(node, row)
  return { data: initiatorView(initiator), path: initiatorPath(initiator.id), tenant: initiator.tenant }
}

function listGroups(node: NodeContext, tenant: string): InitiatorGroupRow[] {
  for (const path of lineage(tenant)) {
    const rows = node.database.all<InitiatorGroupRow>(
      'SELECT * FROM initiator_group WHERE tenant = ? ORDER BY seq',
      path,
    )
    if (rows.length > 0) return rows
  }
  return []
}

function requireOwn(node: NodeContext, request: ApiRequest): InitiatorGroupRow {
  const row = requireInitiatorGroup(node, request.tenant, request.param('name'))
  if (row.tenant !== request.tenant) throw notFound(initiatorGroupPath(row.name))
  return row
}

function resolveMembers(
  node: NodeContext,
  tenant: string,
  members: readonly (string | { path?: string; Path?: string })[],
): InitiatorRow[] {
  return members.map((member) => {
    const path = pathOf(member)
    if (path === '') throw validationFailed('members: each needs a path')
    return requireInitiator(node, tenant, nameOf(path))
  })
}

function createGroup(
  node: NodeContext,
  tenant: string,
  name: string,
  members: readonly InitiatorRow[],
): void {
  node.database.transaction(() => {
    try {
      node.database.run('INSERT INTO initiator_group (tenant, name) VALUES (?, ?)', tenant, name)
    } catch (error) {
      if (!isUniqueViolation(error)) throw error
      throw conflict(`The initiator group ${name} exists in ${tenant}`)
    }
    replaceMembers(node, requireInitiatorGroup(node, tenant, name).seq, members)
  })
}

/** Members that are named twice are stored once. */
function replaceMembers(node: NodeContext, groupSeq: number, members: readonly InitiatorRow[]): void {
  node.database.run('DELETE FROM initiator_group_member WHERE initiator_group = ?', groupSeq)
  for (const { seq } of members) {
    node.database.run(
      'INSERT INTO initiator_group_member (initiator_group, initiator) VALUES (?, ?) ON CONFLICT DO NOTHING',
      groupSeq,
      seq,
    )
  }
}

function usersOf(node: NodeContext, row: InitiatorGroupRow): string[] {
  return node.database
    .all<{ storage_instance: string }>(
      'SELECT storage_instance FROM acl_initiator_group WHERE initiator_group = ?',
      row.seq,
    )
    .map(({ storage_instance }) => storage_instance)
}

async function refreshUsers(node: NodeContext, row: InitiatorGroupRow): Promise<void> {
  for (const uuid of usersOf(node, row)) await node.exports.refreshAccess(uuid)
}
