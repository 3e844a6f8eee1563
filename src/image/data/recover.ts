import { type Call, sleep } from '../../kernel/call.ts'
import { messageOf } from '../../kernel/errors.ts'
import type { Environment } from '../environment.ts'
import { deleteDataKind } from '../images/delete.ts'
import { lockProperty, readProperty } from '../import/bookkeeping.ts'
import type { ConfiguredStore } from '../store-registry.ts'

/** Between two looks for uploads whose process died, in milliseconds. */
const lookMs = 30_000

/**
 * Sets images back to `queued` whose upload, or whose staging, died with its process.
 * @param options.everybody also those whose sign of life has not expired: no other process can be alive
 */
export async function recoverUploads(
  environment: Environment,
  options: { everybody: boolean },
): Promise<number> {
  const mine = environment.uploads.running
  const now = environment.now().toISOString()
  let dead = environment.db
    .updateTable('images')
    .set({
      status: 'queued',
      size: null,
      virtual_size: null,
      upload_id: null,
      upload_alive_until: null,
      updated_at: now,
    })
    .where('status', 'in', ['saving', 'uploading'])
    .where('upload_id', 'is not', null) // data that is staged whole has none
  if (mine.length > 0) dead = dead.where('upload_id', 'not in', mine)
  if (!options.everybody) dead = dead.where('upload_alive_until', '<', now)
  const { numUpdatedRows } = await dead.executeTakeFirst()
  return Number(numUpdatedRows)
}

/** Looks for dead uploads until the service stops; for databases that several processes share. */
export async function keepRecovering(environment: Environment, call: Call): Promise<void> {
  while (!call.signal.aborted) {
    try {
      await sleep(lookMs, call.signal)
      const recovered = await recoverUploads(environment, { everybody: false })
      if (recovered === 0) continue
      call.log.warn({ images: recovered }, 'set images of interrupted uploads back to queued')
      for (const configured of environment.stores.stores) await sweepStore(environment, configured, call)
    } catch (error) {
      if (call.signal.aborted) return
      call.log.error({ err: error }, 'looking for interrupted uploads failed')
    }
  }
}

/** Removes what interrupted uploads left in a store. */
export async function sweepStore(
  environment: Environment,
  configured: ConfiguredStore,
  call: Call,
): Promise<void> {
  const { store } = configured
  if (store.sweep === undefined) return
  try {
    await store.sweep((imageId) => isKnown(environment, configured, imageId), call)
  } catch (error) {
    call.log.warn({ store: configured.id, error: messageOf(error) }, 'the image store could not be swept')
  }
}

/** Removes staged data that no import will ask for. */
export async function sweepStaging(environment: Environment, call: Call): Promise<void> {
  try {
    await environment.staging.sweep(async (imageId) => {
      const row = await environment.db
        .selectFrom('images')
        .select('status')
        .where('id', '=', imageId.toLowerCase())
        .where('deleted_at', 'is', null)
        .executeTakeFirst()
      return row?.status === 'uploading' || row?.status === 'importing'
    }, call)
  } catch (error) {
    call.log.warn({ error: messageOf(error) }, 'the staging area could not be swept')
  }
}

/** Does the data belong to somebody: to a location, even one that waits to be deleted, or to a running upload? */
async function isKnown(
  environment: Environment,
  configured: ConfiguredStore,
  imageId: string,
): Promise<boolean> {
  const id = imageId.toLowerCase()
  const row = await environment.db
    .selectFrom('images')
    .select('status')
    .where('id', '=', id)
    .executeTakeFirst()
  // the ids of another service that shares the storage are none of our business
  if (row === undefined || row.status === 'saving') return true
  // an import writes there now, or begins again and then removes what its last run left
  const importing = await readProperty(environment.db, id, lockProperty)
  if (importing !== undefined) return true
  const locations = await environment.db
    .selectFrom('image_locations')
    .select(['url', 'metadata'])
    .where('image_id', '=', id)
    .execute()
  return locations.some(({ url, metadata }) => {
    const { store } = JSON.parse(metadata) as { store?: string } // written by this service
    if (store !== undefined && environment.stores.byId(store) !== undefined) return store === configured.id
    // a location that names no store may be any store's that knows its scheme
    return configured.schemes.includes(url.split(':', 1)[0] ?? '')
  })
}

/** Asks again for deletions that were given up. One that is queued already finds nothing left to do. */
export async function resumeDeletions(environment: Environment): Promise<void> {
  await environment.db.transaction().execute(async (transaction) => {
    const waiting = await transaction
      .selectFrom('image_locations')
      .innerJoin('images', 'images.id', 'image_locations.image_id')
      .select('image_id')
      .distinct()
      .where('image_locations.status', '=', 'pending_delete')
      .where('images.status', '!=', 'pending_delete') // those wait for their time
      .execute()
    for (const { image_id: imageId } of waiting) {
      await environment.jobs.enqueue(transaction, deleteDataKind, {
        resource: `image:${imageId}`,
        payload: { imageId },
        requestId: 'req-00000000-0000-0000-0000-000000000000',
      })
    }
  })
}
