import { type Selectable, sql, type Transaction, type Updateable } from 'kysely'
import { GiB } from '../../kernel/bytes.ts'
import { BackendError, NotFound } from '../../kernel/errors.ts'
import type { StoredBackup } from '../backup-driver.ts'
import type { Block, BlockDb } from '../context.ts'
import type { BackupsTable, Tables } from '../db/tables.ts'
import { type Condition, countRows, type Paging, selectPage } from '../listing.ts'
import type { Viewer } from '../volumes/queries.ts'

export type BackupRow = Selectable<BackupsTable>
/** A backup with the number of its increments, as views need it. */
export type BackupWithDependents = BackupRow & { readonly dependents: number }

const withDependents = sql`backups.*,
  (select count(*) from backups as child where child.parent_id = backups.id) as dependents`

export function backupNotFound(id: string): NotFound {
  return new NotFound(`Backup ${id} could not be found.`)
}

/** @throws NotFound when it does not exist or is another project's */
export async function getBackup(db: BlockDb, viewer: Viewer, id: string): Promise<BackupWithDependents> {
  const { rows } = await sql<BackupWithDependents>`
    select ${withDependents} from backups where id = ${id}`.execute(db)
  const [row] = rows
  if (row === undefined || (!viewer.isAdmin && row.project_id !== viewer.projectId)) throw backupNotFound(id)
  return row
}

export async function findBackup(db: BlockDb, id: string): Promise<BackupRow | undefined> {
  return await db.selectFrom('backups').selectAll().where('id', '=', id).executeTakeFirst()
}

/** Locks a backup's row until the transaction ends. @throws NotFound */
export async function lockBackup(
  transaction: Transaction<Tables>,
  viewer: Viewer,
  id: string,
): Promise<BackupRow> {
  const row = await updateBackup(transaction, id, { id })
  if (row === undefined || (!viewer.isAdmin && row.project_id !== viewer.projectId)) throw backupNotFound(id)
  return row
}

export async function insertBackup(db: BlockDb, row: BackupRow): Promise<BackupRow> {
  return await db.insertInto('backups').values(row).returningAll().executeTakeFirstOrThrow()
}

/** Changes a backup whatever its state. @returns undefined when it is gone */
export async function updateBackup(
  db: BlockDb,
  id: string,
  set: Updateable<BackupsTable>,
): Promise<BackupRow | undefined> {
  return await db.updateTable('backups').set(set).where('id', '=', id).returningAll().executeTakeFirst()
}

/** Changes a backup if its status is one of `from`. @returns undefined when it is not, or it is gone */
export async function transitionBackup(
  db: BlockDb,
  id: string,
  from: readonly string[],
  set: Updateable<BackupsTable>,
): Promise<BackupRow | undefined> {
  return await db
    .updateTable('backups')
    .set(set)
    .where('id', '=', id)
    .where('status', 'in', from)
    .returningAll()
    .executeTakeFirst()
}

export async function deleteBackupRow(db: BlockDb, id: string): Promise<void> {
  await db.deleteFrom('backups').where('id', '=', id).execute()
}

export async function hasIncrements(db: BlockDb, id: string): Promise<boolean> {
  const child = await db.selectFrom('backups').select('id').where('parent_id', '=', id).executeTakeFirst()
  return child !== undefined
}

export async function listBackups(
  db: BlockDb,
  conditions: readonly Condition[],
  paging: Paging,
): Promise<readonly BackupWithDependents[]> {
  return await selectPage(
    db,
    { table: 'backups', select: withDependents, what: 'Backup' },
    conditions,
    paging,
  )
}

export async function countBackups(db: BlockDb, conditions: readonly Condition[]): Promise<number> {
  return await countRows(db, sql.table('backups'), conditions)
}

/** The backup that an increment of a volume builds on: the newest one that is there, of the same project. */
export async function newestBackup(
  db: BlockDb,
  volumeId: string,
  projectId: string,
  before: string | undefined,
): Promise<BackupRow | undefined> {
  let select = db
    .selectFrom('backups')
    .selectAll()
    .where('volume_id', '=', volumeId)
    .where('project_id', '=', projectId)
    .where('status', '=', 'available')
  if (before !== undefined) select = select.where('data_timestamp', '<', before)
  return await select.orderBy('data_timestamp', 'desc').orderBy('id').limit(1).executeTakeFirst()
}

/** A backup as drivers see it; undefined when it has no place on a target yet. */
export function storedBackup(row: BackupRow): StoredBackup | undefined {
  if (row.container === null || row.service_metadata === null) return undefined
  return {
    id: row.id,
    name: row.name ?? undefined,
    description: row.description ?? undefined,
    volumeId: row.volume_id,
    sizeBytes: row.size_gib * GiB,
    createdAt: row.created_at,
    container: row.container,
    prefix: row.service_metadata,
    encrypted: row.encrypted === 1,
    metadataSha256: row.metadata_sha256 ?? undefined,
  }
}

/** As `storedBackup`. @throws BackendError when it has no place */
export function requireStored(row: BackupRow): StoredBackup {
  const stored = storedBackup(row)
  if (stored !== undefined) return stored
  throw new BackendError(`Backup ${row.id} has no data.`, { left: 'nothing' })
}

/** A backup and all that it is an increment of, the full one first. @throws BackendError when one is missing */
export async function chainOf(block: Pick<Block, 'db'>, backup: BackupRow): Promise<readonly StoredBackup[]> {
  const chain = [requireStored(backup)]
  for (let row = backup; row.parent_id !== null; ) {
    const parent = await findBackup(block.db, row.parent_id)
    if (parent === undefined) {
      throw new BackendError(
        `Backup ${row.id} is an increment of backup ${row.parent_id}, which does not exist here: import it first.`,
        { left: 'nothing' },
      )
    }
    chain.unshift(requireStored(parent))
    row = parent
  }
  return chain
}
