import { findAppInstances, onlyVolume, tenantOf } from '@emberglass/edf'
import { GiB } from '../../../kernel/bytes.ts'
import { Invalid, messageOf, Unsupported } from '../../../kernel/errors.ts'
import { type CloneableImage, type Created, isImageOpenTo, type NewVolume } from '../../volume-driver.ts'
import { copyVolume } from './copy-volume.ts'
import { cachedImage } from './image-cache.ts'
import type { Found } from './lookup.ts'
import { type Operation, scopeOf } from './operation.ts'
import { volumePolicy } from './policies.ts'
import { sizeInGib } from './provision.ts'

/**
 * A volume made of an image by cloning: of the image itself, when the image store keeps it in the same tenant of this
 * array, or of a copy that the driver keeps.
 * @returns undefined when neither can be: the image then goes the long way
 * @see Datera drivers specification, section 4.19
 */
export async function cloneImage(
  operation: Operation,
  image: CloneableImage,
  volume: NewVolume,
): Promise<Created | undefined> {
  if (!isImageOpenTo(image, volume.projectId)) {
    operation.log.warn({ imageId: image.id }, 'the image is not open to the project: it is not cloned')
    return undefined
  }
  if (image.diskFormat !== 'raw' || image.sizeBytes === undefined) return undefined
  if (Math.ceil(image.sizeBytes / GiB) > sizeInGib(volume.sizeBytes)) return undefined
  // What comes from a template cannot be a clone as well.
  const policy = volumePolicy(operation.checked.policy, volume.type, () => {})
  if (policy.template !== '') return undefined
  const tenant = tenantOf(operation.checked.tenant, volume.projectId)
  const source =
    (await storedImage(operation, tenant, image)) ?? (await cachedImage(operation, tenant, image))
  if (source === undefined || onlyVolume(source.appInstance).volume.size > sizeInGib(volume.sizeBytes)) {
    return undefined
  }
  const { path } = onlyVolume(source.appInstance).volume
  try {
    return await copyVolume(operation, source, volume, { clone_volume_src: { path } })
  } catch (error) {
    if (!(error instanceof Unsupported) && !(error instanceof Invalid)) throw error
    operation.log.warn({ imageId: image.id, error: messageOf(error) }, 'the image cannot be cloned')
    return undefined
  }
}

/** The image where the image store has put it, complete. */
async function storedImage(
  operation: Operation,
  tenant: string | undefined,
  image: CloneableImage,
): Promise<Found | undefined> {
  const scope = scopeOf(operation, tenant)
  const name = `OS-IMAGE-${image.id}`
  const [appInstance] = await findAppInstances(scope, name, (each) => each.name === name, operation.edf)
  if (appInstance === undefined) return undefined
  const { type, length } = await scope.metadata(appInstance, operation.edf)
  const complete = type === 'image' && Number(length) === image.sizeBytes
  return complete ? { tenant, scope, appInstance } : undefined
}
