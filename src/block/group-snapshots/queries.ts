import type { Selectable, Transaction, Updateable } from 'kysely'
import { NotFound } from '../../kernel/errors.ts'
import type { Block, BlockDb } from '../context.ts'
import type { Tables, VolumeGroupSnapshotsTable } from '../db/tables.ts'
import type { GroupApi } from '../groups/queries.ts'
import { groupsOf } from '../groups/queries.ts'
import { type Condition, type Paging, selectPage } from '../listing.ts'
import { notifyGroupSnapshot } from '../notifications/groups.ts'
import type { SnapshotRow } from '../snapshots/queries.ts'
import type { Viewer } from '../volumes/queries.ts'

export type GroupSnapshotRow = Selectable<VolumeGroupSnapshotsTable>

/** @throws NotFound when it does not exist, is another project's, or belongs to the other API */
export async function getGroupSnapshot(
  db: BlockDb,
  viewer: Viewer,
  api: GroupApi,
  id: string,
): Promise<GroupSnapshotRow> {
  const row = await db
    .selectFrom('volume_group_snapshots')
    .selectAll()
    .where('id', '=', id)
    .where(groupsOf(api))
    .executeTakeFirst()
  if (row === undefined || (!viewer.isAdmin && row.project_id !== viewer.projectId)) {
    throw new NotFound(`${api === 'group' ? 'GroupSnapshot' : 'CgSnapshot'} ${id} could not be found.`)
  }
  return row
}

/** Locks a group snapshot's row until the transaction ends. @throws NotFound */
export async function lockGroupSnapshot(
  transaction: Transaction<Tables>,
  viewer: Viewer,
  api: GroupApi,
  id: string,
): Promise<GroupSnapshotRow> {
  await transaction.updateTable('volume_group_snapshots').set({ id }).where('id', '=', id).execute()
  return await getGroupSnapshot(transaction, viewer, api, id)
}

export async function updateGroupSnapshot(
  db: BlockDb,
  id: string,
  set: Updateable<VolumeGroupSnapshotsTable>,
): Promise<void> {
  await db.updateTable('volume_group_snapshots').set(set).where('id', '=', id).execute()
}

export async function listGroupSnapshots(
  db: BlockDb,
  conditions: readonly Condition[],
  paging: Paging,
): Promise<readonly GroupSnapshotRow[]> {
  return await selectPage(db, { table: 'volume_group_snapshots', what: 'GroupSnapshot' }, conditions, paging)
}

export async function membersOfGroupSnapshot(db: BlockDb, id: string): Promise<readonly SnapshotRow[]> {
  return await db
    .selectFrom('snapshots')
    .selectAll()
    .where('group_snapshot_id', '=', id)
    .orderBy('id')
    .execute()
}

/**
 * Moves a snapshot on, in a transaction. A group snapshot is made, or gone, when its last member is.
 * @param id of the group snapshot that it is a part of, if any: locked first, as whoever deletes one does
 */
export async function movePart<Result>(
  block: Pick<Block, 'db' | 'now' | 'notifications'>,
  id: string | null,
  move: (transaction: Transaction<Tables>) => Promise<Result>,
): Promise<Result> {
  let settled: Settled | undefined
  const result = await block.db.transaction().execute(async (transaction) => {
    if (id === null) return await move(transaction)
    await transaction.updateTable('volume_group_snapshots').set({ id }).where('id', '=', id).execute()
    const moved = await move(transaction)
    settled = await settleGroupSnapshot(block, transaction, id)
    return moved
  })
  if (settled !== undefined) await notifyGroupSnapshot(block, settled.event, settled.row)
  return result
}

/** What there is to tell of a group snapshot that has come to rest. */
export interface Settled {
  readonly event: string
  readonly row: GroupSnapshotRow
}

/** Brings a group snapshot's status in line with its members', which is locked. @returns what there is to tell */
export async function settleGroupSnapshot(
  block: Pick<Block, 'now'>,
  transaction: Transaction<Tables>,
  id: string,
): Promise<Settled | undefined> {
  const row = await transaction
    .selectFrom('volume_group_snapshots')
    .selectAll()
    .where('id', '=', id)
    .executeTakeFirst()
  const statuses = (await membersOfGroupSnapshot(transaction, id)).map((member) => member.status)
  const updated_at = block.now().toISOString()
  if (row?.status === 'creating' && !statuses.includes('creating')) {
    const status = statuses.every((one) => one === 'available') ? 'available' : 'error'
    await updateGroupSnapshot(transaction, id, { status, updated_at })
    return status === 'available' ? { event: 'create.end', row: { ...row, status } } : undefined
  }
  if (row?.status !== 'deleting' || statuses.includes('deleting')) return undefined
  if (statuses.length === 0) {
    await transaction.deleteFrom('volume_group_snapshots').where('id', '=', id).execute()
    return { event: 'delete.end', row: { ...row, status: 'deleted' } }
  }
  await updateGroupSnapshot(transaction, id, { status: 'error_deleting', updated_at })
  return undefined
}
