import { messageOf } from '../../kernel/errors.ts'
import type { Job } from '../../kernel/jobs/job-queue.ts'
import type { Backend } from '../backends.ts'
import type { Block } from '../context.ts'
import { backendOf } from '../scheduler/pools.ts'
import { stringMapOf } from '../types/queries.ts'
import { type CloneableImage, type Created, isImageOpenTo, type NewVolume } from '../volume-driver.ts'
import { backendVolume } from './backend-facts.ts'
import { findVolume, type VolumeRow } from './queries.ts'

const imageVolumeLocation = /^cinder:\/\/(?:[^/]+\/)?([0-9a-f-]{36})$/

/**
 * A volume made of an image that an image store keeps as a volume of this service, as a clone of that volume. An
 * image can be told to lie anywhere, so the volume has to say itself, too, that it is this image.
 * @returns undefined when there is no such volume on the backend: the image is then copied
 * @see image-api specification 6.7, Bootable volumes and boot from volume
 */
export async function cloneOfImageVolume(
  block: Block,
  backend: Backend,
  wish: { readonly volume: VolumeRow; readonly wanted: NewVolume; readonly image: CloneableImage },
  job: Job,
): Promise<Created | undefined> {
  const { volume, wanted, image } = wish
  const { clones } = backend.driver
  if (clones === undefined || image.diskFormat !== 'raw' || image.containerFormat !== 'bare') return undefined
  if (!isImageOpenTo(image, wanted.projectId)) return undefined
  for (const url of image.locations) {
    const id = imageVolumeLocation.exec(url)?.[1]
    const source = id === undefined ? undefined : await findVolume(block.db, id)
    if (source === undefined || !holdsImage(source, image)) continue
    if (backendOf(source.host ?? '') !== backend.host || source.size_gib > volume.size_gib) continue
    try {
      return await clones.create(await backendVolume(block.db, block.settings, source), wanted, job)
    } catch (error) {
      if (job.signal.aborted) throw error
      job.log.warn(
        { imageId: image.id, volumeId: id, error: messageOf(error) },
        'an image volume was not cloned',
      )
    }
  }
  return undefined
}

/** Whether a volume is the whole of an image, as an image store has left it. */
function holdsImage(volume: VolumeRow, image: CloneableImage): boolean {
  const metadata = stringMapOf(volume.metadata)
  return (
    volume.status === 'available' &&
    volume.encryption_key_id === null &&
    metadata['glance_image_id'] === image.id &&
    metadata['image_size'] === String(image.sizeBytes)
  )
}
