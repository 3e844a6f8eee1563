import type { Environment } from '../environment.ts'
import { detailed } from '../images/access.ts'
import { findRow } from '../images/queries.ts'
import { storedData } from '../import/source.ts'
import type { ImageCache } from './image-cache.ts'

/** Begins to fetch an image that waits in the queue; one that is not active is taken out of it. */
export async function fetchQueued(
  environment: Environment,
  cache: ImageCache,
  imageId: string,
): Promise<void> {
  const waiting = (await cache.entries('queued')).some((entry) => entry.image_id === imageId)
  if (!waiting) return // it is there already
  const row = await findRow(environment.db, imageId)
  if (row?.status !== 'active') {
    await cache.unqueue(imageId)
    return
  }
  const image = await detailed(environment.db, row)
  cache.fetch(image, (call) => storedData(environment, image, call))
}

/** Fetches what a process before this one had not fetched yet. */
export async function resumeFetches(environment: Environment): Promise<void> {
  const { cache } = environment
  if (cache === undefined) return
  for (const entry of await cache.entries('queued')) await fetchQueued(environment, cache, entry.image_id)
}
