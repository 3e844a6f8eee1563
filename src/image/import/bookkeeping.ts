import { PostgresAdapter } from 'kysely'
import type { Db } from '../../kernel/db/database.ts'
import type { ImageTables } from '../db/tables.ts'

/** The properties in which an import keeps its books, visible to clients. @see image-api specification 4.4 */
export const lockProperty = 'os_glance_import_task'
export const importingProperty = 'os_glance_importing_to_stores'
export const failedProperty = 'os_glance_failed_import'
export const stageHostProperty = 'os_glance_stage_host'
export const hashHostProperty = 'os_glance_hash_op_host'

export async function readProperty(
  db: Db<ImageTables>,
  imageId: string,
  name: string,
): Promise<string | undefined> {
  const row = await db
    .selectFrom('image_properties')
    .select('value')
    .where('image_id', '=', imageId)
    .where('name', '=', name)
    .executeTakeFirst()
  return row?.value
}

export async function writeProperty(
  db: Db<ImageTables>,
  imageId: string,
  name: string,
  value: string,
): Promise<void> {
  await db
    .insertInto('image_properties')
    .values({ image_id: imageId, name, value })
    .onConflict((conflict) => conflict.columns(['image_id', 'name']).doUpdateSet({ value }))
    .execute()
}

export async function removeProperty(db: Db<ImageTables>, imageId: string, name: string): Promise<void> {
  await db.deleteFrom('image_properties').where('image_id', '=', imageId).where('name', '=', name).execute()
}

/** Takes names out of the two lists of stores, and puts others in. Call it in a transaction. */
export async function editStoreLists(
  db: Db<ImageTables>,
  imageId: string,
  edit: { done?: readonly string[]; begun?: readonly string[]; failed?: readonly string[] },
): Promise<void> {
  await lockImage(db, imageId)
  const read = async (name: string) =>
    new Set(((await readProperty(db, imageId, name)) ?? '').split(',').filter((id) => id !== ''))
  const importing = await read(importingProperty)
  const failed = await read(failedProperty)
  for (const id of edit.begun ?? []) {
    importing.add(id)
    failed.delete(id)
  }
  for (const id of [...(edit.done ?? []), ...(edit.failed ?? [])]) importing.delete(id)
  for (const id of edit.failed ?? []) failed.add(id)
  await writeProperty(db, imageId, importingProperty, [...importing].sort().join(','))
  await writeProperty(db, imageId, failedProperty, [...failed].sort().join(','))
}

/** Of several transactions that change an image, one goes on and the others wait. SQLite has one anyway. */
export async function lockImage(db: Db<ImageTables>, imageId: string): Promise<void> {
  if (!(db.getExecutor().adapter instanceof PostgresAdapter)) return
  await db.selectFrom('images').select('id').where('id', '=', imageId).forUpdate().execute()
}
