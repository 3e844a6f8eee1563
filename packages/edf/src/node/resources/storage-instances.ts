import { isDeepStrictEqual } from 'node:util'
import { CreateStorageInstance, UpdateStorageInstance } from '../../schemas/storage-instance.ts'
import type { NodeContext } from '../context.ts'
import { portalsOfPool } from '../data-plane/pool-portals.ts'
import type { StorageInstanceRow } from '../database/rows.ts'
import { invalidRequest } from '../errors.ts'
import { listOf } from '../http/list.ts'
import type { ApiRequest, Route } from '../http/route.ts'
import { resolveAcl, storeAcl } from './acl-policy.ts'
import { storageInstanceViews } from './app-instance-view.ts'
import { deleteVolumesOf } from './app-instances.ts'
import { mergeAuth } from './auth.ts'
import { resolveDocument } from './documents.ts'
import {
  findStorageInstance,
  type LocatedStorageInstance,
  locateAppInstance,
  locateStorageInstance,
  pathOf,
  storageInstancePath,
} from './locate.ts'
import { planStorageInstance } from './plans.ts'
import { provisionStorageInstance, removeStorageInstanceRows } from './provision.ts'

export function storageInstanceRoutes(node: NodeContext): Route[] {
  const collection = '/app_instances/:ai/storage_instances'
  const answer = (aiId: string, name: string) => {
    const row = findStorageInstance(node, aiId, name)
    const [data] = row ? storageInstanceViews(node, [row]) : []
    return { data, path: storageInstancePath(aiId, row?.name ?? name) }
  }
  return [
    {
      method: 'GET',
      path: collection,
      summary: 'List storage instances',
      handle: (request) => {
        const ai = locateAppInstance(node, request)
        const rows = node.database.all<StorageInstanceRow>(
          `SELECT * FROM storage_instance WHERE app_instance = ? AND state = 'ready' ORDER BY seq`,
          ai.id,
        )
        const { items, page } = listOf(request, storageInstanceViews(node, rows))
        return { data: items, page }
      },
    },
    {
      method: 'POST',
      path: collection,
      summary: 'Create a storage instance',
      body: CreateStorageInstance,
      handle: async (request) => {
        const { id } = locateAppInstance(node, request)
        return node.locks.run(id, async () => {
          const ai = locateAppInstance(node, request)
          const inherited = ai.access_control_mode === 'allow_all' ? 'allow_all' : 'deny_all'
          const body = request.body(CreateStorageInstance)
          const plan = planStorageInstance(node, request.tenant, body, inherited)
          const adminState = body.admin_state ?? ai.admin_state
          await provisionStorageInstance(node, ai.id, { ...plan, adminState })
          return answer(ai.id, plan.name)
        })
      },
    },
    {
      method: 'GET',
      path: `${collection}/:si`,
      summary: 'Read a storage instance',
      handle: (request) => {
        const { ai, si } = locateStorageInstance(node, request)
        return answer(ai.id, si.name)
      },
    },
    {
      method: 'GET',
      path: `${collection}/:si/access`,
      summary: 'Read where a storage instance is reached',
      // `si.access['ips']` is how the drivers of OpenStack read the attribute; the Python SDK 1.1 had the resource.
      unlisted: true,
      handle: (request) => {
        const { ai, si } = locateStorageInstance(node, request)
        const { data, path } = answer(ai.id, si.name)
        return { data: data?.access, path: `${path}/access` }
      },
    },
    {
      method: 'PUT',
      path: `${collection}/:si`,
      summary: 'Update a storage instance',
      body: UpdateStorageInstance,
      handle: async (request) => {
        const { ai, si } = locateStorageInstance(node, request)
        await node.locks.run(ai.id, () => update(node, locateStorageInstance(node, request), request))
        return answer(ai.id, si.name)
      },
    },
    {
      method: 'DELETE',
      path: `${collection}/:si`,
      summary: 'Delete a storage instance with its volumes',
      handle: async (request) => {
        const { ai } = locateStorageInstance(node, request)
        return node.locks.run(ai.id, async () => {
          const located = locateStorageInstance(node, request)
          const gone = answer(ai.id, located.si.name)
          await refuseIfUsed(node, located.si, request.force)
          await deleteStorageInstance(node, located.si)
          return gone
        })
      },
    },
  ]
}

async function update(node: NodeContext, { si }: LocatedStorageInstance, request: ApiRequest): Promise<void> {
  const body = request.body(UpdateStorageInstance)
  if (body.access_control_mode === 'allow_all' && si.access_control_mode === 'deny_all') {
    throw invalidRequest('access_control_mode cannot be changed from deny_all to allow_all')
  }
  const acl = resolveAcl(node, request.tenant, body.acl_policy)
  const ipPool =
    pathOf(body.ip_pool) === ''
      ? si.ip_pool
      : JSON.stringify(
          resolveDocument(node, 'access_network_ip_pools', request.tenant, body.ip_pool, 'default'),
        )
  const auth = mergeAuth(JSON.parse(si.auth), body.auth)
  // Its target moves to other addresses: who is logged in would lose them.
  if (movesTo(node, si, ipPool)) await refuseIfUsed(node, si, body.force === true)
  if (body.admin_state === 'offline' && si.admin_state === 'online') {
    await refuseIfUsed(node, si, body.force === true)
  }
  node.database.transaction(() => {
    node.database.run(
      `UPDATE storage_instance SET admin_state = ?, access_control_mode = ?, auth = ?, ip_pool = ? WHERE seq = ?`,
      body.admin_state ?? si.admin_state,
      body.access_control_mode ?? si.access_control_mode,
      JSON.stringify(auth),
      ipPool,
      si.seq,
    )
    storeAcl(node, si.uuid, acl)
  })
  await node.exports.sync(si.uuid)
  await node.exports.refreshAccess(si.uuid)
}

function movesTo(node: NodeContext, si: StorageInstanceRow, ipPool: string): boolean {
  if (ipPool === si.ip_pool) return false
  const [before, after] = [si.ip_pool, ipPool].map((pool) => portalsOfPool(node, JSON.parse(pool)))
  return !isDeepStrictEqual(before, after)
}

/** @throws ApiError 400 when an initiator is logged in and nobody insists */
export async function refuseIfUsed(node: NodeContext, si: StorageInstanceRow, force: boolean): Promise<void> {
  if (force) return
  const users = [...(await node.exports.remainingInitiators(si.uuid))]
  if (users.length === 0) return
  throw invalidRequest(
    `The storage instance ${si.name} is in use: ${users.join(', ')} is logged in; use force to override this warning`,
  )
}

/** From the first step on it is gone for everybody; a start finishes what is left. Repeats safely. */
export async function deleteStorageInstance(
  node: Pick<NodeContext, 'database' | 'exports' | 'meters' | 'store' | 'unfinished'>,
  si: Pick<StorageInstanceRow, 'uuid' | 'name' | 'app_instance'>,
): Promise<void> {
  node.database.run(`UPDATE storage_instance SET state = 'deleting' WHERE uuid = ?`, si.uuid)
  await node.unfinished.run(async () => {
    await node.exports.withdraw(si.uuid)
    await deleteVolumesOf(node, si.uuid)
    node.database.transaction(() =>
      removeStorageInstanceRows(node, si.uuid, storageInstancePath(si.app_instance, si.name)),
    )
  })
}
