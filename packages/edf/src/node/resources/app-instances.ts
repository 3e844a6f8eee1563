import { type AppInstance, CreateAppInstance, UpdateAppInstance } from '../../schemas/app-instance.ts'
import type { NodeContext } from '../context.ts'
import { forgetReservations } from '../data-plane/reservations.ts'
import { isUniqueViolation } from '../database/database.ts'
import type { AppInstanceRow, StorageInstanceRow, VolumeRow } from '../database/rows.ts'
import { conflict, invalidRequest, notFound } from '../errors.ts'
import { listLazily } from '../http/list.ts'
import type { ApiRequest, Route } from '../http/route.ts'
import { appInstanceView, appInstanceViews } from './app-instance-view.ts'
import { createAppInstance } from './create-app-instance.ts'
import { appInstancePath, findAppSnapshot, locateAppInstance } from './locate.ts'
import { childrenOf } from './plans.ts'
import { removeAppInstanceRows } from './provision.ts'
import { restoreAppInstance } from './restore.ts'
import { replaceSnapshotPolicies } from './snapshot-policies.ts'

/** Attributes that filter and sort can read off the row, without completing it. */
const columns = ['id', 'name', 'uuid', 'tenant', 'admin_state', 'create_mode', 'descr', 'repair_priority']

export function appInstanceRoutes(node: NodeContext): Route[] {
  const answer = (ai: AppInstanceRow) => ({
    data: appInstanceView(node, ai),
    path: appInstancePath(ai),
    tenant: ai.tenant,
  })
  return [
    {
      method: 'GET',
      path: '/app_instances',
      summary: 'List app instances',
      handle: (request) => {
        const { items, page } = listLazily<AppInstanceRow, AppInstance>(request, {
          columns,
          count: () =>
            node.database.get<{ total: number }>(
              `SELECT count(*) AS total FROM app_instance WHERE tenant = ? AND state = 'ready'`,
              request.tenant,
            )?.total ?? 0,
          read: (limit, offset) =>
            node.database.all<AppInstanceRow>(
              `SELECT * FROM app_instance WHERE tenant = ? AND state = 'ready' ORDER BY seq LIMIT ? OFFSET ?`,
              request.tenant,
              limit,
              offset,
            ),
          complete: (rows) => appInstanceViews(node, rows),
        })
        return { data: items, page }
      },
    },
    {
      method: 'POST',
      path: '/app_instances',
      summary: 'Create an app instance with all that is nested in it',
      body: CreateAppInstance,
      handle: async (request) => answer(requireById(node, await createAppInstance(node, request))),
    },
    {
      method: 'GET',
      path: '/app_instances/:ai',
      summary: 'Read an app instance by id or name',
      handle: (request) => answer(locateAppInstance(node, request)),
    },
    {
      method: 'PUT',
      path: '/app_instances/:ai',
      summary: 'Update an app instance: state, name, restore',
      body: UpdateAppInstance,
      handle: async (request) => {
        const { id } = locateAppInstance(node, request)
        await node.locks.run(id, () => updateAppInstance(node, requireById(node, id), request))
        return answer(requireById(node, id))
      },
    },
    {
      method: 'DELETE',
      path: '/app_instances/:ai',
      summary: 'Delete an app instance with its volumes and snapshots',
      handle: async (request) => {
        const { id } = locateAppInstance(node, request)
        return node.locks.run(id, async () => {
          const ai = requireById(node, id)
          const gone = answer(ai)
          if (ai.admin_state === 'online' && !request.force) await refuseIfUsed(node, ai, 'delete')
          await deleteAppInstance(node, ai)
          return gone
        })
      },
    },
  ]
}

function requireById(node: NodeContext, id: string): AppInstanceRow {
  const row = node.database.get<AppInstanceRow>(
    `SELECT * FROM app_instance WHERE id = ? AND state = 'ready'`,
    id,
  )
  if (row === undefined) throw notFound(`/app_instances/${id}`)
  return row
}

async function updateAppInstance(node: NodeContext, ai: AppInstanceRow, request: ApiRequest): Promise<void> {
  const { database } = node
  const body = request.body(UpdateAppInstance)
  const goesOffline = body.admin_state === 'offline' && ai.admin_state === 'online'
  if (goesOffline && body.force !== true) await refuseIfUsed(node, ai, 'take offline')
  const offline = (body.admin_state ?? ai.admin_state) === 'offline'
  if (body.restore_point) {
    if (!offline) throw invalidRequest('A restore needs the app instance to be offline')
    if (findAppSnapshot(node, ai.id, body.restore_point) === undefined) {
      throw notFound(`${appInstancePath(ai)}/snapshots/${body.restore_point}`)
    }
  }
  if (body.access_control_mode === 'allow_all' && ai.access_control_mode === 'deny_all') {
    throw invalidRequest('access_control_mode cannot be changed from deny_all to allow_all')
  }
  database.transaction(() => {
    try {
      database.run(
        `UPDATE app_instance SET name = ?, descr = ?, admin_state = ?, access_control_mode = ?, repair_priority = ?
         WHERE id = ?`,
        body.name ?? ai.name,
        body.descr ?? ai.descr,
        body.admin_state ?? ai.admin_state,
        body.access_control_mode ?? ai.access_control_mode,
        body.repair_priority ?? ai.repair_priority,
        ai.id,
      )
    } catch (error) {
      if (!isUniqueViolation(error)) throw error
      throw conflict(`An app instance named ${body.name} exists in ${ai.tenant}`)
    }
    if (body.admin_state !== undefined) {
      // Storage instances follow; each can then be switched by itself.
      database.run(
        'UPDATE storage_instance SET admin_state = ? WHERE app_instance = ?',
        body.admin_state,
        ai.id,
      )
    }
    if (body.snapshot_policies !== undefined) {
      replaceSnapshotPolicies(node, appInstancePath(ai), childrenOf(body.snapshot_policies))
    }
    if (body.access_control_mode !== undefined) {
      database.run(
        'UPDATE storage_instance SET access_control_mode = ? WHERE app_instance = ?',
        body.access_control_mode,
        ai.id,
      )
    }
  })
  for (const { uuid } of storageInstancesOf(node, ai.id)) {
    if (body.admin_state !== undefined) await node.exports.sync(uuid)
    if (body.access_control_mode !== undefined) await node.exports.refreshAccess(uuid)
  }
  if (body.restore_point) await restoreAppInstance(node, ai, body.restore_point)
}

/** @throws ApiError 400 when an initiator is logged in */
async function refuseIfUsed(node: NodeContext, ai: AppInstanceRow, what: string): Promise<void> {
  const users: string[] = []
  for (const { uuid } of storageInstancesOf(node, ai.id)) {
    users.push(...(await node.exports.remainingInitiators(uuid)))
  }
  if (users.length === 0) return
  throw invalidRequest(
    `Cannot ${what} ${ai.name}: ${users.join(', ')} is logged in; use force to override this warning`,
  )
}

export function storageInstancesOf(node: Pick<NodeContext, 'database'>, aiId: string): StorageInstanceRow[] {
  return node.database.all<StorageInstanceRow>(
    'SELECT * FROM storage_instance WHERE app_instance = ? ORDER BY seq',
    aiId,
  )
}

/** From the first step on it is gone for everybody; a start finishes what is left. Repeats safely. */
export async function deleteAppInstance(
  node: Pick<NodeContext, 'database' | 'exports' | 'meters' | 'store' | 'unfinished'>,
  ai: Pick<AppInstanceRow, 'id'>,
): Promise<void> {
  const { database } = node
  database.run(`UPDATE app_instance SET state = 'deleting' WHERE id = ?`, ai.id)
  await node.unfinished.run(async () => {
    for (const { uuid } of storageInstancesOf(node, ai.id)) {
      await node.exports.withdraw(uuid)
      await deleteVolumesOf(node, uuid)
    }
    database.transaction(() => removeAppInstanceRows(node, ai.id))
  })
}

/** Removes from the store what a storage instance's volumes have there, snapshots first. */
export async function deleteVolumesOf(
  node: Pick<NodeContext, 'database' | 'meters' | 'store'>,
  siUuid: string,
): Promise<void> {
  const volumes = node.database.all<Pick<VolumeRow, 'store_id'>>(
    'SELECT store_id FROM volume WHERE storage_instance = ?',
    siUuid,
  )
  for (const { store_id } of volumes) await deleteVolumeData(node, store_id)
}

export async function deleteVolumeData(
  node: Pick<NodeContext, 'database' | 'meters' | 'store'>,
  storeId: string,
): Promise<void> {
  const snapshots = node.database.all<{ store_id: string }>(
    'SELECT store_id FROM snapshot WHERE volume = ?',
    storeId,
  )
  for (const { store_id } of snapshots) await node.store.delete(store_id)
  await node.store.delete(storeId)
  node.meters.forget(storeId)
  forgetReservations(node.database, storeId)
}
