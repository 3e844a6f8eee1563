import { type Selectable, sql } from 'kysely'
import { NotFound } from '../../kernel/errors.ts'
import type { BlockDb } from '../context.ts'
import type { VolumeTransfersTable } from '../db/tables.ts'
import { type Condition, type Paging, selectPage } from '../listing.ts'
import type { Viewer } from '../volumes/queries.ts'

export type TransferRow = Selectable<VolumeTransfersTable>

/** @throws NotFound when it does not exist or the volume is another project's */
export async function getTransfer(db: BlockDb, viewer: Viewer, id: string): Promise<TransferRow> {
  const row = await findTransfer(db, id)
  if (row === undefined || (!viewer.isAdmin && row.source_project_id !== viewer.projectId)) {
    throw transferNotFound(id)
  }
  return row
}

export async function findTransfer(db: BlockDb, id: string): Promise<TransferRow | undefined> {
  return await db.selectFrom('volume_transfers').selectAll().where('id', '=', id).executeTakeFirst()
}

export function transferNotFound(id: string): NotFound {
  return new NotFound(`Transfer ${id} could not be found.`)
}

/** @returns false when it was gone already */
export async function deleteTransferRow(db: BlockDb, id: string): Promise<boolean> {
  const { numDeletedRows } = await db
    .deleteFrom('volume_transfers')
    .where('id', '=', id)
    .executeTakeFirstOrThrow()
  return numDeletedRows > 0n
}

export async function listTransfers(
  db: BlockDb,
  projectId: string | undefined,
  paging: Paging,
): Promise<readonly TransferRow[]> {
  const conditions: Condition[] = projectId === undefined ? [] : [sql`source_project_id = ${projectId}`]
  return await selectPage(db, { table: 'volume_transfers', what: 'Transfer' }, conditions, paging)
}
