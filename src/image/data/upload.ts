import { randomUUID } from 'node:crypto'
import type { Bytes } from '../../kernel/bytes.ts'
import { BackendError, Conflict, Invalid, messageOf, OverQuota } from '../../kernel/errors.ts'
import { type Environment, type ImageRequest, requesterOf } from '../environment.ts'
import { gone } from '../faults.ts'
import type { PutCall, StoredImage } from '../image-store.ts'
import { detailed, findAllowed } from '../images/access.ts'
import { imageNotice } from '../images/notice.ts'
import { type ImageRow, insertLocation, requireRow } from '../images/queries.ts'
import { grantAccessIn } from '../images/store-access.ts'
import { SignatureVerifier, signatureOf } from '../signatures/verifier.ts'
import type { ConfiguredStore } from '../store-registry.ts'
import { CheckedData, type DataFacts } from './checked-data.ts'

export interface UploadRequest {
  readonly imageId: string
  readonly data: Bytes
  /** What the client announced. */
  readonly expectedBytes: number | undefined
  /** `X-Image-Meta-Store`. */
  readonly storeId: string | undefined
}

/**
 * Stores an image's data: `queued` → `saving` → `active`. Whatever goes wrong, nothing stays in the store and
 * the image is `queued` again.
 * @throws Invalid, OverQuota, NoCapacity, Unsupported, Conflict when somebody else is uploading; a gone NotFound
 *   when the image was deleted meanwhile
 * @see image-api specification 3.2, 3.3
 */
export async function uploadImage(
  environment: Environment,
  request: ImageRequest,
  upload: UploadRequest,
): Promise<void> {
  const { settings, stores } = environment
  const { imageId, expectedBytes } = upload
  if (expectedBytes !== undefined && expectedBytes > settings.imageSizeCapBytes) {
    throw new OverQuota(`The image is larger than the ${settings.imageSizeCapBytes} bytes allowed.`)
  }
  const target = stores.forUpload(upload.storeId)
  const { row } = await findAllowed(environment, request, imageId, 'upload_image')
  if (row.status === 'queued' && (row.disk_format === null || row.container_format === null)) {
    throw new Invalid('Properties disk_format, container_format must be set prior to saving data.')
  }
  await environment.quotas.checkUpload(request, expectedBytes)
  const remainingBytes = await environment.quotas.remainingBytes(row.owner, expectedBytes)
  const store = await stores.ready(target, request.signal)
  const verifier = await verifierOf(environment, request, row)

  using running = environment.uploads.begin()
  await beginSaving(environment, imageId, running.id, running.aliveUntil)
  environment.notifications.emit('image.prepare', { id: imageId, owner: row.owner, status: 'saving' })
  let location: string | undefined
  try {
    using checked = new CheckedData(
      upload.data,
      {
        diskFormat: row.disk_format ?? '',
        containerFormat: row.container_format ?? '',
        hashingAlgorithm: settings.hashingAlgorithm,
        expectedBytes,
        maxBytes: Math.min(settings.imageSizeCapBytes, remainingBytes ?? Number.POSITIVE_INFINITY),
        requireFormatMatch: settings.requireMatch,
        nonfatalGptChecks: settings.nonfatalGptChecks,
        verifier,
        log: request.log,
      },
      environment.digests,
    )
    const call: PutCall = {
      signal: request.signal,
      log: request.log,
      requester: requesterOf(request),
      diskFormat: row.disk_format ?? undefined,
      checksum: async () => (await checked.facts()).checksum,
    }
    const stored = await store.put(imageId, checked.bytes(), expectedBytes, call)
    location = stored.location
    const facts = await checked.facts()
    requireSame(stored, facts, target)
    await grantAccessIn(environment, target, imageId, location, call)
    await finishSaving(environment, imageId, running.id, target, location, facts)
    const image = await detailed(environment.db, await requireRow(environment.db, imageId))
    for (const event of ['upload', 'activate'])
      environment.notifications.emit(`image.${event}`, imageNotice(image))
    request.log.info(
      { imageId, store: target.id, sizeBytes: facts.sizeBytes, requestId: request.requestId },
      'image data stored',
    )
  } catch (error) {
    if (location !== undefined) await removeQuietly(environment, target, location, imageId)
    await backToQueued(environment, imageId, running.id)
    throw error
  }
}

/** @returns undefined for an unsigned image. @throws Invalid when the signature cannot be verified */
async function verifierOf(
  environment: Environment,
  request: ImageRequest,
  row: ImageRow,
): Promise<SignatureVerifier | undefined> {
  const { properties } = await detailed(environment.db, row)
  const facts = signatureOf(properties)
  if (facts === undefined) return undefined
  const { certificateId } = facts
  const certificate = await environment.keys.certificate(certificateId, request.token, request.signal)
  return new SignatureVerifier(facts, certificate)
}

/** @throws BackendError when the storage says that it has other bytes than it was sent */
export function requireSame(stored: StoredImage, facts: DataFacts, target: ConfiguredStore): void {
  if (stored.md5 === undefined || stored.md5 === facts.checksum) return
  throw new BackendError(`The image store ${target.id} did not keep what it was sent.`, {
    left: 'partial',
    details: { sent: facts.checksum, kept: stored.md5 },
  })
}

/** One of several uploads wins. @throws Conflict */
async function beginSaving(
  environment: Environment,
  imageId: string,
  uploadId: string,
  aliveUntil: string,
): Promise<void> {
  const begun = await environment.db
    .updateTable('images')
    .set({
      status: 'saving',
      upload_id: uploadId,
      upload_alive_until: aliveUntil,
      updated_at: environment.now().toISOString(),
    })
    .where('id', '=', imageId)
    .where('status', '=', 'queued')
    .where('deleted_at', 'is', null)
    .executeTakeFirst()
  if (begun.numUpdatedRows > 0n) return
  const present = await environment.db
    .selectFrom('images')
    .select('status')
    .where('id', '=', imageId)
    .executeTakeFirst()
  throw new Conflict(
    `Image ${imageId} is ${present?.status ?? 'gone'}: data can only be uploaded to a queued image.`,
  )
}

/** The image becomes active together with its location. @throws a gone NotFound when it was deleted meanwhile */
async function finishSaving(
  environment: Environment,
  imageId: string,
  uploadId: string,
  target: ConfiguredStore,
  location: string,
  facts: DataFacts,
): Promise<void> {
  await environment.db.transaction().execute(async (transaction) => {
    const finished = await transaction
      .updateTable('images')
      .set({
        status: 'active',
        size: facts.sizeBytes,
        virtual_size: facts.virtualSizeBytes ?? null,
        checksum: facts.checksum,
        os_hash_algo: environment.settings.hashingAlgorithm,
        os_hash_value: facts.hashValue,
        updated_at: environment.now().toISOString(),
        upload_id: null,
        upload_alive_until: null,
      })
      .where('id', '=', imageId)
      .where('status', '=', 'saving')
      .where('upload_id', '=', uploadId)
      .executeTakeFirst()
    if (finished.numUpdatedRows === 0n) throw gone(`Image ${imageId} was deleted while its data arrived.`)
    await insertLocation(transaction, {
      id: randomUUID(),
      imageId,
      position: 0,
      url: location,
      metadata: environment.stores.multiStore ? { store: target.id } : {},
    })
  })
}

/** @param from what the image is while its data arrives */
export async function backToQueued(
  environment: Environment,
  imageId: string,
  uploadId: string,
  from: 'saving' | 'uploading' = 'saving',
): Promise<void> {
  try {
    await environment.db
      .updateTable('images')
      .set({
        status: 'queued',
        size: null,
        virtual_size: null,
        upload_id: null,
        upload_alive_until: null,
        updated_at: environment.now().toISOString(),
      })
      .where('id', '=', imageId)
      .where('status', '=', from)
      .where('upload_id', '=', uploadId)
      .execute()
  } catch (error) {
    // the database is away: recovery finds the row when its sign of life has expired
    environment.log.error({ imageId, err: error }, 'an image could not be set back to queued')
  }
}

/** Removes data that no image has after all; what cannot be removed is found when the store is swept. */
export async function removeQuietly(
  environment: Environment,
  target: ConfiguredStore,
  location: string,
  imageId: string,
): Promise<void> {
  try {
    await target.store.delete(location, { signal: AbortSignal.timeout(60_000), log: environment.log })
  } catch (error) {
    environment.log.warn(
      { imageId, store: target.id, error: messageOf(error) },
      'data of a failed upload stays until the store is swept',
    )
  }
}
