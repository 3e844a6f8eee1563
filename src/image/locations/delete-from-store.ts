import { Conflict, Forbidden, NotFound, Unsupported } from '../../kernel/errors.ts'
import { type Environment, type ImageRequest, requesterOf } from '../environment.ts'
import { detailed, findVisible, requireAllowed } from '../images/access.ts'
import { enqueueDataDeletion } from '../images/delete.ts'

/**
 * Deletes an image's copy in one store. The image must have another one.
 * @throws NotFound, Forbidden, Conflict as the specification's table says
 * @see image-api specification 5.8
 */
export async function deleteFromStore(
  environment: Environment,
  request: ImageRequest,
  storeId: string,
  imageId: string,
): Promise<void> {
  const { db, stores } = environment
  if (!stores.multiStore) throw new NotFound('Multi backend is not supported at this site.')
  const configured = stores.byId(storeId)
  if (configured === undefined) throw new Conflict(`The selected store ${storeId} is not available.`)
  const location = await db.transaction().execute(async (transaction) => {
    const found = await findVisible(environment, request, imageId, { db: transaction, lock: true })
    requireAllowed(environment, request, 'get_image_location', found)
    requireAllowed(environment, request, 'delete_image_location', found)
    if (found.row.status !== 'active') {
      throw new Conflict("It's not allowed to remove image data from store if image status is not 'active'")
    }
    const { locations } = await detailed(transaction, found.row)
    if (locations.length === 1) {
      throw new Forbidden(
        'Cannot delete image data from the only store containing it. Consider deleting the image instead.',
      )
    }
    const first = locations.find((candidate) => candidate.storeId === storeId)
    if (first === undefined) throw new NotFound(`Image ${imageId} is not stored in store ${storeId}.`)
    await transaction
      .updateTable('image_locations')
      .set({ status: 'pending_delete' })
      .where('id', '=', first.id)
      .execute()
    return first
  })

  const call = { signal: request.signal, log: request.log, requester: requesterOf(request) }
  const ofLocation = db.updateTable('image_locations').where('id', '=', location.id)
  try {
    const store = await stores.ready(configured, request.signal)
    await store.delete(location.url, call)
  } catch (error) {
    if (error instanceof Conflict) {
      await ofLocation.set({ status: 'active' }).execute() // the data is in use
      throw error
    }
    if (!(error instanceof Unsupported)) {
      request.log.warn(
        { imageId, store: storeId, err: error },
        'data could not be deleted yet: a job goes on',
      )
      await db
        .transaction()
        .execute((transaction) => enqueueDataDeletion(transaction, environment, imageId, request.requestId))
      return
    }
  }
  await db.deleteFrom('image_locations').where('id', '=', location.id).execute()
}
