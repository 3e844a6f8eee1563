import { limitBytes } from '../../kernel/bytes.ts'
import { Conflict, Invalid, NotFound, OverQuota } from '../../kernel/errors.ts'
import type { Environment, ImageRequest } from '../environment.ts'
import { gone } from '../faults.ts'
import { findAllowed } from '../images/access.ts'
import { removeProperty, stageHostProperty, writeProperty } from '../import/bookkeeping.ts'
import { backToQueued, type UploadRequest } from './upload.ts'

/**
 * Keeps an image's data for an import that follows: `queued` → `uploading`. The data is not looked at yet.
 * Whatever goes wrong, nothing stays and the image is `queued` again.
 * @throws NotFound when the method is not enabled; Conflict, Invalid, OverQuota, NoCapacity
 * @see image-api specification 3.4
 */
export async function stageImage(
  environment: Environment,
  request: ImageRequest,
  upload: Omit<UploadRequest, 'storeId'>,
): Promise<void> {
  const { settings, staging } = environment
  const { imageId, expectedBytes } = upload
  if (!environment.importMethods.includes('glance-direct')) {
    throw new NotFound('Image import is not supported at this site.')
  }
  const maxBytes = settings.imageSizeCapBytes
  const tooLarge = () => new OverQuota(`The image is larger than the ${maxBytes} bytes allowed.`)
  if (expectedBytes !== undefined && expectedBytes > maxBytes) throw tooLarge()
  await findAllowed(environment, request, imageId, 'modify_image')
  await environment.quotas.checkStage(request, expectedBytes)

  using running = environment.uploads.begin()
  await beginStaging(environment, imageId, running.id, running.aliveUntil)
  try {
    const call = { signal: request.signal, log: request.log }
    const data = limitBytes(upload.data, maxBytes, tooLarge)
    const sizeBytes = await staging.write(imageId, data, expectedBytes, call)
    if (expectedBytes !== undefined && sizeBytes !== expectedBytes) {
      await staging.remove(imageId)
      throw new Invalid(`The data has ${sizeBytes} bytes rather than the ${expectedBytes} announced.`)
    }
    await finishStaging(environment, imageId, running.id, sizeBytes)
    request.log.info({ imageId, sizeBytes, requestId: request.requestId }, 'image data staged')
  } catch (error) {
    await backToQueued(environment, imageId, running.id, 'uploading')
    throw error
  }
}

async function beginStaging(
  environment: Environment,
  imageId: string,
  uploadId: string,
  aliveUntil: string,
): Promise<void> {
  const begun = await environment.db
    .updateTable('images')
    .set({
      status: 'uploading',
      upload_id: uploadId,
      upload_alive_until: aliveUntil,
      updated_at: environment.now().toISOString(),
    })
    .where('id', '=', imageId)
    .where('status', '=', 'queued')
    .where('deleted_at', 'is', null)
    .executeTakeFirst()
  if (begun.numUpdatedRows === 0n) {
    throw new Conflict(`Image ${imageId} is not queued: data can only be staged for a queued image.`)
  }
}

/** The data is whole: an import may begin. @throws a gone NotFound when the image was deleted meanwhile */
async function finishStaging(
  environment: Environment,
  imageId: string,
  uploadId: string,
  sizeBytes: number,
): Promise<void> {
  const { settings, staging } = environment
  const host = settings.selfReferenceUrl ?? settings.publicEndpoint
  const isThere = await environment.db.transaction().execute(async (transaction) => {
    const finished = await transaction
      .updateTable('images')
      .set({
        size: sizeBytes,
        upload_id: null,
        upload_alive_until: null,
        updated_at: environment.now().toISOString(),
      })
      .where('id', '=', imageId)
      .where('status', '=', 'uploading')
      .where('upload_id', '=', uploadId)
      .executeTakeFirst()
    if (finished.numUpdatedRows === 0n) return false
    if (host === undefined) await removeProperty(transaction, imageId, stageHostProperty)
    else await writeProperty(transaction, imageId, stageHostProperty, host)
    return true
  })
  if (isThere) return
  await staging.remove(imageId)
  throw gone(`Image ${imageId} was deleted while its data arrived.`)
}
