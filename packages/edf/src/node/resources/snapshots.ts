import { randomUUID } from 'node:crypto'
import { errorCodes } from '../../schemas/error.ts'
import { CreateSnapshot } from '../../schemas/snapshot.ts'
import type { NodeContext } from '../context.ts'
import type { AppInstanceRow, AppSnapshotRow, SnapshotRow, VolumeRow } from '../database/rows.ts'
import { invalidRequest, notFound } from '../errors.ts'
import { listOf } from '../http/list.ts'
import type { ApiRequest, Route } from '../http/route.ts'
import { appSnapshotView, snapshotView } from './app-instance-view.ts'
import { requireDocument } from './documents.ts'
import {
  appInstancePath,
  findAppSnapshot,
  findSnapshot,
  type LocatedVolume,
  locateAppInstance,
  locateVolume,
  volumePath,
} from './locate.ts'

/** The array's limit for one volume. */
const maximumSnapshots = 256

export function snapshotRoutes(node: NodeContext): Route[] {
  return [...volumeSnapshotRoutes(node), ...appSnapshotRoutes(node)]
}

function volumeSnapshotRoutes(node: NodeContext): Route[] {
  const collection = '/app_instances/:ai/storage_instances/:si/volumes/:vol/snapshots'
  const ownerOf = ({ ai, si, volume }: LocatedVolume) => volumePath(ai.id, si.name, volume.name)
  const required = (located: LocatedVolume, key: string): SnapshotRow => {
    const row = findSnapshot(node, located.volume, key)
    if (row === undefined) throw notFound(`${ownerOf(located)}/snapshots/${key}`)
    return row
  }
  const answer = (located: LocatedVolume, row: SnapshotRow) => {
    const data = snapshotView(row, ownerOf(located))
    return { data, path: data.path }
  }
  return [
    {
      method: 'GET',
      path: collection,
      summary: 'List snapshots, the oldest first',
      handle: (request) => {
        const located = locateVolume(node, request)
        const rows = node.database.all<SnapshotRow>(
          `SELECT * FROM snapshot WHERE volume = ? AND app_snapshot IS NULL AND state = 'ready' ORDER BY seq`,
          located.volume.store_id,
        )
        const views = rows.map((row) => snapshotView(row, ownerOf(located)))
        const { items, page } = listOf(request, views)
        return { data: items, page }
      },
    },
    {
      method: 'POST',
      path: collection,
      summary: 'Take a snapshot: every write that was acknowledged before is in it',
      body: CreateSnapshot,
      handle: async (request) => {
        const { ai } = locateVolume(node, request)
        return node.locks.run(ai.id, async () => {
          const located = locateVolume(node, request)
          refuseRemote(node, request)
          const row = await takeSnapshot(node, located.volume, uuidOf(request))
          return answer(located, row)
        })
      },
    },
    {
      method: 'GET',
      path: `${collection}/:ts`,
      summary: 'Read a snapshot by its time or uuid',
      handle: (request) => {
        const located = locateVolume(node, request)
        return answer(located, required(located, request.param('ts')))
      },
    },
    {
      method: 'DELETE',
      path: `${collection}/:ts`,
      summary: 'Delete a snapshot',
      handle: async (request) => {
        const { ai } = locateVolume(node, request)
        return node.locks.run(ai.id, async () => {
          const located = locateVolume(node, request)
          const row = required(located, request.param('ts'))
          refuseRemoteDelete(request)
          await deleteSnapshots(node, [row])
          return answer(located, row)
        })
      },
    },
  ]
}

function appSnapshotRoutes(node: NodeContext): Route[] {
  const collection = '/app_instances/:ai/snapshots'
  const required = (ai: AppInstanceRow, key: string): AppSnapshotRow => {
    const row = findAppSnapshot(node, ai.id, key)
    if (row === undefined) throw notFound(`${appInstancePath(ai)}/snapshots/${key}`)
    return row
  }
  const answer = (row: AppSnapshotRow) => {
    const data = appSnapshotView(row)
    return { data, path: data.path }
  }
  return [
    {
      method: 'GET',
      path: collection,
      summary: 'List snapshots of the whole app instance, the oldest first',
      handle: (request) => {
        const ai = locateAppInstance(node, request)
        const rows = node.database.all<AppSnapshotRow>(
          `SELECT * FROM app_snapshot WHERE app_instance = ? AND state = 'ready' ORDER BY seq`,
          ai.id,
        )
        const { items, page } = listOf(request, rows.map(appSnapshotView))
        return { data: items, page }
      },
    },
    {
      method: 'POST',
      path: collection,
      summary: 'Take a snapshot of all volumes at one instant',
      body: CreateSnapshot,
      handle: async (request) => {
        const { id } = locateAppInstance(node, request)
        return node.locks.run(id, async () => {
          const ai = locateAppInstance(node, request)
          refuseRemote(node, request)
          return answer(await takeAppSnapshot(node, ai, uuidOf(request)))
        })
      },
    },
    {
      method: 'GET',
      path: `${collection}/:ts`,
      summary: 'Read a snapshot of the app instance by its time or uuid',
      handle: (request) => answer(required(locateAppInstance(node, request), request.param('ts'))),
    },
    {
      method: 'DELETE',
      path: `${collection}/:ts`,
      summary: 'Delete a snapshot of the app instance',
      handle: async (request) => {
        const { id } = locateAppInstance(node, request)
        return node.locks.run(id, async () => {
          const row = required(locateAppInstance(node, request), request.param('ts'))
          refuseRemoteDelete(request)
          await deleteAppSnapshot(node, row)
          return answer(row)
        })
      },
    },
  ]
}

function uuidOf(request: ApiRequest): string {
  return request.body(CreateSnapshot).uuid?.toLowerCase() ?? randomUUID()
}

/** A remote copy is asked for: of a provider that is not there, or that this node does not upload to. */
function refuseRemote(node: NodeContext, request: ApiRequest): void {
  const { remote_provider_uuid, type } = request.body(CreateSnapshot)
  if (remote_provider_uuid) {
    requireDocument(node, 'remote_providers', request.tenant, remote_provider_uuid)
    throw invalidRequest('This node keeps no snapshots on remote providers')
  }
  if (type && type !== 'local') throw invalidRequest(`A snapshot of type ${type} needs a remote provider`)
}

/** An empty value means the local snapshot. Nothing has a remote one. */
function refuseRemoteDelete(request: ApiRequest): void {
  const provider = request.query['remote_provider_uuid']
  if (provider) throw notFound(`/remote_providers/${provider}/snapshots`)
}

function refuseDuplicate(path: string): never {
  throw invalidRequest(`${path}: a snapshot with this uuid exists`, errorCodes.duplicateSnapshot)
}

/**
 * @param policy id of the policy that asks for it
 * @throws ApiError 400 with code 15 when the volume has a snapshot of this uuid
 */
export async function takeSnapshot(
  node: NodeContext,
  volume: VolumeRow,
  uuid: string,
  policy = '',
): Promise<SnapshotRow> {
  const { database } = node
  const taken = database.get<SnapshotRow>(
    'SELECT * FROM snapshot WHERE volume = ? AND uuid = ?',
    volume.store_id,
    uuid,
  )
  if (taken !== undefined) refuseDuplicate(uuid)
  const count = database.get<{ total: number }>(
    'SELECT count(*) AS total FROM snapshot WHERE volume = ?',
    volume.store_id,
  )
  if ((count?.total ?? 0) >= maximumSnapshots) {
    throw invalidRequest(`The volume has ${maximumSnapshots} snapshots, which is the limit`)
  }
  await node.unfinished.retry()
  const storeId = insertSnapshot(node, volume, { uuid, utcTs: node.snapshotClock.next(), policy })
  try {
    await node.store.snapshot(volume.store_id, storeId)
    database.run(`UPDATE snapshot SET state = 'ready' WHERE store_id = ?`, storeId)
  } catch (error) {
    // What cannot be removed now is removed later; the reason is this one.
    await removeSnapshot(node, storeId).catch(() => undefined)
    throw error
  }
  const row = database.get<SnapshotRow>('SELECT * FROM snapshot WHERE store_id = ?', storeId)
  if (row === undefined) throw new Error(`the snapshot ${storeId} has gone while it was taken`)
  return row
}

function insertSnapshot(
  node: NodeContext,
  volume: VolumeRow,
  snapshot: {
    readonly uuid: string
    readonly utcTs: string
    /** Of which it is a part. */
    readonly appSnapshot?: string
    readonly policy?: string
  },
): string {
  const storeId = randomUUID()
  node.database.run(
    `INSERT INTO snapshot (store_id, volume, app_snapshot, uuid, utc_ts, state, size_gib, policy)
     VALUES (?, ?, ?, ?, ?, 'creating', ?, ?)`,
    storeId,
    volume.store_id,
    snapshot.appSnapshot ?? null,
    snapshot.uuid,
    snapshot.utcTs,
    volume.size_gib,
    snapshot.policy ?? '',
  )
  return storeId
}

/** Writes to all volumes wait while it is taken, so that it shows them at one instant. */
export async function takeAppSnapshot(
  node: NodeContext,
  ai: AppInstanceRow,
  uuid: string,
  policy = '',
): Promise<AppSnapshotRow> {
  const { database } = node
  const taken = database.get('SELECT 1 FROM app_snapshot WHERE app_instance = ? AND uuid = ?', ai.id, uuid)
  if (taken !== undefined) refuseDuplicate(uuid)
  const volumes = database.all<VolumeRow>(
    `SELECT volume.* FROM volume JOIN storage_instance si ON si.uuid = volume.storage_instance
     WHERE si.app_instance = ? AND si.state = 'ready' AND volume.state = 'ready' ORDER BY volume.seq`,
    ai.id,
  )
  const id = randomUUID()
  const utcTs = node.snapshotClock.next()
  const members = database.transaction(() => {
    database.run(
      `INSERT INTO app_snapshot (id, app_instance, uuid, utc_ts, state, policy, structure)
       VALUES (?, ?, ?, ?, 'creating', ?, ?)`,
      id,
      ai.id,
      uuid,
      utcTs,
      policy,
      JSON.stringify({
        name: ai.name,
        volumes: volumes.map(({ name, uuid: volumeUuid, size_gib }) => ({
          name,
          uuid: volumeUuid,
          size_gib,
        })),
        size_gib: volumes.reduce((sum, { size_gib }) => sum + size_gib, 0),
      }),
    )
    return volumes.map((volume) => ({
      volume: volume.store_id,
      storeId: insertSnapshot(node, volume, { uuid: randomUUID(), utcTs, appSnapshot: id }),
    }))
  })
  try {
    await node.exports.still(
      members.map(({ volume }) => volume),
      async () => {
        for (const { volume, storeId } of members) await node.store.snapshot(volume, storeId)
      },
    )
    database.transaction(() => {
      database.run(`UPDATE snapshot SET state = 'ready' WHERE app_snapshot = ?`, id)
      database.run(`UPDATE app_snapshot SET state = 'ready' WHERE id = ?`, id)
    })
  } catch (error) {
    await removeAppSnapshot(node, id).catch(() => undefined)
    throw error
  }
  const row = database.get<AppSnapshotRow>('SELECT * FROM app_snapshot WHERE id = ?', id)
  if (row === undefined) throw new Error(`the snapshot ${id} has gone while it was taken`)
  return row
}

/** Repeats safely. */
export async function deleteSnapshots(
  node: Pick<NodeContext, 'database' | 'store' | 'unfinished'>,
  rows: readonly Pick<SnapshotRow, 'store_id'>[],
): Promise<void> {
  for (const { store_id } of rows) {
    node.database.run(`UPDATE snapshot SET state = 'deleting' WHERE store_id = ?`, store_id)
    await removeSnapshot(node, store_id)
  }
}

async function removeSnapshot(
  node: Pick<NodeContext, 'database' | 'store' | 'unfinished'>,
  storeId: string,
): Promise<void> {
  await node.unfinished.run(async () => {
    await node.store.delete(storeId)
    node.database.run('DELETE FROM snapshot WHERE store_id = ?', storeId)
  })
}

/** Repeats safely. */
export async function deleteAppSnapshot(
  node: Pick<NodeContext, 'database' | 'store' | 'unfinished'>,
  row: Pick<AppSnapshotRow, 'id'>,
): Promise<void> {
  node.database.run(`UPDATE app_snapshot SET state = 'deleting' WHERE id = ?`, row.id)
  await removeAppSnapshot(node, row.id)
}

async function removeAppSnapshot(
  node: Pick<NodeContext, 'database' | 'store' | 'unfinished'>,
  id: string,
): Promise<void> {
  const { database, store } = node
  await node.unfinished.run(async () => {
    const members = database.all<SnapshotRow>('SELECT * FROM snapshot WHERE app_snapshot = ?', id)
    for (const member of members) await store.delete(member.store_id)
    database.transaction(() => {
      database.run('DELETE FROM snapshot WHERE app_snapshot = ?', id)
      database.run('DELETE FROM app_snapshot WHERE id = ?', id)
    })
  })
}
