import { CreateInitiator, type Initiator, UpdateInitiator } from '../../schemas/initiator.ts'
import type { NodeContext } from '../context.ts'
import type { InitiatorRow } from '../database/rows.ts'
import { conflict, invalidRequest, notFound } from '../errors.ts'
import { listOf } from '../http/list.ts'
import type { ApiRequest, Route } from '../http/route.ts'
import { lineage } from './tenants.ts'

export const initiatorPath = (id: string) => `/initiators/${id}`

export function initiatorView(row: InitiatorRow): Initiator {
  return { tenant: row.tenant, path: initiatorPath(row.id), id: row.id, name: row.name }
}

/** The tenant's own initiator, or that of the nearest tenant above. By id, or by name when only one has it. */
export function findInitiator(node: NodeContext, tenant: string, key: string): InitiatorRow | undefined {
  const { database } = node
  for (const path of lineage(tenant)) {
    const row = database.get<InitiatorRow>('SELECT * FROM initiator WHERE tenant = ? AND id = ?', path, key)
    if (row !== undefined) return row
    const named = database.all<InitiatorRow>(
      'SELECT * FROM initiator WHERE tenant = ? AND name = ?',
      path,
      key,
    )
    if (named.length === 1) return named[0]
  }
  return undefined
}

/** @throws ApiError 404 */
export function requireInitiator(node: NodeContext, tenant: string, key: string): InitiatorRow {
  const row = findInitiator(node, tenant, key)
  if (row === undefined) throw notFound(initiatorPath(key))
  return row
}

export function initiatorRoutes(node: NodeContext): Route[] {
  const read = (request: ApiRequest, key: string) => {
    const row = requireInitiator(node, request.tenant, key)
    return { data: initiatorView(row), path: initiatorPath(row.id), tenant: row.tenant }
  }
  return [
    {
      method: 'GET',
      path: '/initiators',
      summary: 'List initiators: the own ones if there are any, else those of the tenants above',
      handle: (request) => {
        const { items, page } = listOf(request, listInitiators(node, request.tenant).map(initiatorView))
        return { data: items, page }
      },
    },
    {
      method: 'POST',
      path: '/initiators',
      summary: 'Create an initiator',
      body: CreateInitiator,
      handle: (request) => {
        createInitiator(node, request)
        return read(request, request.body(CreateInitiator).id)
      },
    },
    {
      method: 'GET',
      path: '/initiators/:id',
      summary: 'Read an initiator',
      handle: (request) => read(request, request.param('id')),
    },
    {
      method: 'PUT',
      path: '/initiators/:id',
      summary: 'Rename an initiator',
      body: UpdateInitiator,
      handle: (request) => {
        const row = requireOwn(node, request)
        const { name } = request.body(UpdateInitiator)
        if (name !== undefined)
          node.database.run('UPDATE initiator SET name = ? WHERE seq = ?', name, row.seq)
        return read(request, row.id)
      },
    },
    {
      method: 'DELETE',
      path: '/initiators/:id',
      summary: 'Delete an initiator; with force it leaves the access lists it is in',
      handle: async (request) => {
        const row = requireOwn(node, request)
        await deleteInitiator(node, row, request.force)
        return { data: initiatorView(row), path: initiatorPath(row.id), tenant: row.tenant }
      },
    },
  ]
}

function listInitiators(node: NodeContext, tenant: string): InitiatorRow[] {
  for (const path of lineage(tenant)) {
    const rows = node.database.all<InitiatorRow>(
      'SELECT * FROM initiator WHERE tenant = ? ORDER BY seq',
      path,
    )
    if (rows.length > 0) return rows
  }
  return []
}

/** An object of a tenant above is seen, but not changed from here. */
function requireOwn(node: NodeContext, request: ApiRequest): InitiatorRow {
  const row = requireInitiator(node, request.tenant, request.param('id'))
  if (row.tenant !== request.tenant) throw notFound(initiatorPath(request.param('id')))
  return row
}

function createInitiator(node: NodeContext, request: ApiRequest): void {
  const { id, name, force = false } = request.body(CreateInitiator)
  const { tenant } = request
  node.database.transaction(() => {
    const known = findById(node, tenant, id)
    if (known?.tenant === tenant) throw conflict(`The initiator ${id} exists in ${tenant}`)
    const isFirst =
      node.database.get('SELECT 1 FROM initiator WHERE tenant = ? LIMIT 1', tenant) === undefined
    if (known !== undefined && isFirst && !force && request.traits.initiatorForce) {
      throw invalidRequest(
        `The tenant ${tenant} inherits the initiator ${id} from ${known.tenant}; with an initiator of its own it ` +
          'inherits none. Use force to override this warning',
      )
    }
    node.database.run('INSERT INTO initiator (tenant, id, name) VALUES (?, ?, ?)', tenant, id, name)
  })
}

function findById(node: NodeContext, tenant: string, id: string): InitiatorRow | undefined {
  const row = findInitiator(node, tenant, id)
  return row?.id === id ? row : undefined
}

async function deleteInitiator(node: NodeContext, row: InitiatorRow, force: boolean): Promise<void> {
  const { database } = node
  const used = database.all<{ storage_instance: string }>(
    `SELECT storage_instance FROM acl_initiator WHERE initiator = ?
     UNION SELECT acl.storage_instance FROM acl_initiator_group acl
     JOIN initiator_group_member member ON member.initiator_group = acl.initiator_group WHERE member.initiator = ?`,
    row.seq,
    row.seq,
  )
  if (used.length > 0 && !force) {
    throw invalidRequest(
      `The initiator ${row.id} is in use by access lists; use force to override this warning`,
    )
  }
  database.run('DELETE FROM initiator WHERE seq = ?', row.seq)
  for (const { storage_instance } of used) await node.exports.refreshAccess(storage_instance)
}
