import { randomUUID } from 'node:crypto'
import type { Db } from '../../kernel/db/database.ts'
import type { ImageTables } from '../db/tables.ts'
import type { Environment, ImageRequest } from '../environment.ts'
import { enqueueDataDeletion } from '../images/delete.ts'
import { insertLocation } from '../images/queries.ts'
import type { DraftLocation } from './patch.ts'

/**
 * Makes an image's locations what a patch has made of them; data that no location names any more is deleted by a
 * job once the transaction has committed.
 */
export async function saveLocations(
  transaction: Db<ImageTables>,
  environment: Environment,
  request: ImageRequest,
  imageId: string,
  locations: readonly DraftLocation[],
): Promise<void> {
  const kept = new Set(locations.flatMap(({ id }) => (id === undefined ? [] : [id])))
  const present = await transaction
    .selectFrom('image_locations')
    .select('id')
    .where('image_id', '=', imageId)
    .where('status', '=', 'active')
    .execute()
  const removed = present.filter(({ id }) => !kept.has(id)).map(({ id }) => id)
  if (removed.length > 0) {
    await transaction
      .updateTable('image_locations')
      .set({ status: 'pending_delete' })
      .where('id', 'in', removed)
      .execute()
    await enqueueDataDeletion(transaction, environment, imageId, request.requestId)
  }
  for (const [position, { id, url, metadata }] of locations.entries()) {
    if (id === undefined) {
      await insertLocation(transaction, { id: randomUUID(), imageId, position, url, metadata })
    } else {
      await transaction
        .updateTable('image_locations')
        .set({ position, metadata: JSON.stringify(metadata) })
        .where('id', '=', id)
        .execute()
    }
  }
}
