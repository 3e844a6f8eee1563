import type { NodeContext } from '../context.ts'
import type { AppInstanceRow, SnapshotRow, VolumeRow } from '../database/rows.ts'
import { invalidRequest, notFound } from '../errors.ts'
import { findAppSnapshot, findSnapshot, type LocatedVolume, volumePath } from './locate.ts'

/**
 * Makes a volume what it was at a snapshot of it; newer snapshots stay, and so does the size.
 * @throws ApiError 400 while the app instance is online, 404 for an unknown snapshot
 */
export async function restoreVolume(
  node: NodeContext,
  { ai, si, volume }: LocatedVolume,
  restorePoint: string,
): Promise<void> {
  const snapshot = findSnapshot(node, volume, restorePoint)
  if (snapshot === undefined) {
    throw notFound(`${volumePath(ai.id, si.name, volume.name)}/snapshots/${restorePoint}`)
  }
  if (ai.admin_state === 'online' && si.admin_state === 'online') {
    throw invalidRequest('A restore needs the app instance to be offline')
  }
  await node.store.revert(volume.store_id, snapshot.store_id)
  recordRestorePoint(node, volume.store_id, snapshot.utc_ts)
}

/** All volumes that the snapshot has. What it is about to do is written down first, so that a start can finish it. */
export async function restoreAppInstance(
  node: NodeContext,
  ai: AppInstanceRow,
  restorePoint: string,
): Promise<void> {
  const snapshot = findAppSnapshot(node, ai.id, restorePoint)
  if (snapshot === undefined) throw notFound(`/app_instances/${ai.id}/snapshots/${restorePoint}`)
  node.database.run('UPDATE app_instance SET restoring = ? WHERE id = ?', snapshot.id, ai.id)
  await finishRestore(node, { ...ai, restoring: snapshot.id })
}

/** Repeats safely. */
export async function finishRestore(
  node: Pick<NodeContext, 'database' | 'store'>,
  ai: AppInstanceRow,
): Promise<void> {
  const { database } = node
  if (ai.restoring === null) return
  const members = database.all<SnapshotRow>('SELECT * FROM snapshot WHERE app_snapshot = ?', ai.restoring)
  for (const member of members) {
    await node.store.revert(member.volume, member.store_id)
  }
  database.transaction(() => {
    for (const member of members) recordRestorePoint(node, member.volume, member.utc_ts)
    database.run(
      `UPDATE app_instance SET restoring = NULL,
         restore_point = coalesce((SELECT utc_ts FROM app_snapshot WHERE id = ?), restore_point) WHERE id = ?`,
      ai.restoring,
      ai.id,
    )
  })
}

function recordRestorePoint(
  node: Pick<NodeContext, 'database'>,
  storeId: VolumeRow['store_id'],
  utcTs: string,
): void {
  node.database.run('UPDATE volume SET restore_point = ? WHERE store_id = ?', utcTs, storeId)
}
