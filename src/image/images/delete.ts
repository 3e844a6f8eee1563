import type { Db } from '../../kernel/db/database.ts'
import { BackendError, Conflict, Forbidden, messageOf, Unsupported } from '../../kernel/errors.ts'
import { defineJob } from '../../kernel/jobs/job-queue.ts'
import type { ImageTables } from '../db/tables.ts'
import { type Environment, type ImageRequest, requesterOf } from '../environment.ts'
import type { StoreCall } from '../image-store.ts'
import { removeStaged } from '../import/source.ts'
import { detailed, findAllowed } from './access.ts'
import type { Image, ImageRow } from './queries.ts'

/** Between two tries to delete data that its store does not let go of: doubled each time up to this, in milliseconds. */
const maxRetryMs = 60_000

type DeleteData = { imageId: string }

/** The kind of the job that removes an image's data from its stores. */
export const deleteDataKind = { kind: 'image.delete-data' } as const

/** How long a request waits for the stores to let go of the data before a job goes on, in milliseconds. */
const patienceMs = 20_000

/**
 * Deletes an image, in whatever state it is. Its data goes at once, or later as a durable job where a store is
 * away, or where deletion is delayed.
 * @returns the image as it was, deleted
 * @throws NotFound; Forbidden when it is protected; Conflict when its data is in use, and then nothing has changed
 * @see image-api specification 3.6
 */
export async function deleteImage(
  environment: Environment,
  request: ImageRequest,
  imageId: string,
): Promise<Image> {
  const { settings } = environment
  const { row, located } = await markDeleted(environment, request, imageId)
  environment.running.imageDeleted(imageId)
  if (located && row.status !== 'pending_delete') await deleteNow(environment, request, row)
  await environment.db.deleteFrom('image_members').where('image_id', '=', imageId).execute()
  await removeStaged(environment, imageId)
  await environment.cache?.remove(imageId)
  await deleteEncryptionKey(environment, request, row)
  const delayed = located && settings.delayedDelete
  request.log.info({ imageId, delayed, requestId: request.requestId }, 'image deleted')
  return await detailed(environment.db, {
    ...row,
    status: 'deleted',
    deleted_at: environment.now().toISOString(),
  })
}

/** The key of an encrypted volume goes with the image where the image says so; a failure is only logged. */
async function deleteEncryptionKey(
  environment: Environment,
  request: ImageRequest,
  row: ImageRow,
): Promise<void> {
  const { properties } = await detailed(environment.db, row)
  const keyId = properties['cinder_encryption_key_id']
  if (keyId === undefined) return
  if (properties['cinder_encryption_key_deletion_policy'] !== 'on_image_deletion') return
  await environment.keys.deleteKey(keyId, request.token, request.signal).catch((error: unknown) => {
    request.log.warn({ imageId: row.id, error: messageOf(error) }, 'the key of an image could not be deleted')
  })
}

/** @returns the row as it was before, and whether there is data */
async function markDeleted(
  environment: Environment,
  request: ImageRequest,
  imageId: string,
): Promise<{ row: ImageRow; located: boolean }> {
  const { delayedDelete, scrubSeconds } = environment.settings
  return await environment.db.transaction().execute(async (transaction) => {
    const options = { db: transaction, lock: true }
    const { row } = await findAllowed(environment, request, imageId, 'delete_image', options)
    if (row.protected === 1) {
      throw new Forbidden(`Image ${imageId} is protected and cannot be deleted.`)
    }
    const { numUpdatedRows } = await transaction
      .updateTable('image_locations')
      .set({ status: 'pending_delete' })
      .where('image_id', '=', imageId)
      .where('status', '=', 'active')
      .executeTakeFirst()
    const located = numUpdatedRows > 0n
    const isDelayed = located && delayedDelete
    const now = environment.now().toISOString()
    await transaction
      .updateTable('images')
      .set({
        status: isDelayed ? 'pending_delete' : 'deleted',
        deleted_at: now,
        updated_at: now,
        upload_id: null,
        upload_alive_until: null,
      })
      .where('id', '=', imageId)
      .execute()
    if (isDelayed) {
      await environment.jobs.enqueue(transaction, deleteDataKind, {
        resource: `image:${imageId}`,
        payload: { imageId } satisfies DeleteData,
        requestId: request.requestId,
        delayMs: scrubSeconds * 1000,
      })
    }
    return { row: isDelayed ? { ...row, status: 'pending_delete' } : row, located }
  })
}

/** Removes the data while the client waits; a job goes on with what cannot be removed yet. @throws Conflict */
async function deleteNow(environment: Environment, request: ImageRequest, row: ImageRow): Promise<void> {
  const signal = AbortSignal.timeout(patienceMs)
  try {
    await deleteLocations(environment, row.id, { signal, log: request.log, requester: requesterOf(request) })
  } catch (error) {
    if (error instanceof Conflict && (await undelete(environment, row))) throw error
    request.log.warn(
      { imageId: row.id, error: messageOf(error) },
      'data could not be deleted yet: a job goes on',
    )
    await environment.db
      .transaction()
      .execute((transaction) => enqueueDataDeletion(transaction, environment, row.id, request.requestId))
  }
}

/** The data is in use: the image is what it was. @returns false when a part of the data is gone already */
async function undelete(environment: Environment, row: ImageRow): Promise<boolean> {
  return await environment.db.transaction().execute(async (transaction) => {
    const { numUpdatedRows } = await transaction
      .updateTable('image_locations')
      .set({ status: 'active' })
      .where('image_id', '=', row.id)
      .where('status', '=', 'pending_delete')
      .executeTakeFirst()
    if (numUpdatedRows === 0n) return false
    const { status, updated_at } = row
    await transaction
      .updateTable('images')
      .set({ status, deleted_at: null, updated_at })
      .where('id', '=', row.id)
      .execute()
    return true
  })
}

/** Has a job remove the data of all locations that wait for it. They are `pending_delete` in the same transaction. */
export async function enqueueDataDeletion(
  transaction: Db<ImageTables>,
  environment: Pick<Environment, 'jobs'>,
  imageId: string,
  requestId: string,
): Promise<void> {
  await environment.jobs.enqueue(transaction, deleteDataKind, {
    resource: `image:${imageId}`,
    payload: { imageId } satisfies DeleteData,
    requestId,
  })
}

/** Removes data that is not wanted any more from its stores, for as long as it takes. */
export function deleteDataJob(environment: Environment) {
  return defineJob<DeleteData>({
    ...deleteDataKind,
    maxAttempts: 100,
    async run({ imageId }, job) {
      try {
        await deleteLocations(environment, imageId, job)
      } catch (error) {
        job.signal.throwIfAborted()
        throw new BackendError(`The data of image ${imageId} could not be deleted yet.`, {
          left: 'unknown',
          retryAfterMs: Math.min(maxRetryMs, 500 * 2 ** job.attempt),
          cause: error,
        })
      }
      await environment.db
        .updateTable('images')
        .set({ status: 'deleted' })
        .where('id', '=', imageId)
        .where('status', '=', 'pending_delete')
        .execute()
      job.log.info({ imageId }, 'image data deleted')
    },
    async fail({ imageId }, error, job) {
      // the locations stay `pending_delete`: the next start asks for them again
      job.log.error({ imageId, err: error }, 'image data could not be deleted')
    },
  })
}

/**
 * Removes the data of every location that waits for it. A store that deletes nothing keeps what it has.
 * @throws Conflict when the data is in use; whatever else a store says
 */
async function deleteLocations(environment: Environment, imageId: string, call: StoreCall): Promise<void> {
  const locations = await environment.db
    .selectFrom('image_locations')
    .select(['id', 'url', 'metadata'])
    .where('image_id', '=', imageId)
    .where('status', '=', 'pending_delete')
    .execute()
  for (const { id, url, metadata } of locations) {
    const { store } = JSON.parse(metadata) as { store?: string } // written by this service
    const configured = environment.stores.ofLocation({ url, storeId: store })
    if (configured === undefined) {
      throw new BackendError(`No configured store holds data of image ${imageId}.`, { left: 'unknown' })
    }
    try {
      const ready = await environment.stores.ready(configured, call.signal)
      await ready.delete(url, call)
    } catch (error) {
      if (!(error instanceof Unsupported)) throw error
      call.log.info({ imageId, store: configured.id }, 'the store deletes nothing: the data stays')
    }
    await environment.db.deleteFrom('image_locations').where('id', '=', id).execute()
  }
}
