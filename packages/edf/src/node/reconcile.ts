import type { NodeContext } from './context.ts'
import type {
  AppInstanceRow,
  AppSnapshotRow,
  SnapshotRow,
  StorageInstanceRow,
  VolumeRow,
} from './database/rows.ts'
import { deleteAppInstance, deleteVolumeData } from './resources/app-instances.ts'
import { removeVolumeRows } from './resources/provision.ts'
import { finishRestore } from './resources/restore.ts'
import { deleteAppSnapshot, deleteSnapshots } from './resources/snapshots.ts'
import { deleteStorageInstance } from './resources/storage-instances.ts'
import { gib } from './units.ts'

/** What a start had to put right. */
export interface Repairs {
  /** Half-made or half-deleted things that were removed. */
  removed: number
  /** Entries of the store that no metadata knew. */
  orphans: number
  /** Volumes that had to grow to the size that was written down. */
  grown: number
  /** Restores that were finished. */
  restored: number
  /** Volumes whose data the store does not have. */
  missing: string[]
}

/**
 * After a crash: whatever was being made and had not been acknowledged goes; whatever was being deleted goes for
 * good; restores and extensions are finished; and the store keeps nothing that the metadata do not know.
 */
export async function reconcile(
  node: Pick<NodeContext, 'database' | 'store' | 'exports' | 'meters' | 'unfinished'>,
): Promise<Repairs> {
  const repairs: Repairs = { removed: 0, orphans: 0, grown: 0, restored: 0, missing: [] }
  await removeUnfinished(node, repairs)
  const restoring = node.database.all<AppInstanceRow>(
    'SELECT * FROM app_instance WHERE restoring IS NOT NULL',
  )
  for (const ai of restoring) {
    await finishRestore(node, ai)
    repairs.restored++
  }
  await matchStore(node, repairs)
  return repairs
}

async function removeUnfinished(
  node: Pick<NodeContext, 'database' | 'store' | 'exports' | 'meters' | 'unfinished'>,
  repairs: Repairs,
): Promise<void> {
  const { database } = node
  const unfinished = `state <> 'ready'`
  for (const row of database.all<AppInstanceRow>(`SELECT * FROM app_instance WHERE ${unfinished}`)) {
    await deleteAppInstance(node, row)
    repairs.removed++
  }
  const instances = database.all<StorageInstanceRow>(`SELECT * FROM storage_instance WHERE ${unfinished}`)
  for (const row of instances) {
    await deleteStorageInstance(node, row)
    repairs.removed++
  }
  const volumes = database.all<VolumeRow & { si_path: string }>(
    `SELECT volume.*, '/app_instances/' || si.app_instance || '/storage_instances/' || si.name AS si_path
     FROM volume JOIN storage_instance si ON si.uuid = volume.storage_instance WHERE volume.${unfinished}`,
  )
  for (const row of volumes) {
    await deleteVolumeData(node, row.store_id)
    database.transaction(() => removeVolumeRows(node, row.store_id, `${row.si_path}/volumes/${row.name}`))
    repairs.removed++
  }
  for (const row of database.all<AppSnapshotRow>(`SELECT * FROM app_snapshot WHERE ${unfinished}`)) {
    await deleteAppSnapshot(node, row)
    repairs.removed++
  }
  const snapshots = database.all<SnapshotRow>(`SELECT * FROM snapshot WHERE ${unfinished}`)
  await deleteSnapshots(node, snapshots)
  repairs.removed += snapshots.length
}

async function matchStore(node: Pick<NodeContext, 'database' | 'store'>, repairs: Repairs): Promise<void> {
  const { database, store } = node
  const known = new Map<string, number>()
  for (const row of database.all<VolumeRow>('SELECT * FROM volume'))
    known.set(row.store_id, row.size_gib * gib)
  const snapshots = new Set(
    database.all<SnapshotRow>('SELECT * FROM snapshot').map(({ store_id }) => store_id),
  )
  for (const entry of store.list()) {
    const sizeBytes = known.get(entry.id)
    if (sizeBytes === undefined && !snapshots.has(entry.id)) {
      await store.delete(entry.id)
      repairs.orphans++
    } else if (sizeBytes !== undefined && entry.sizeBytes < sizeBytes) {
      await store.resize(entry.id, sizeBytes)
      repairs.grown++
    } else if (sizeBytes !== undefined && entry.sizeBytes > sizeBytes) {
      // An extension that was not acknowledged, whose row was written back: the volume is what the store has.
      database.run(
        'UPDATE volume SET size_gib = ? WHERE store_id = ?',
        Math.floor(entry.sizeBytes / gib),
        entry.id,
      )
    }
  }
  for (const storeId of known.keys()) if (!store.has(storeId)) repairs.missing.push(storeId)
}
