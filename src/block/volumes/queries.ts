import { type Insertable, type Selectable, sql, type Transaction, type Updateable } from 'kysely'
import { NotFound } from '../../kernel/errors.ts'
import type { BlockDb } from '../context.ts'
import type { SnapshotsTable, Tables, VolumeAttachmentsTable, VolumesTable } from '../db/tables.ts'
import { consistencyGroupType } from '../group-types/queries.ts'
import { type Along, type Condition, type Paging, selectPage } from '../listing.ts'

export type VolumeRow = Selectable<VolumesTable>
/** A volume with the name of its type and the kind of its group, as views need it. */
export type VolumeWithType = VolumeRow & {
  readonly volume_type_name: string | null
  /** `group_id`, when that is a consistency group. */
  readonly consistency_group_id: string | null
}
export type AttachmentRow = Selectable<VolumeAttachmentsTable>

const withTypeName = sql`volumes.*,
  (select name from volume_types where volume_types.id = volumes.volume_type_id) as volume_type_name,
  case when group_id is null then null else (select volume_groups.id from volume_groups
    join volume_group_types on volume_group_types.id = volume_groups.group_type_id
    where volume_groups.id = volumes.group_id and volume_group_types.name = ${consistencyGroupType})
  end as consistency_group_id`

/** Who looks: an admin sees every project's volumes, others their own. */
export interface Viewer {
  readonly projectId: string
  readonly isAdmin: boolean
}

export function volumeNotFound(id: string): NotFound {
  return new NotFound(`Volume ${id} could not be found.`)
}

/** @throws NotFound when it does not exist or is another project's */
export async function getVolume(db: BlockDb, viewer: Viewer, id: string): Promise<VolumeWithType> {
  const { rows } = await sql<VolumeWithType>`
    select ${withTypeName} from volumes where id = ${id}`.execute(db)
  const [row] = rows
  if (row === undefined || (!viewer.isAdmin && row.project_id !== viewer.projectId)) throw volumeNotFound(id)
  return row
}

export async function findVolume(db: BlockDb, id: string): Promise<VolumeRow | undefined> {
  return await db.selectFrom('volumes').selectAll().where('id', '=', id).executeTakeFirst()
}

/**
 * Locks a volume's row until the transaction ends, so that what is decided from it still holds when it is
 * written: the compare of compare-and-swap.
 * @throws NotFound
 */
export async function lockVolume(
  transaction: Transaction<Tables>,
  viewer: Viewer,
  id: string,
): Promise<VolumeRow> {
  const row = await transaction
    .updateTable('volumes')
    .set({ id })
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirst()
  if (row === undefined || (!viewer.isAdmin && row.project_id !== viewer.projectId)) throw volumeNotFound(id)
  return row
}

export async function insertVolume(db: BlockDb, row: Insertable<VolumesTable>): Promise<VolumeRow> {
  return await db.insertInto('volumes').values(row).returningAll().executeTakeFirstOrThrow()
}

/** Changes a volume whatever its state. @returns undefined when it is gone */
export async function updateVolume(
  db: BlockDb,
  id: string,
  set: Updateable<VolumesTable>,
): Promise<VolumeRow | undefined> {
  return await db.updateTable('volumes').set(set).where('id', '=', id).returningAll().executeTakeFirst()
}

/**
 * Changes a volume if its status is one of `from`: the one way for jobs to move it on.
 * @returns undefined when somebody else has moved it, or it is gone
 */
export async function transitionVolume(
  db: BlockDb,
  id: string,
  from: readonly string[],
  set: Updateable<VolumesTable>,
): Promise<VolumeRow | undefined> {
  return await db
    .updateTable('volumes')
    .set(set)
    .where('id', '=', id)
    .where('status', 'in', from)
    .returningAll()
    .executeTakeFirst()
}

export async function deleteVolumeRow(db: BlockDb, id: string): Promise<void> {
  await db.deleteFrom('volume_attachments').where('volume_id', '=', id).execute()
  await db.deleteFrom('volume_transfers').where('volume_id', '=', id).execute()
  await db.deleteFrom('volumes').where('id', '=', id).execute()
}

export async function listVolumes(
  db: BlockDb,
  conditions: readonly Condition[],
  paging: Paging,
  along?: Along,
): Promise<readonly VolumeWithType[]> {
  const from = { table: 'volumes', select: withTypeName, what: 'Volume', along }
  return await selectPage(db, from, conditions, paging)
}

/** As `listVolumes`, for the plain list. */
export async function listVolumeNames(
  db: BlockDb,
  conditions: readonly Condition[],
  paging: Paging,
  along?: Along,
): Promise<readonly Pick<VolumeRow, 'id' | 'name'>[]> {
  return await selectPage(
    db,
    { table: 'volumes', select: sql`id, name`, what: 'Volume', along },
    conditions,
    paging,
  )
}

/** Attachments of the volumes that have some, by volume. */
export async function attachmentsByVolume(
  db: BlockDb,
  volumes: readonly VolumeRow[],
): Promise<ReadonlyMap<string, readonly AttachmentRow[]>> {
  const ids = volumes.filter((volume) => volume.attach_status !== 'detached').map((volume) => volume.id)
  const found = new Map<string, AttachmentRow[]>()
  if (ids.length === 0) return found
  const rows = await db
    .selectFrom('volume_attachments')
    .selectAll()
    .where('volume_id', 'in', ids)
    .orderBy('created_at')
    .execute()
  for (const row of rows) {
    const known = found.get(row.volume_id)
    if (known === undefined) found.set(row.volume_id, [row])
    else known.push(row)
  }
  return found
}

export async function snapshotsOfVolume(
  db: BlockDb,
  volumeId: string,
): Promise<
  readonly Pick<Selectable<SnapshotsTable>, 'id' | 'status' | 'project_id' | 'group_snapshot_id'>[]
> {
  return await db
    .selectFrom('snapshots')
    .select(['id', 'status', 'project_id', 'group_snapshot_id'])
    .where('volume_id', '=', volumeId)
    .execute()
}
