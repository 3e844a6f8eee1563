import { type Bytes, counted } from '../../kernel/bytes.ts'
import { BackendError, messageOf, NotFound } from '../../kernel/errors.ts'
import type { Environment } from '../environment.ts'
import type { StoreCall } from '../image-store.ts'
import type { Image } from '../images/queries.ts'

/** What plugins put behind the image's id, to name what they have made of its data. */
export const stagedSteps = ['decompressed', 'converted'] as const

/** Removes whatever is staged for an image. Already gone: fine. */
export async function removeStaged(environment: Environment, imageId: string): Promise<void> {
  for (const name of [imageId, ...stagedSteps.map((step) => `${imageId}.${step}`)]) {
    await environment.staging.remove(name).catch((error: unknown) => {
      environment.log.warn({ imageId, error: messageOf(error) }, 'staged data could not be removed')
    })
  }
}

/**
 * Data from the image's own stores, for a copy: from the default store where it is there, else by weight. A store
 * that fails before the first byte is passed over.
 * @throws NotFound, BackendError
 */
export async function* storedData(environment: Environment, image: Image, call: StoreCall): Bytes {
  const { stores } = environment
  const locations = [...stores.byWeight(image.locations)].sort(
    (a, b) => Number(b.storeId === stores.default.id) - Number(a.storeId === stores.default.id),
  )
  let failure: unknown
  for (const location of locations) {
    const configured = stores.ofLocation(location)
    if (configured === undefined) continue
    let begun = false
    try {
      const store = await stores.ready(configured, call.signal)
      yield* counted(store.get(location.url, undefined, call), () => {
        begun = true
      })
      return
    } catch (error) {
      call.signal.throwIfAborted()
      if (begun) throw error
      call.log.warn(
        { imageId: image.id, store: configured.id, error: messageOf(error) },
        'a store could not be copied from',
      )
      failure = error
    }
  }
  throw failure instanceof NotFound || failure === undefined
    ? new BackendError('The data of the image is in none of its stores.', { left: 'nothing', cause: failure })
    : failure
}
