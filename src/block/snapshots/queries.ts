import { type Selectable, sql, type Transaction, type Updateable } from 'kysely'
import { NotFound } from '../../kernel/errors.ts'
import type { BlockDb } from '../context.ts'
import type { SnapshotsTable, Tables } from '../db/tables.ts'
import { type Condition, countRows, type Paging, selectPage } from '../listing.ts'
import type { Viewer } from '../volumes/queries.ts'

export type SnapshotRow = Selectable<SnapshotsTable>

function snapshotNotFound(id: string): NotFound {
  return new NotFound(`Snapshot ${id} could not be found.`)
}

/** @throws NotFound when it does not exist or is another project's */
export async function getSnapshot(db: BlockDb, viewer: Viewer, id: string): Promise<SnapshotRow> {
  const row = await findSnapshot(db, id)
  if (row === undefined || (!viewer.isAdmin && row.project_id !== viewer.projectId))
    throw snapshotNotFound(id)
  return row
}

export async function findSnapshot(db: BlockDb, id: string): Promise<SnapshotRow | undefined> {
  return await db.selectFrom('snapshots').selectAll().where('id', '=', id).executeTakeFirst()
}

/** Locks a snapshot's row until the transaction ends. @throws NotFound */
export async function lockSnapshot(
  transaction: Transaction<Tables>,
  viewer: Viewer,
  id: string,
): Promise<SnapshotRow> {
  const row = await transaction
    .updateTable('snapshots')
    .set({ id })
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirst()
  if (row === undefined || (!viewer.isAdmin && row.project_id !== viewer.projectId))
    throw snapshotNotFound(id)
  return row
}

export async function insertSnapshot(db: BlockDb, row: SnapshotRow): Promise<SnapshotRow> {
  return await db.insertInto('snapshots').values(row).returningAll().executeTakeFirstOrThrow()
}

export async function updateSnapshot(
  db: BlockDb,
  id: string,
  set: Updateable<SnapshotsTable>,
): Promise<SnapshotRow | undefined> {
  return await db.updateTable('snapshots').set(set).where('id', '=', id).returningAll().executeTakeFirst()
}

/** Changes a snapshot if its status is one of `from`. @returns undefined when it is not, or it is gone */
export async function transitionSnapshot(
  db: BlockDb,
  id: string,
  from: readonly string[],
  set: Updateable<SnapshotsTable>,
): Promise<SnapshotRow | undefined> {
  return await db
    .updateTable('snapshots')
    .set(set)
    .where('id', '=', id)
    .where('status', 'in', from)
    .returningAll()
    .executeTakeFirst()
}

export async function deleteSnapshotRow(db: BlockDb, id: string): Promise<void> {
  await db.deleteFrom('snapshots').where('id', '=', id).execute()
}

export async function listSnapshots(
  db: BlockDb,
  conditions: readonly Condition[],
  paging: Paging,
): Promise<readonly SnapshotRow[]> {
  return await selectPage(db, { table: 'snapshots', what: 'Snapshot' }, conditions, paging)
}

export async function countSnapshots(db: BlockDb, conditions: readonly Condition[]): Promise<number> {
  return await countRows(db, sql.table('snapshots'), conditions)
}
