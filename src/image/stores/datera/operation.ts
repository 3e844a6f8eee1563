import {
  type AppInstance,
  type ConnectedArray,
  type EdfCall,
  type EdfScope,
  findAppInstances,
} from '@emberglass/edf'
import { NotFound } from '../../../kernel/errors.ts'
import type { Logger } from '../../../kernel/log.ts'
import { imageName } from './location.ts'
import type { DateraStoreSettings } from './options.ts'

/** What every verb of the store works with, for the length of one call. */
export interface StoreOperation {
  readonly settings: DateraStoreSettings
  readonly array: ConnectedArray
  readonly tenant: string | undefined
  /** Sets CHAP before a disk is opened. */
  readonly prepare: (appInstance: AppInstance) => Promise<void>
  readonly edf: EdfCall
  readonly log: Logger
}

/** What the array remembers of an image. */
export interface ImageFacts {
  /** Exact bytes; absent while the image is being written. */
  readonly length: number | undefined
  /** MD5, hexadecimal, of all of them. Images of older versions of this store have none. */
  readonly checksum: string | undefined
  /** Whether an image store has made it. */
  readonly isImage: boolean
}

export async function imageFacts(
  scope: EdfScope,
  appInstance: AppInstance,
  call: EdfCall,
): Promise<ImageFacts> {
  const metadata = await scope.metadata(appInstance, call)
  const { checksum } = metadata
  const length = Number(metadata['length'] ?? Number.NaN)
  return {
    length: Number.isSafeInteger(length) && length >= 0 ? length : undefined,
    checksum: typeof checksum === 'string' && /^[0-9a-f]{32}$/.test(checksum) ? checksum : undefined,
    isImage: metadata['type'] === 'image',
  }
}

/**
 * The app instance of an image, by its exact name. `OS-<id>`, as older stores named it, only when its metadata say
 * that it is an image: the volume driver names cached images alike.
 */
export async function findImage(
  { array, tenant, edf }: StoreOperation,
  imageId: string,
): Promise<{ appInstance: AppInstance; facts: ImageFacts } | undefined> {
  const scope = array.client.in(tenant)
  const names = [imageName(imageId), `OS-${imageId}`]
  const found = await findAppInstances(scope, imageId, ({ name }) => names.includes(name), edf)
  for (const name of names) {
    const appInstance = found.find((each) => each.name === name)
    if (appInstance === undefined) continue
    const facts = await imageFacts(scope, appInstance, edf)
    if (name === imageName(imageId) || facts.isImage) return { appInstance, facts }
  }
  return undefined
}

/** @throws NotFound when there is no such image, or it is still being written */
export async function requireImage(
  operation: StoreOperation,
  imageId: string,
): Promise<{ appInstance: AppInstance; length: number; checksum: string | undefined }> {
  const found = await findImage(operation, imageId)
  const length = found?.facts.length
  if (found === undefined || length === undefined) {
    throw new NotFound(`Image ${imageId} is not in the store.`, { details: { imageId } })
  }
  return { appInstance: found.appInstance, length, checksum: found.facts.checksum }
}
