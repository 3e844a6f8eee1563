import type { Insertable, Selectable } from 'kysely'
import type { BlockDb } from '../context.ts'
import type { VolumeImageCacheTable } from '../db/tables.ts'

export type CacheEntry = Selectable<VolumeImageCacheTable>

/** @param host `host@backend` */
export async function findEntry(db: BlockDb, imageId: string, host: string): Promise<CacheEntry | undefined> {
  return await db
    .selectFrom('volume_image_cache')
    .selectAll()
    .where('image_id', '=', imageId)
    .where('host', '=', host)
    .executeTakeFirst()
}

/** Of one backend, the least recently used first. */
export async function entriesOf(db: BlockDb, host: string): Promise<readonly CacheEntry[]> {
  return await db
    .selectFrom('volume_image_cache')
    .selectAll()
    .where('host', '=', host)
    .orderBy('last_used_at')
    .orderBy('id')
    .execute()
}

export async function insertEntry(db: BlockDb, row: Insertable<VolumeImageCacheTable>): Promise<void> {
  await db.insertInto('volume_image_cache').values(row).execute()
}

export async function touchEntry(db: BlockDb, id: string, now: string): Promise<void> {
  await db.updateTable('volume_image_cache').set({ last_used_at: now }).where('id', '=', id).execute()
}

export async function deleteEntry(db: BlockDb, id: string): Promise<void> {
  await db.deleteFrom('volume_image_cache').where('id', '=', id).execute()
}
