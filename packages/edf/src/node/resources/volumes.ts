import { CreateVolume, UpdateVolume } from '../../schemas/volume.ts'
import type { NodeContext } from '../context.ts'
import type { VolumeRow } from '../database/rows.ts'
import { invalidRequest } from '../errors.ts'
import { listOf } from '../http/list.ts'
import type { ApiRequest, Route } from '../http/route.ts'
import { gib } from '../units.ts'
import { volumeViews } from './app-instance-view.ts'
import { deleteVolumeData } from './app-instances.ts'
import { resolveDocument } from './documents.ts'
import {
  findVolume,
  type LocatedStorageInstance,
  type LocatedVolume,
  locateStorageInstance,
  locateVolume,
  pathOf,
  volumePath,
} from './locate.ts'
import { planVolume, wholeGib } from './plans.ts'
import { provisionVolume, removeVolumeRows } from './provision.ts'
import { restoreVolume } from './restore.ts'
import { refuseIfUsed } from './storage-instances.ts'

export function volumeRoutes(node: NodeContext): Route[] {
  const collection = '/app_instances/:ai/storage_instances/:si/volumes'
  const answer = ({ ai, si }: LocatedStorageInstance, name: string) => {
    const row = findVolume(node, si.uuid, name)
    const [data] = row ? volumeViews(node, [row], () => si) : []
    return { data, path: volumePath(ai.id, si.name, name) }
  }
  return [
    {
      method: 'GET',
      path: collection,
      summary: 'List volumes in the order of their units',
      handle: (request) => {
        const { si } = locateStorageInstance(node, request)
        const rows = node.database.all<VolumeRow>(
          `SELECT * FROM volume WHERE storage_instance = ? AND state = 'ready' ORDER BY seq`,
          si.uuid,
        )
        const { items, page } = listOf(
          request,
          volumeViews(node, rows, () => si),
        )
        return { data: items, page }
      },
    },
    {
      method: 'POST',
      path: collection,
      summary: 'Create a volume; an online target shows it as a new unit',
      body: CreateVolume,
      handle: async (request) => {
        const { ai } = locateStorageInstance(node, request)
        return node.locks.run(ai.id, async () => {
          const located = locateStorageInstance(node, request)
          const plan = planVolume(node, request.tenant, request.body(CreateVolume))
          const { si } = located
          await provisionVolume(node, { aiId: ai.id, siUuid: si.uuid, siName: si.name }, plan)
          return answer(located, plan.name)
        })
      },
    },
    {
      method: 'GET',
      path: `${collection}/:vol`,
      summary: 'Read a volume',
      handle: (request) => {
        const located = locateVolume(node, request)
        return answer(located, located.volume.name)
      },
    },
    {
      method: 'PUT',
      path: `${collection}/:vol`,
      summary: 'Update a volume: size, placement, replicas, restore',
      body: UpdateVolume,
      handle: async (request) => {
        const { ai } = locateVolume(node, request)
        return node.locks.run(ai.id, async () => {
          const located = locateVolume(node, request)
          await update(node, located, request)
          return answer(located, located.volume.name)
        })
      },
    },
    {
      method: 'DELETE',
      path: `${collection}/:vol`,
      summary: 'Delete a volume with its snapshots',
      handle: async (request) => {
        const { ai } = locateVolume(node, request)
        return node.locks.run(ai.id, async () => {
          const located = locateVolume(node, request)
          const gone = answer(located, located.volume.name)
          await refuseIfUsed(node, located.si, request.force)
          await deleteVolume(node, located)
          return gone
        })
      },
    },
  ]
}

async function update(node: NodeContext, located: LocatedVolume, request: ApiRequest): Promise<void> {
  const { si, volume } = located
  const body = request.body(UpdateVolume)
  const placement =
    pathOf(body.placement_policy) === ''
      ? volume.placement_policy
      : JSON.stringify(
          resolveDocument(node, 'placement_policies', request.tenant, body.placement_policy, 'default'),
        )
  const sizeGib = body.size === undefined ? volume.size_gib : wholeGib(body.size)
  if (sizeGib < volume.size_gib) {
    throw invalidRequest(`A volume of ${volume.size_gib} GiB cannot shrink to ${sizeGib} GiB`)
  }
  if (body.restore_point) await restoreVolume(node, located, body.restore_point)
  // The row goes first: after a crash the start grows the store's volume to what the row says.
  node.database.run(
    `UPDATE volume SET size_gib = ?, replica_count = ?, placement_mode = ?, placement_policy = ? WHERE seq = ?`,
    sizeGib,
    body.replica_count ?? volume.replica_count,
    body.placement_mode ?? volume.placement_mode,
    placement,
    volume.seq,
  )
  node.rebuilds.wake(volume.store_id)
  if (sizeGib === volume.size_gib) return
  try {
    await node.store.resize(volume.store_id, sizeGib * gib)
  } catch (error) {
    node.database.run('UPDATE volume SET size_gib = ? WHERE seq = ?', volume.size_gib, volume.seq)
    throw error
  }
  node.exports.grown(si.uuid, volume.store_id, sizeGib * gib)
}

async function deleteVolume(node: NodeContext, { ai, si, volume }: LocatedVolume): Promise<void> {
  node.database.run(`UPDATE volume SET state = 'deleting' WHERE seq = ?`, volume.seq)
  await node.exports.sync(si.uuid)
  await node.unfinished.run(async () => {
    await deleteVolumeData(node, volume.store_id)
    const path = volumePath(ai.id, si.name, volume.name)
    node.database.transaction(() => removeVolumeRows(node, volume.store_id, path))
  })
}
