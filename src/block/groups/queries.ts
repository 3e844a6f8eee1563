import { type Selectable, sql, type Transaction, type Updateable } from 'kysely'
import { Invalid, NotFound } from '../../kernel/errors.ts'
import type { BlockDb } from '../context.ts'
import type { Tables, VolumeGroupsTable } from '../db/tables.ts'
import { consistencyGroupType } from '../group-types/queries.ts'
import { type Condition, type Paging, selectPage } from '../listing.ts'
import type { Viewer, VolumeRow } from '../volumes/queries.ts'

export type GroupRow = Selectable<VolumeGroupsTable>

/**
 * Which of the two APIs asks: `group`, or the older one of consistency groups. Each sees its own groups only.
 * @see block-storage-api specification 5.13
 */
export type GroupApi = 'group' | 'consistencygroup'

export function groupNotFound(api: GroupApi, id: string): NotFound {
  return new NotFound(`${api === 'group' ? 'Group' : 'ConsistencyGroup'} ${id} could not be found.`)
}

/** Condition on a table with a `group_type_id`: only rows of the API's own groups. */
export function groupsOf(api: GroupApi): Condition {
  const type = sql`(select id from volume_group_types where name = ${consistencyGroupType})`
  return api === 'group' ? sql`group_type_id <> ${type}` : sql`group_type_id = ${type}`
}

async function checkApi(db: BlockDb, api: GroupApi, row: { group_type_id: string }): Promise<void> {
  const type = await db
    .selectFrom('volume_group_types')
    .select('name')
    .where('id', '=', row.group_type_id)
    .executeTakeFirst()
  const isConsistencyGroup = type?.name === consistencyGroupType
  if (isConsistencyGroup === (api === 'consistencygroup')) return
  throw new Invalid(
    isConsistencyGroup
      ? `Group_type ${consistencyGroupType} is reserved for migrating CGs to groups. Migrated group can only be operated by CG APIs.`
      : 'Only groups of the consistency group API can be operated by it.',
  )
}

/** @throws NotFound when it does not exist or is another project's; Invalid through the wrong API */
export async function getGroup(db: BlockDb, viewer: Viewer, api: GroupApi, id: string): Promise<GroupRow> {
  const row = await findGroup(db, id)
  if (row === undefined || (!viewer.isAdmin && row.project_id !== viewer.projectId))
    throw groupNotFound(api, id)
  await checkApi(db, api, row)
  return row
}

export async function findGroup(db: BlockDb, id: string): Promise<GroupRow | undefined> {
  return await db.selectFrom('volume_groups').selectAll().where('id', '=', id).executeTakeFirst()
}

/** Locks a group's row until the transaction ends. @throws as `getGroup` */
export async function lockGroup(
  transaction: Transaction<Tables>,
  viewer: Viewer,
  api: GroupApi,
  id: string,
): Promise<GroupRow> {
  await transaction.updateTable('volume_groups').set({ id }).where('id', '=', id).execute()
  return await getGroup(transaction, viewer, api, id)
}

export async function updateGroup(
  db: BlockDb,
  id: string,
  set: Updateable<VolumeGroupsTable>,
): Promise<GroupRow | undefined> {
  return await db.updateTable('volume_groups').set(set).where('id', '=', id).returningAll().executeTakeFirst()
}

/** Changes a group if its status is one of `from`. @returns undefined when it is not, or it is gone */
export async function transitionGroup(
  db: BlockDb,
  id: string,
  from: readonly string[],
  set: Updateable<VolumeGroupsTable>,
): Promise<GroupRow | undefined> {
  return await db
    .updateTable('volume_groups')
    .set(set)
    .where('id', '=', id)
    .where('status', 'in', from)
    .returningAll()
    .executeTakeFirst()
}

export async function deleteGroupRow(db: BlockDb, id: string): Promise<void> {
  await db.deleteFrom('volume_group_volume_types').where('group_id', '=', id).execute()
  await db.deleteFrom('volume_groups').where('id', '=', id).execute()
}

export async function listGroups(
  db: BlockDb,
  conditions: readonly Condition[],
  paging: Paging,
): Promise<readonly GroupRow[]> {
  return await selectPage(db, { table: 'volume_groups', what: 'Group' }, conditions, paging)
}

export async function membersOf(db: BlockDb, groupId: string): Promise<readonly VolumeRow[]> {
  return await db
    .selectFrom('volumes')
    .selectAll()
    .where('group_id', '=', groupId)
    .orderBy('created_at')
    .orderBy('id')
    .execute()
}

/** Ids of the volume types that members may have, by group. */
export async function volumeTypesOf(
  db: BlockDb,
  groupIds: readonly string[],
): Promise<ReadonlyMap<string, readonly string[]>> {
  const found = new Map<string, string[]>()
  if (groupIds.length === 0) return found
  const rows = await db
    .selectFrom('volume_group_volume_types')
    .selectAll()
    .where('group_id', 'in', groupIds)
    .orderBy('volume_type_id')
    .execute()
  for (const row of rows) {
    const known = found.get(row.group_id)
    if (known === undefined) found.set(row.group_id, [row.volume_type_id])
    else known.push(row.volume_type_id)
  }
  return found
}

/** Ids of the members, by group. */
export async function memberIdsOf(
  db: BlockDb,
  groupIds: readonly string[],
): Promise<ReadonlyMap<string, readonly string[]>> {
  const found = new Map<string, string[]>()
  if (groupIds.length === 0) return found
  const rows = await db
    .selectFrom('volumes')
    .select(['id', 'group_id'])
    .where('group_id', 'in', groupIds)
    .orderBy('id')
    .execute()
  for (const row of rows) {
    if (row.group_id === null) continue
    const known = found.get(row.group_id)
    if (known === undefined) found.set(row.group_id, [row.id])
    else known.push(row.id)
  }
  return found
}
