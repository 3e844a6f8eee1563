import type { Db } from '../../kernel/db/database.ts'
import { BackendError, Forbidden, Unsupported } from '../../kernel/errors.ts'
import { defineJob } from '../../kernel/jobs/job-queue.ts'
import type { ImageTables } from '../db/tables.ts'
import type { Environment, ImageRequest } from '../environment.ts'
import { removeStaged } from '../import/source.ts'
import { findAllowed, noSuchImage } from './access.ts'

/** Between two tries to delete data that its store does not let go of: doubled each time up to this, in milliseconds. */
const maxRetryMs = 60_000

type DeleteData = { imageId: string }

/** The kind of the job that removes an image's data from its stores. */
export const deleteDataKind = { kind: 'image.delete-data' } as const

/**
 * Deletes an image, in whatever state it is. It is gone for everybody at once; its data goes as a durable job.
 * @throws NotFound; Forbidden when it is protected
 * @see image-api specification 3.6
 */
export async function deleteImage(
  environment: Environment,
  request: ImageRequest,
  imageId: string,
): Promise<void> {
  await environment.db.transaction().execute(async (transaction) => {
    const { row } = await findAllowed(environment, request, imageId, 'delete_image', {
      db: transaction,
      lock: true,
    })
    if (row.protected === 1) {
      throw new Forbidden(`Image ${imageId} is protected and cannot be deleted.`)
    }
    const now = environment.now().toISOString()
    const deleted = await transaction
      .updateTable('images')
      .set({ status: 'deleted', deleted_at: now, updated_at: now, upload_id: null, upload_alive_until: null })
      .where('id', '=', imageId)
      .where('deleted_at', 'is', null)
      .executeTakeFirst()
    if (deleted.numUpdatedRows === 0n) throw noSuchImage(imageId)
    await transaction.deleteFrom('image_members').where('image_id', '=', imageId).execute()
    const located = await transaction
      .updateTable('image_locations')
      .set({ status: 'pending_delete' })
      .where('image_id', '=', imageId)
      .where('status', '=', 'active')
      .executeTakeFirst()
    if (located.numUpdatedRows > 0n) {
      await enqueueDataDeletion(transaction, environment, imageId, request.requestId)
    }
  })
  environment.running.imageDeleted(imageId)
  await removeStaged(environment, imageId)
  await environment.cache?.remove(imageId)
  request.log.info({ imageId, requestId: request.requestId }, 'image deleted')
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
          throw new BackendError(`No configured store holds data of image ${imageId}.`, {
            left: 'unknown',
            retryAfterMs: Math.min(maxRetryMs, 500 * 2 ** job.attempt),
          })
        }
        try {
          const ready = await environment.stores.ready(configured, job.signal)
          await ready.delete(url, job)
        } catch (error) {
          job.signal.throwIfAborted()
          if (error instanceof Unsupported) {
            job.log.info({ imageId, store: configured.id }, 'the store deletes nothing: the data stays')
            await environment.db.deleteFrom('image_locations').where('id', '=', id).execute()
            continue
          }
          throw new BackendError(`The data of image ${imageId} could not be deleted yet.`, {
            left: 'unknown',
            retryAfterMs: Math.min(maxRetryMs, 500 * 2 ** job.attempt),
            cause: error,
          })
        }
        await environment.db.deleteFrom('image_locations').where('id', '=', id).execute()
      }
      job.log.info({ imageId, locations: locations.length }, 'image data deleted')
    },
    async fail({ imageId }, error, job) {
      // the locations stay `pending_delete`: the next start asks for them again
      job.log.error({ imageId, err: error }, 'image data could not be deleted')
    },
  })
}
