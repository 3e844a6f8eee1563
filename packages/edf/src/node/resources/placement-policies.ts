import {
  CreateMediaPolicy,
  CreatePlacementPolicy,
  type MediaPolicy,
  type PlacementPolicy,
  UpdateMediaPolicy,
  UpdatePlacementPolicy,
} from '../../schemas/placement-policy.ts'
import type { NodeContext } from '../context.ts'
import type { DocumentRow } from '../database/rows.ts'
import { invalidRequest } from '../errors.ts'
import { listOf } from '../http/list.ts'
import type { ApiRequest, Route } from '../http/route.ts'
import {
  documentPath,
  insertDocument,
  listDocuments,
  requireDocument,
  requireOwnDocument,
  updateDocument,
} from './documents.ts'
import { nameOf } from './locate.ts'

/** Placement policies and media policies: which media a volume may lie on. v2.2 and later. */
export function placementRoutes(node: NodeContext): Route[] {
  return [
    ...policyRoutes(node, {
      collection: 'placement_policies',
      noun: 'placement policy',
      create: CreatePlacementPolicy,
      update: UpdatePlacementPolicy,
      content: (request) => {
        const { name, descr = '', max = [], min = [] } = request.body(CreatePlacementPolicy)
        requireMedia(node, request.tenant, [...max, ...min])
        return { name, content: { descr, max, min } }
      },
      change: (request) => {
        const { descr, max, min } = request.body(UpdatePlacementPolicy)
        requireMedia(node, request.tenant, [...(max ?? []), ...(min ?? [])])
        return { ...(descr !== undefined && { descr }), ...(max && { max }), ...(min && { min }) }
      },
      view: (row): PlacementPolicy => {
        const content: Pick<PlacementPolicy, 'max' | 'min'> & { descr?: string } = JSON.parse(row.content)
        return { ...base(row, 'placement_policies'), ...content }
      },
      isUsed: (row) =>
        node.database.get(
          `SELECT 1 FROM volume WHERE placement_policy ->> 'resolved_path' = ?
           AND placement_policy ->> 'resolved_tenant' = ?`,
          documentPath('placement_policies', row.name),
          row.tenant,
        ) !== undefined,
    }),
    ...policyRoutes(node, {
      collection: 'media_policies',
      noun: 'media policy',
      create: CreateMediaPolicy,
      update: UpdateMediaPolicy,
      content: (request) => {
        const { name, descr = '', priority = 1 } = request.body(CreateMediaPolicy)
        return { name, content: { descr, priority } }
      },
      change: (request) => {
        const { descr, priority } = request.body(UpdateMediaPolicy)
        return { ...(descr !== undefined && { descr }), ...(priority !== undefined && { priority }) }
      },
      view: (row): MediaPolicy => {
        const content: Pick<MediaPolicy, 'priority'> & { descr?: string } = JSON.parse(row.content)
        return { ...base(row, 'media_policies'), ...content }
      },
      isUsed: (row) =>
        node.database
          .all<DocumentRow>(`SELECT * FROM document WHERE collection = 'placement_policies'`)
          .some((policy) => policy.content.includes(`"${documentPath('media_policies', row.name)}"`)),
    }),
  ]
}

interface PolicyKind {
  readonly collection: 'placement_policies' | 'media_policies'
  readonly noun: string
  readonly create: typeof CreatePlacementPolicy | typeof CreateMediaPolicy
  readonly update: typeof UpdatePlacementPolicy | typeof UpdateMediaPolicy
  content(request: ApiRequest): { name: string; content: object }
  change(request: ApiRequest): object
  view(row: DocumentRow): object
  isUsed(row: DocumentRow): boolean
}

function policyRoutes(node: NodeContext, kind: PolicyKind): Route[] {
  const { collection } = kind
  const read = (tenant: string, name: string) => {
    const row = requireDocument(node, collection, tenant, name)
    return { data: kind.view(row), path: documentPath(collection, row.name), tenant: row.tenant }
  }
  const own = (request: ApiRequest) =>
    requireOwnDocument(node, collection, request.tenant, request.param('name'))
  return [
    {
      method: 'GET',
      path: `/${collection}`,
      since: '2.2',
      summary: `List every ${kind.noun}`,
      handle: (request) => {
        const { items, page } = listOf(
          request,
          listDocuments(node, collection, request.tenant).map(kind.view),
        )
        return { data: items, page }
      },
    },
    {
      method: 'POST',
      path: `/${collection}`,
      since: '2.2',
      summary: `Create a ${kind.noun}`,
      body: kind.create,
      handle: (request) => {
        insertDocument(node, { collection, tenant: request.tenant, ...kind.content(request) })
        return read(request.tenant, kind.content(request).name)
      },
    },
    {
      method: 'GET',
      path: `/${collection}/:name`,
      since: '2.2',
      summary: `Read a ${kind.noun}`,
      handle: (request) => read(request.tenant, request.param('name')),
    },
    {
      method: 'PUT',
      path: `/${collection}/:name`,
      since: '2.2',
      summary: `Update a ${kind.noun}`,
      body: kind.update,
      handle: (request) => {
        const row = own(request)
        updateDocument(node, row, { ...JSON.parse(row.content), ...kind.change(request) })
        return read(request.tenant, row.name)
      },
    },
    {
      method: 'DELETE',
      path: `/${collection}/:name`,
      since: '2.2',
      summary: `Delete a ${kind.noun} that nothing uses`,
      handle: (request) => {
        const row = own(request)
        const answer = read(request.tenant, row.name)
        if (row.name === 'default' && row.tenant === '/root') {
          throw invalidRequest(`The ${kind.noun} "default" cannot be deleted`)
        }
        if (kind.isUsed(row)) throw invalidRequest(`The ${kind.noun} ${row.name} is in use`)
        node.database.run('DELETE FROM document WHERE seq = ?', row.seq)
        return answer
      },
    },
  ]
}

function requireMedia(node: NodeContext, tenant: string, paths: readonly string[]): void {
  for (const path of paths) requireDocument(node, 'media_policies', tenant, nameOf(path))
}

function base(row: DocumentRow, collection: 'placement_policies' | 'media_policies') {
  return { tenant: row.tenant, path: documentPath(collection, row.name), name: row.name }
}
