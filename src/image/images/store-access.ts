import type { Environment } from '../environment.ts'
import type { StoreCall } from '../image-store.ts'
import type { ConfiguredStore } from '../store-registry.ts'
import { findRow } from './queries.ts'

/**
 * Tells the stores that hold an image's data who may read it there: everybody for a public or community image, else
 * the projects that it is shared with. Only stores that keep images in their owners' projects need to know. Repeating
 * it is fine.
 * @throws BackendError, Forbidden when a store does not do it: what the image says and what it allows then differ
 */
export async function grantStoreAccess(
  environment: Environment,
  imageId: string,
  call: StoreCall,
): Promise<void> {
  const { db, stores } = environment
  if (stores.stores.every(({ store }) => store.access === undefined)) return
  const locations = await db
    .selectFrom('image_locations')
    .select(['url', 'metadata'])
    .where('image_id', '=', imageId)
    .where('status', '=', 'active')
    .execute()
  for (const { url, metadata } of locations) {
    const { store: storeId } = JSON.parse(metadata) as { store?: string } // written by this service
    const target = stores.ofLocation({ url, storeId })
    if (target !== undefined) await grantAccessIn(environment, target, imageId, url, call)
  }
}

/** The same for data that the image is about to have at a location. */
export async function grantAccessIn(
  { db }: Environment,
  { store }: ConfiguredStore,
  imageId: string,
  location: string,
  call: StoreCall,
): Promise<void> {
  if (store.access === undefined) return
  const row = await findRow(db, imageId)
  if (row === undefined) return // deleted meanwhile: the data goes as well
  const everybody = row.visibility === 'public' || row.visibility === 'community'
  const members =
    row.visibility === 'shared'
      ? await db.selectFrom('image_members').select('member').where('image_id', '=', imageId).execute()
      : []
  const projectIds = members.map(({ member }) => member).sort()
  await store.access.grant(location, { everybody, projectIds }, call)
}
