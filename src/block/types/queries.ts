import { type Selectable, type SqlBool, sql } from 'kysely'
import { NotFound } from '../../kernel/errors.ts'
import type { BlockDb } from '../context.ts'
import type { VolumeTypesTable } from '../db/tables.ts'
import type { Condition } from '../listing.ts'
import type { VolumeTypeFacts } from '../volume-driver.ts'
import type { Viewer } from '../volumes/queries.ts'

export type TypeRow = Selectable<VolumeTypesTable>

/** Strings by key, as JSON columns keep them. */
export function stringMapOf(text: string | null): Readonly<Record<string, string>> {
  return text === null ? {} : (JSON.parse(text) as Record<string, string>) // only string maps are ever written
}

/** Public types, and private ones that the project was given access to. */
export function visibleTypes(projectId: string): Condition {
  return sql<SqlBool>`(is_public = 1 or exists (select 1 from volume_type_projects as granted
    where granted.volume_type_id = volume_types.id and granted.project_id = ${projectId}))`
}

/** A type by its id. @throws NotFound also when it is private and the project has no access */
export async function getType(db: BlockDb, viewer: Viewer, id: string): Promise<TypeRow> {
  let query = db.selectFrom('volume_types').selectAll().where('id', '=', id)
  if (!viewer.isAdmin) query = query.where(visibleTypes(viewer.projectId))
  const row = await query.executeTakeFirst()
  if (row === undefined) throw new NotFound(`Volume type ${id} could not be found.`)
  return row
}

/** A type by its id or name, as bodies name it. @throws NotFound as `getType` */
export async function getTypeByIdOrName(db: BlockDb, viewer: Viewer, idOrName: string): Promise<TypeRow> {
  let query = db
    .selectFrom('volume_types')
    .selectAll()
    .where((where) => where.or([where('id', '=', idOrName), where('name', '=', idOrName)]))
  if (!viewer.isAdmin) query = query.where(visibleTypes(viewer.projectId))
  const rows = await query.execute()
  const row = rows.find((candidate) => candidate.id === idOrName) ?? rows[0]
  if (row === undefined) throw new NotFound(`Volume type with name ${idOrName} could not be found.`)
  return row
}

export async function findTypeByName(db: BlockDb, name: string): Promise<TypeRow | undefined> {
  return await db.selectFrom('volume_types').selectAll().where('name', '=', name).executeTakeFirst()
}

/** What drivers are told of a type. */
export async function typeFacts(db: BlockDb, id: string | null): Promise<VolumeTypeFacts | undefined> {
  if (id === null) return undefined
  const row = await db.selectFrom('volume_types').selectAll().where('id', '=', id).executeTakeFirst()
  if (row === undefined) return undefined
  const qosSpecs = await qosSpecsFor(db, row, 'back-end')
  return { id: row.id, name: row.name, extraSpecs: stringMapOf(row.extra_specs), qosSpecs }
}

/** The QoS specs of a type that one of the two enforces: the array (`back-end`), or the hypervisor (`front-end`). */
export async function qosSpecsFor(
  db: BlockDb,
  type: Pick<TypeRow, 'qos_specs_id'>,
  consumer: 'front-end' | 'back-end',
): Promise<Readonly<Record<string, string>>> {
  if (type.qos_specs_id === null) return {}
  const row = await db
    .selectFrom('volume_qos_specs')
    .select('specs')
    .where('id', '=', type.qos_specs_id)
    .where('consumer', 'in', [consumer, 'both'])
    .executeTakeFirst()
  return row === undefined ? {} : stringMapOf(row.specs)
}
