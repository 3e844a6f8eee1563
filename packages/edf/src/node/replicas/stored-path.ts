import type { Database } from '../database/database.ts'

/** A volume or snapshot as the REST API names it. */
export interface StoredPath {
  readonly path: string
  readonly tenant: string
}

/** What the store calls `id`; undefined when the metadata know nothing of it. */
export function storedPath(database: Database, id: string): StoredPath | undefined {
  return database.get<StoredPath>(
    `SELECT '/app_instances/' || ai.id || '/storage_instances/' || si.name || '/volumes/' || volume.name
       || coalesce('/snapshots/' || snapshot.utc_ts, '') AS path, ai.tenant
     FROM volume JOIN storage_instance si ON si.uuid = volume.storage_instance
     JOIN app_instance ai ON ai.id = si.app_instance
     LEFT JOIN snapshot ON snapshot.volume = volume.store_id AND snapshot.store_id = ?1
     WHERE volume.store_id = ?1 OR snapshot.store_id = ?1`,
    id,
  )
}
