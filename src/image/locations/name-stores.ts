import type { Environment } from '../environment.ts'
import type { ConfiguredStore } from '../store-registry.ts'

/**
 * Gives locations from the days when stores had no names the name of the store that holds them, once it has
 * started. `updated_at` stays: nothing about the images has changed. What no store claims stays as it is, and is
 * read by whichever store knows its scheme.
 * @see image-api specification 5.9
 */
export async function nameLocations(environment: Environment, configured: ConfiguredStore): Promise<void> {
  const { db, stores } = environment
  if (!stores.multiStore) return
  const rows = await db
    .selectFrom('image_locations')
    .select(['id', 'url', 'metadata'])
    .where('metadata', 'not like', '%"store":%')
    .where((locations) =>
      locations.or(configured.schemes.map((scheme) => locations('url', 'like', `${scheme}:%`))),
    )
    .execute()
  const others = stores.stores.filter(
    (store) => store !== configured && store.schemes.some((scheme) => configured.schemes.includes(scheme)),
  )
  let named = 0
  for (const { id, url, metadata } of rows) {
    const isOurs = configured.store.owns?.(url) ?? others.length === 0
    if (!isOurs) continue
    await db
      .updateTable('image_locations')
      .set({ metadata: JSON.stringify({ ...JSON.parse(metadata), store: configured.id }) })
      .where('id', '=', id)
      .execute()
    named += 1
  }
  if (named > 0)
    environment.log.info({ store: configured.id, locations: named }, 'old locations name their store')
}
