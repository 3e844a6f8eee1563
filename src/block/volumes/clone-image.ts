import type { Call } from '../../kernel/call.ts'
import type { Job } from '../../kernel/jobs/job-queue.ts'
import type { Backend } from '../backends.ts'
import type { Block } from '../context.ts'
import { fromImageCache } from '../image-cache/from-cache.ts'
import type { ImageFacts } from '../image-service.ts'
import type { Created, NewVolume } from '../volume-driver.ts'
import { cloneOfImageVolume } from './clone-image-volume.ts'
import { openDisk } from './copy-image.ts'
import type { VolumeRow } from './queries.ts'

/**
 * A volume made of an image without copying the image: by a backend that holds it or a copy of it, or as a clone of
 * the volume that an image store keeps it in, or of a cached one.
 * @returns undefined when that cannot be: the image is then copied
 */
export async function cloneOfImage(
  block: Block,
  backend: Backend,
  wish: { volume: VolumeRow; wanted: NewVolume; imageId: string },
  job: Job,
): Promise<{ created: Created; facts: ImageFacts } | undefined> {
  const { volume, wanted, imageId } = wish
  const { imageClones, clones } = backend.driver
  if (volume.encryption_key_id !== null) return undefined
  if (imageClones === undefined && clones === undefined) return undefined
  const facts = await block.images.show(imageId, undefined, job.signal)
  if (facts.status !== 'active') return undefined
  const isOthers = facts.visibility === 'shared' && facts.ownerProjectId !== wanted.projectId
  const image = {
    ...facts,
    acceptedBy: isOthers ? await block.images.acceptedBy(imageId, job.signal) : [],
    open: async (opening: Call) =>
      await openDisk(await block.images.open(imageId, opening), facts, volume, opening),
  }
  const created =
    (await cloneOfImageVolume(block, backend, { volume, wanted, image }, job)) ??
    (await imageClones?.create(image, wanted, job)) ??
    (await fromImageCache(block, backend, { volume, wanted, image: facts }, job))
  if (created === undefined) return undefined
  job.log.info({ volumeId: volume.id, imageId }, 'image cloned to volume')
  return { created, facts }
}
