import { randomUUID } from 'node:crypto'
import { connect } from 'node:net'
import {
  CreateRemoteProvider,
  type RemoteProvider,
  UpdateRemoteProvider,
} from '../../schemas/remote-provider.ts'
import type { NodeContext } from '../context.ts'
import type { DocumentRow } from '../database/rows.ts'
import { notFound } from '../errors.ts'
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

const collection = 'remote_providers'
const probeTimeoutMs = 2000
const defaultPort = 443

/** What is kept of a provider. Its secrets are not: this node uploads nothing. */
type StoredProvider = Pick<
  RemoteProvider,
  'remote_type' | 'host' | 'port' | 'label' | 'account_id' | 'project_name' | 'status' | 'last_seen_timestamp'
>

/**
 * Object stores for copies of snapshots. They can be entered, and their status says whether their address answers;
 * copies to them are refused (`snapshots.ts`), so that their lists of snapshots and operations are empty.
 */
export function remoteProviderRoutes(node: NodeContext): Route[] {
  const path = `/${collection}`
  const read = (request: ApiRequest, uuid = request.param('uuid')) => {
    const row = requireDocument(node, collection, request.tenant, uuid)
    return { data: view(row), path: documentPath(collection, row.name), tenant: row.tenant }
  }
  const own = (request: ApiRequest) =>
    requireOwnDocument(node, collection, request.tenant, request.param('uuid'))
  const empty = (name: string, summary: string): Route => ({
    method: 'GET',
    path: `${path}/:uuid/${name}`,
    since: '2.2',
    summary,
    handle: (request) => {
      read(request)
      const { items, page } = listOf(request, [])
      return { data: items, page }
    },
  })
  return [
    {
      method: 'GET',
      path,
      since: '2.2',
      summary: 'List remote providers',
      handle: (request) => {
        const { items, page } = listOf(request, listDocuments(node, collection, request.tenant).map(view))
        return { data: items, page }
      },
    },
    {
      method: 'POST',
      path,
      since: '2.2',
      summary: 'Enter a remote provider; its status says whether its address answers',
      body: CreateRemoteProvider,
      privilege: 'administrate',
      handle: async (request) => {
        const content = await probed(kept(request.body(CreateRemoteProvider)))
        const uuid = randomUUID()
        insertDocument(node, { collection, tenant: request.tenant, name: uuid, content })
        return read(request, uuid)
      },
    },
    {
      method: 'GET',
      path: `${path}/:uuid`,
      since: '2.2',
      summary: 'Read a remote provider',
      handle: (request) => read(request),
    },
    {
      method: 'PUT',
      path: `${path}/:uuid`,
      since: '2.2',
      summary: 'Update a remote provider',
      body: UpdateRemoteProvider,
      privilege: 'administrate',
      handle: async (request) => {
        const change = kept(request.body(UpdateRemoteProvider))
        const before: StoredProvider = JSON.parse(own(request).content)
        const content = await probed({ ...before, ...change })
        updateDocument(node, own(request), content)
        return read(request)
      },
    },
    {
      method: 'DELETE',
      path: `${path}/:uuid`,
      since: '2.2',
      summary: 'Forget a remote provider',
      privilege: 'administrate',
      handle: (request) => {
        const row = own(request)
        const answer = read(request)
        node.database.run('DELETE FROM document WHERE seq = ?', row.seq)
        return answer
      },
    },
    {
      method: 'PUT',
      path: `${path}/:uuid/refresh`,
      since: '2.2',
      summary: 'Look again whether a remote provider answers',
      privilege: 'administrate',
      handle: async (request) => {
        const content = await probed(JSON.parse(own(request).content))
        const row = own(request)
        updateDocument(node, row, content)
        return { data: { uuid: row.name }, path: documentPath(collection, row.name) }
      },
    },
    empty('operations', 'List operations of a remote provider: there are none'),
    empty('snapshots', 'List snapshots on a remote provider: there are none'),
    ...(['GET', 'PUT'] as const).map(
      (method): Route => ({
        method,
        path: `${path}/:uuid/operations/:id`,
        since: '2.2',
        summary: 'An operation of a remote provider: there are none',
        handle: (request) => {
          throw notFound(`${read(request).path}/operations/${request.param('id')}`)
        },
      }),
    ),
  ]
}

/** Everything but secrets and what the body left out. */
function kept<Body extends UpdateRemoteProvider>(
  body: Body,
): Omit<Body, 'access_key' | 'secret_key' | 'private_key'> {
  const { access_key, secret_key, private_key, ...rest } = body
  return rest
}

async function probed<Provider extends { host?: string; port?: number; last_seen_timestamp?: string }>(
  provider: Provider,
): Promise<Provider & Pick<StoredProvider, 'status' | 'last_seen_timestamp'>> {
  const answers = provider.host ? await canConnect(provider.host, provider.port || defaultPort) : false
  return {
    ...provider,
    status: answers ? 'available' : 'unavailable',
    last_seen_timestamp: answers
      ? String(Math.floor(Date.now() / 1000))
      : (provider.last_seen_timestamp ?? ''),
  }
}

function canConnect(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: probeTimeoutMs })
    const end = (answers: boolean) => {
      socket.destroy()
      resolve(answers)
    }
    socket.once('connect', () => end(true))
    socket.once('timeout', () => end(false))
    socket.once('error', () => end(false))
  })
}

function view(row: DocumentRow): RemoteProvider {
  const stored: StoredProvider = JSON.parse(row.content)
  return {
    path: documentPath(collection, row.name),
    uuid: row.name,
    remote_type: stored.remote_type,
    host: stored.host ?? '',
    port: stored.port ?? 0,
    label: stored.label ?? '',
    account_id: stored.account_id ?? '',
    project_name: stored.project_name ?? '',
    status: stored.status,
    last_seen_timestamp: stored.last_seen_timestamp,
    operations: [],
    snapshots: [],
  }
}
