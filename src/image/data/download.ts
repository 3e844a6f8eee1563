import type { ByteRange, Bytes } from '../../kernel/bytes.ts'
import { Forbidden, Invalid, messageOf, NotFound } from '../../kernel/errors.ts'
import { type Environment, type ImageRequest, requesterOf } from '../environment.ts'
import { detailed, findAllowed, requireAllowed } from '../images/access.ts'
import type { Image } from '../images/queries.ts'

/** What there is to download. */
export type Download =
  | { readonly empty: true }
  | {
      readonly empty: false
      readonly image: Image
      readonly sizeBytes: number
      open(range: ByteRange | undefined): Promise<Bytes>
    }

/**
 * Finds an image's data.
 * @param prefer ids of stores to read from first, where the image has a copy there
 * @throws NotFound, Forbidden for a deactivated image or a caller without the role
 * @see image-api specification 3.5
 */
export async function downloadImage(
  environment: Environment,
  request: ImageRequest,
  imageId: string,
  prefer: readonly string[],
): Promise<Download> {
  const { stores } = environment
  const found = await findAllowed(environment, request, imageId, 'download_image')
  if (found.row.status === 'deactivated' && !request.isAdmin) {
    throw new Forbidden('The requested image has been deactivated. Image data download is forbidden.')
  }
  if (prefer.length > 0) {
    requireAllowed(environment, request, 'download_from_store', found)
    if (!stores.multiStore) throw new Invalid('Stores can only be preferred where several are configured.')
    for (const id of prefer) {
      if (stores.byId(id) === undefined) throw new Invalid(`Store ${id} is not known.`)
    }
  }
  const image = await detailed(environment.db, found.row)
  if (image.locations.length === 0) return { empty: true }
  const sizeBytes = image.size ?? 0
  const rank = (storeId: string | undefined) => {
    const index = prefer.indexOf(storeId ?? '')
    return index < 0 ? prefer.length : index
  }
  const locations = [...stores.byWeight(image.locations)].sort((a, b) => rank(a.storeId) - rank(b.storeId))
  return {
    empty: false,
    image,
    sizeBytes,
    async open(range) {
      const call = { signal: request.signal, log: request.log, requester: requesterOf(request) }
      const cache = environment.cacheSettings.onDownload ? environment.cache : undefined
      const cached = await cache?.open(image, range, call)
      if (cached !== undefined) return cached
      let failure: unknown
      for (const location of locations) {
        const configured = stores.ofLocation(location)
        if (configured === undefined) continue
        try {
          const store = await stores.ready(configured, request.signal)
          const bytes = await opened(store.get(location.url, range, call))
          return cache === undefined || range !== undefined ? bytes : cache.fillFrom(image, bytes)
        } catch (error) {
          request.signal.throwIfAborted()
          request.log.error(
            { imageId, store: configured.id, error: messageOf(error) },
            'image data could not be read from a store',
          )
          failure = error
        }
      }
      throw failure ?? new NotFound(`No configured store holds the data of image ${imageId}.`)
    },
  }
}

/** Pulls once, so that data that is not there is known before an answer begins. */
async function opened(bytes: Bytes): Promise<Bytes> {
  const iterator = bytes[Symbol.asyncIterator]()
  const first = await iterator.next()
  return (async function* () {
    try {
      let result = first
      while (result.done !== true) {
        yield result.value
        result = await iterator.next()
      }
    } finally {
      await iterator.return?.()
    }
  })()
}
