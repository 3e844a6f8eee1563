import type { Static, TObject } from 'typebox'
import {
  CreateFailureDomain,
  CreateStoragePool,
  type NodeReferences,
  UpdateFailureDomain,
  UpdateStoragePool,
} from '../../schemas/node-group.ts'
import type { NodeContext } from '../context.ts'
import type { DocumentRow } from '../database/rows.ts'
import { notFound } from '../errors.ts'
import { listOf } from '../http/list.ts'
import type { Route } from '../http/route.ts'
import {
  documentPath,
  insertDocument,
  listDocuments,
  requireDocument,
  requireOwnDocument,
  updateDocument,
} from './documents.ts'
import { nameOf, pathOf } from './locate.ts'

/** Named sets of storage nodes. This system has one node, so that they are kept and decide nothing. */
export function nodeGroupRoutes(node: NodeContext): Route[] {
  return [
    ...groupRoutes(node, {
      collection: 'storage_pools',
      noun: 'storage pool',
      members: 'members',
      create: CreateStoragePool,
      update: UpdateStoragePool,
    }),
    ...groupRoutes(node, {
      collection: 'failure_domains',
      noun: 'failure domain',
      members: 'storage_nodes',
      create: CreateFailureDomain,
      update: UpdateFailureDomain,
    }),
  ]
}

interface Kind {
  readonly collection: 'storage_pools' | 'failure_domains'
  readonly noun: string
  readonly members: 'members' | 'storage_nodes'
  readonly create: TObject
  readonly update: TObject
}

function groupRoutes(node: NodeContext, kind: Kind): Route[] {
  const { collection, noun, members } = kind
  const view = (row: DocumentRow) => ({
    tenant: row.tenant,
    path: documentPath(collection, row.name),
    name: row.name,
    [members]: JSON.parse(row.content).members,
  })
  const answer = (row: DocumentRow) => ({ data: view(row), path: view(row).path, tenant: row.tenant })
  /** @throws ApiError 404 */
  const nodesOf = (body: Readonly<Record<string, unknown>>) => {
    // The schema has said so: an array of references.
    const given = body[members] as Static<typeof NodeReferences>
    return given?.map((reference) => {
      const uuid = nameOf(pathOf(reference))
      if (uuid !== node.identity.nodeUuid) throw notFound(`/storage_nodes/${uuid}`)
      return { path: `/storage_nodes/${uuid}` }
    })
  }
  const path = `/${collection}`
  return [
    {
      method: 'GET',
      path,
      since: '2.2',
      summary: `List ${noun}s`,
      handle: (request) => {
        const { items, page } = listOf(request, listDocuments(node, collection, request.tenant).map(view))
        return { data: items, page }
      },
    },
    {
      method: 'POST',
      path,
      since: '2.2',
      summary: `Create a ${noun}`,
      body: kind.create,
      privilege: 'administrate',
      handle: (request) => {
        const body: Readonly<Record<string, unknown>> = request.body(kind.create)
        const name = String(body['name'])
        const content = { members: nodesOf(body) ?? [] }
        insertDocument(node, { collection, tenant: request.tenant, name, content })
        return answer(requireDocument(node, collection, request.tenant, name))
      },
    },
    {
      method: 'GET',
      path: `${path}/:name`,
      since: '2.2',
      summary: `Read a ${noun}`,
      handle: (request) => answer(requireDocument(node, collection, request.tenant, request.param('name'))),
    },
    {
      method: 'PUT',
      path: `${path}/:name`,
      since: '2.2',
      summary: `Update a ${noun}`,
      body: kind.update,
      privilege: 'administrate',
      handle: (request) => {
        const row = requireOwnDocument(node, collection, request.tenant, request.param('name'))
        const changed = nodesOf(request.body(kind.update))
        if (changed !== undefined) updateDocument(node, row, { members: changed })
        return answer(requireDocument(node, collection, request.tenant, row.name))
      },
    },
    {
      method: 'DELETE',
      path: `${path}/:name`,
      since: '2.2',
      summary: `Delete a ${noun}`,
      privilege: 'administrate',
      handle: (request) => {
        const row = requireOwnDocument(node, collection, request.tenant, request.param('name'))
        node.database.run('DELETE FROM document WHERE seq = ?', row.seq)
        return answer(row)
      },
    },
  ]
}
