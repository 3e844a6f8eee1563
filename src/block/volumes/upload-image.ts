import { randomUUID } from 'node:crypto'
import type { Static } from 'typebox'
import { Invalid } from '../../kernel/errors.ts'
import { type Block, enqueue } from '../context.ts'
import { InvalidState } from '../errors.ts'
import { wireDate } from '../links.ts'
import type { BlockRequest } from '../operation.ts'
import { authorize } from '../policy.ts'
import { getType, stringMapOf } from '../types/queries.ts'
import { booleanOf, type LaxBoolean } from '../validation.ts'
import { keyProperties } from './encryption-key.ts'
import { getVolume, lockVolume, updateVolume, type VolumeRow } from './queries.ts'

/** What `os-volume_upload_image` has under its key. */
export interface UploadImage {
  readonly image_name: string
  readonly force?: Static<typeof LaxBoolean>
  readonly disk_format?: string
  readonly container_format?: string | null
  readonly visibility?: string
  readonly protected?: Static<typeof LaxBoolean>
}

/** What the job is told; everything else is in the volume's row. */
export interface UploadImagePayload {
  readonly [key: string]: string
  readonly volumeId: string
  readonly imageId: string
  readonly diskFormat: string
}

/** Properties that no image may be given by others. */
const reservedProperty = /^(os_glance_|img_signature)/
/** What is known of the volume's own image only. */
const ofTheVolume = ['signature_verified']

/**
 * Makes an image, still without data, and records the job that sends the volume's bytes to it.
 * @returns what the API answers
 * @throws NotFound, Forbidden, InvalidState, Invalid @see block-storage-api specification 5.8
 */
export async function uploadToImage(
  block: Block,
  request: BlockRequest,
  id: string,
  body: UploadImage,
): Promise<object> {
  const volume = await getVolume(block.db, request, id)
  authorize(request.identity, 'volume_extension:volume_actions:upload_image', volume.project_id)
  if (request.minor >= 1 && body.visibility === 'public') {
    authorize(request.identity, 'volume_extension:volume_actions:upload_public', volume.project_id)
  }
  const diskFormat = body.disk_format ?? 'raw'
  const containerFormat = body.container_format ?? 'bare'
  const visibility = body.visibility ?? 'private'
  const isProtected = booleanOf(body.protected ?? false)
  const force = block.settings.enableForceUpload && booleanOf(body.force ?? false)
  checkUpload(volume, force, { diskFormat, containerFormat })
  if (diskFormat !== 'raw' && block.settings.imageConversionDisable) {
    throw new Invalid('Image conversion is disabled: only raw images can be made of volumes.')
  }
  const imageId = randomUUID()
  await block.images.create(
    {
      ...customProperties(block, volume),
      ...keyProperties(volume),
      id: imageId,
      name: body.image_name,
      disk_format: diskFormat,
      container_format: containerFormat,
      ...(request.minor >= 1 ? { visibility, protected: isProtected } : {}),
    },
    request.token,
    request.signal,
  )
  try {
    await block.db.transaction().execute(async (transaction) => {
      const locked = await lockVolume(transaction, request, id)
      checkUpload(locked, force, { diskFormat, containerFormat })
      await updateVolume(transaction, id, {
        status: 'uploading',
        previous_status: locked.status,
        updated_at: block.now().toISOString(),
      })
      const payload: UploadImagePayload = { volumeId: id, imageId, diskFormat }
      await enqueue(block, transaction, 'volume.upload', {
        resource: `volume:${id}`,
        payload,
        requestId: request.requestId,
      })
    })
  } catch (error) {
    await block.images.delete(imageId, undefined, request.signal)
    throw error
  }
  const shown = await getVolume(block.db, request, id)
  return {
    id,
    updated_at: wireDate(shown.updated_at),
    status: 'uploading',
    display_description: volume.description,
    size: volume.size_gib,
    volume_type: await typeOf(block, volume),
    image_id: imageId,
    container_format: containerFormat,
    disk_format: diskFormat,
    image_name: body.image_name,
    ...(request.minor >= 1 ? { visibility, protected: isProtected } : {}),
  }
}

function checkUpload(
  volume: VolumeRow,
  force: boolean,
  wanted: { diskFormat: string; containerFormat: string },
): void {
  const allowed = force ? ['available', 'in-use'] : ['available']
  if (!allowed.includes(volume.status)) {
    throw new InvalidState(
      `Invalid volume: Volume ${volume.id} status must be ${allowed.join(' or ')} to upload it as an image, but it is ${volume.status}.`,
    )
  }
  const isPlain = wanted.diskFormat === 'raw' && wanted.containerFormat === 'bare'
  if (volume.encryption_key_id !== null && !isPlain) {
    throw new Invalid(
      "Invalid input received: An encrypted volume uploaded as an image must use 'bare' container_format and 'raw' disk_format, which are the default options.",
    )
  }
}

/** What the image inherits of the image that the volume was made of. */
function customProperties(block: Block, volume: VolumeRow): Readonly<Record<string, string>> {
  const known = stringMapOf(volume.image_metadata)
  const core = [...block.settings.glanceCoreProperties, ...ofTheVolume]
  return Object.fromEntries(
    Object.entries(known).filter(([key]) => !core.includes(key) && !reservedProperty.test(key)),
  )
}

async function typeOf(block: Block, volume: VolumeRow): Promise<object | null> {
  if (volume.volume_type_id === null) return null
  const type = await getType(block.db, { projectId: '', isAdmin: true }, volume.volume_type_id)
  return {
    id: type.id,
    name: type.name,
    description: type.description,
    is_public: type.is_public === 1,
    extra_specs: stringMapOf(type.extra_specs),
    qos_specs_id: type.qos_specs_id,
    created_at: wireDate(type.created_at),
    updated_at: wireDate(type.updated_at),
    deleted: false,
    deleted_at: null,
  }
}
