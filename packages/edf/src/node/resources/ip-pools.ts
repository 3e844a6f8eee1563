import {
  type AccessNetworkIpPool,
  CreateAccessNetworkIpPool,
  type NetworkPath,
  type NetworkPathInput,
  UpdateAccessNetworkIpPool,
  UpdateNetworkPath,
} from '../../schemas/access-network-ip-pool.ts'
import type { NodeContext } from '../context.ts'
import type { DocumentRow } from '../database/rows.ts'
import { invalidRequest, notFound } from '../errors.ts'
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

const collection = 'access_network_ip_pools'

interface PoolContent {
  readonly descr?: string
  /** Absent in the pool `default` until somebody writes it: then it is the addresses the node listens on. */
  readonly network_paths?: readonly NetworkPath[]
}

export function ipPoolRoutes(node: NodeContext): Route[] {
  const read = (tenant: string, name: string) => {
    const row = requireDocument(node, collection, tenant, name)
    const data = view(node, row)
    return { data, path: data.path, tenant: row.tenant }
  }
  const networkPath = (tenant: string, name: string, key: string): NetworkPath => {
    const pool = view(node, requireDocument(node, collection, tenant, name))
    const found = pool.network_paths.find((item) => item.name === key)
    if (found === undefined) throw notFound(`${pool.path}/network_paths/${key}`)
    return found
  }
  return [
    {
      method: 'GET',
      path: '/access_network_ip_pools',
      summary: 'List pools of addresses',
      handle: (request) => {
        const pools = listDocuments(node, collection, request.tenant).map((row) => view(node, row))
        const { items, page } = listOf(request, pools)
        return { data: items, page }
      },
    },
    {
      method: 'POST',
      path: '/access_network_ip_pools',
      summary: 'Create a pool of addresses',
      body: CreateAccessNetworkIpPool,
      handle: (request) => {
        const { name, descr = '', network_paths = [] } = request.body(CreateAccessNetworkIpPool)
        insertDocument(node, {
          collection,
          tenant: request.tenant,
          name,
          content: { descr, network_paths: network_paths.map(complete) },
        })
        return read(request.tenant, name)
      },
    },
    {
      method: 'GET',
      path: '/access_network_ip_pools/:name',
      summary: 'Read a pool of addresses',
      handle: (request) => read(request.tenant, request.param('name')),
    },
    {
      method: 'PUT',
      path: '/access_network_ip_pools/:name',
      summary: 'Update a pool of addresses',
      body: UpdateAccessNetworkIpPool,
      handle: async (request) => {
        const row = requireOwnDocument(node, collection, request.tenant, request.param('name'))
        const { descr, network_paths } = request.body(UpdateAccessNetworkIpPool)
        updateDocument(node, row, {
          ...JSON.parse(row.content),
          ...(descr !== undefined && { descr }),
          ...(network_paths !== undefined && { network_paths: network_paths.map(complete) }),
        })
        await readdress(node, row)
        return read(request.tenant, row.name)
      },
    },
    {
      method: 'DELETE',
      path: '/access_network_ip_pools/:name',
      summary: 'Delete a pool of addresses that nothing uses',
      handle: (request) => {
        const answer = read(request.tenant, request.param('name'))
        removePool(node, request.tenant, request.param('name'))
        return answer
      },
    },
    {
      method: 'GET',
      path: '/access_network_ip_pools/:name/network_paths',
      summary: 'List the blocks of addresses of a pool',
      handle: (request) => {
        const row = requireDocument(node, collection, request.tenant, request.param('name'))
        const { items, page } = listOf(request, view(node, row).network_paths)
        return { data: items, page }
      },
    },
    {
      method: 'GET',
      path: '/access_network_ip_pools/:name/network_paths/:block',
      summary: 'Read a block of addresses',
      handle: (request) => ({
        data: networkPath(request.tenant, request.param('name'), request.param('block')),
      }),
    },
    {
      method: 'PUT',
      path: '/access_network_ip_pools/:name/network_paths/:block',
      summary: 'Update a block of addresses',
      body: UpdateNetworkPath,
      handle: async (request) => {
        const { tenant } = request
        const key = request.param('block')
        const row = requireOwnDocument(node, collection, tenant, request.param('name'))
        const before = networkPath(tenant, row.name, key)
        const body = { ...before, ...request.body(UpdateNetworkPath), name: key }
        const paths = view(node, row).network_paths.map((item) => (item.name === key ? body : item))
        updateDocument(node, row, { ...JSON.parse(row.content), network_paths: paths.map(complete) })
        await readdress(node, row)
        return { data: networkPath(tenant, row.name, key) }
      },
    },
  ]
}

/** Targets of a pool that has changed announce its addresses; those in use do so when they are idle and changed next. */
async function readdress(node: NodeContext, pool: DocumentRow): Promise<void> {
  const users = node.database.all<{ uuid: string }>(
    `SELECT uuid FROM storage_instance WHERE ip_pool ->> 'resolved_path' = ? AND ip_pool ->> 'resolved_tenant' = ?`,
    documentPath(collection, pool.name),
    pool.tenant,
  )
  for (const { uuid } of users) {
    if (node.exports.initiatorsOf(uuid).size === 0) await node.exports.sync(uuid)
  }
}

function removePool(node: NodeContext, tenant: string, name: string): void {
  const row = requireOwnDocument(node, collection, tenant, name)
  if (row.name === 'default') throw invalidRequest('The pool "default" cannot be deleted')
  const used = node.database.get(
    `SELECT 1 FROM storage_instance WHERE ip_pool ->> 'resolved_path' = ? AND ip_pool ->> 'resolved_tenant' = ?`,
    documentPath(collection, row.name),
    row.tenant,
  )
  if (used !== undefined) throw invalidRequest(`The pool ${row.name} is in use by storage instances`)
  node.database.run('DELETE FROM document WHERE seq = ?', row.seq)
}

function complete(input: NetworkPathInput): NetworkPath {
  return {
    name: input.name,
    start_ip: input.start_ip ?? '',
    range: input.range ?? 6,
    netmask: input.netmask ?? 24,
    vlan: input.vlan ?? 0,
    mtu: input.mtu ?? 1500,
    gateway: input.gateway ?? '',
  }
}

function view(node: NodeContext, row: DocumentRow): AccessNetworkIpPool {
  const content: PoolContent = JSON.parse(row.content)
  const path = documentPath(collection, row.name)
  const blocks =
    content.network_paths ??
    node.portals.map(({ host }, index) =>
      complete({ name: `access_${index + 1}`, start_ip: host, range: 1, netmask: 24 }),
    )
  return {
    tenant: row.tenant,
    path,
    name: row.name,
    descr: content.descr ?? '',
    network_paths: blocks.map((block) => ({ path: `${path}/network_paths/${block.name}`, ...block })),
  }
}
