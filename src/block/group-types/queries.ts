import { randomUUID } from 'node:crypto'
import type { Selectable } from 'kysely'
import { Conflict, NotFound } from '../../kernel/errors.ts'
import type { Block, BlockDb } from '../context.ts'
import type { VolumeGroupTypesTable } from '../db/tables.ts'
import type { Viewer } from '../volumes/queries.ts'

export type GroupTypeRow = Selectable<VolumeGroupTypesTable>

/** The type of groups that the consistency group API makes. Always there, and only that API may use it. */
export const consistencyGroupType = 'default_cgsnapshot_type'

/** A group type by its id. @throws NotFound also when it is private and the caller is no admin */
export async function getGroupType(db: BlockDb, viewer: Viewer, id: string): Promise<GroupTypeRow> {
  const row = await db.selectFrom('volume_group_types').selectAll().where('id', '=', id).executeTakeFirst()
  if (row === undefined || (row.is_public === 0 && !viewer.isAdmin)) throw groupTypeNotFound(id)
  return row
}

/** A group type by its id or name, as bodies name it. @throws NotFound as `getGroupType` */
export async function getGroupTypeByIdOrName(
  db: BlockDb,
  viewer: Viewer,
  idOrName: string,
): Promise<GroupTypeRow> {
  const rows = await db
    .selectFrom('volume_group_types')
    .selectAll()
    .where((where) => where.or([where('id', '=', idOrName), where('name', '=', idOrName)]))
    .execute()
  const row = rows.find((candidate) => candidate.id === idOrName) ?? rows[0]
  if (row === undefined || (row.is_public === 0 && !viewer.isAdmin)) throw groupTypeNotFound(idOrName)
  return row
}

export async function findGroupTypeByName(db: BlockDb, name: string): Promise<GroupTypeRow | undefined> {
  return await db.selectFrom('volume_group_types').selectAll().where('name', '=', name).executeTakeFirst()
}

function groupTypeNotFound(idOrName: string): NotFound {
  return new NotFound(`Group type ${idOrName} could not be found.`)
}

/** Records a new group type. @throws Conflict when the name is taken */
export async function insertGroupType(
  block: Pick<Block, 'db' | 'now'>,
  type: {
    name: string
    description: string | null
    isPublic: boolean
    groupSpecs: Readonly<Record<string, string>>
  },
): Promise<GroupTypeRow> {
  const row = await block.db
    .insertInto('volume_group_types')
    .values({
      id: randomUUID(),
      name: type.name,
      description: type.description,
      is_public: type.isPublic ? 1 : 0,
      group_specs: JSON.stringify(type.groupSpecs),
      created_at: block.now().toISOString(),
      updated_at: null,
    })
    .onConflict((conflict) => conflict.column('name').doNothing())
    .returningAll()
    .executeTakeFirst()
  if (row === undefined) throw new Conflict(`Group Type ${type.name} already exists.`)
  return row
}

/** At every start: the type of consistency groups is there. */
export async function createConsistencyGroupType(block: Pick<Block, 'db' | 'now'>): Promise<void> {
  if ((await findGroupTypeByName(block.db, consistencyGroupType)) !== undefined) return
  try {
    await insertGroupType(block, {
      name: consistencyGroupType,
      description: 'Default group type for migrating cgsnapshot',
      isPublic: true,
      groupSpecs: { consistent_group_snapshot_enabled: '<is> True' },
    })
  } catch (error) {
    if (!(error instanceof Conflict)) throw error // another process was first
  }
}
