import { type ByteRange, type Bytes, MiB, watchBytes } from '../../../kernel/bytes.ts'
import type { Call } from '../../../kernel/call.ts'
import { BackendError, Conflict, NotFound } from '../../../kernel/errors.ts'
import { type SwiftClient, swiftObjectExists } from '../../../swift/client.ts'
import { deleteLargeObject, putLargeObject } from '../../../swift/large-object.ts'
import type { ImageStore, PutCall, StoreCall, StoredImage } from '../../image-store.ts'
import type { SwiftAccounts } from './accounts.ts'
import { accountLocation, containerOf, parseLocation, referenceLocation } from './location.ts'
import type { SwiftStoreSettings } from './options.ts'

const imageIdPattern = /^([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})(?:-\d{5,})?$/

/** Where an image is, with a client for it. */
interface Place extends AsyncDisposable {
  readonly client: SwiftClient
  readonly container: string
  readonly object: string
}

/**
 * Images as objects of a Swift, named by their ids; large ones in segments. Either all in one account, or each in
 * its requester's own, in a container of its own.
 */
export class SwiftStore implements ImageStore {
  readonly access: NonNullable<ImageStore['access']>
  readonly properties: Readonly<Record<string, string | number | boolean>>
  readonly #settings: SwiftStoreSettings
  readonly #accounts: SwiftAccounts
  /** Images that are being put by this process. */
  readonly #arriving = new Set<string>()
  /** Absent where images lie in containers that cannot be told. */
  readonly sweep?: NonNullable<ImageStore['sweep']>

  constructor(settings: SwiftStoreSettings, accounts: SwiftAccounts) {
    this.#settings = settings
    this.#accounts = accounts
    this.properties = {
      container: settings.container,
      large_object_size: settings.largeObjectMib,
      large_object_chunk_size: settings.segmentMib,
      multi_tenant: settings.multiTenant,
    }
    this.access = { grant: (location, readers, call) => this.#grant(location, readers, call) }
    if (!settings.multiTenant && settings.containersSeed === 0) {
      this.sweep = (isKnown, call) => this.#sweep(isKnown, call)
    }
  }

  async start(call: Call): Promise<void> {
    const { multiTenant, containersSeed, container, createContainer, defaultReference } = this.#settings
    if (multiTenant) return
    const client = this.#accounts.ofReference(defaultReference)
    try {
      await client.headContainer(container, call)
    } catch (error) {
      if (!(error instanceof NotFound)) throw error
      if (!createContainer && containersSeed === 0) throw noContainer(container)
    }
  }

  async put(
    imageId: string,
    data: Bytes,
    sizeBytes: number | undefined,
    call: PutCall,
  ): Promise<StoredImage> {
    call.signal.throwIfAborted()
    if (this.#arriving.has(imageId)) throw alreadyThere(imageId)
    this.#arriving.add(imageId)
    try {
      return this.#settings.multiTenant
        ? await this.#putForRequester(imageId, data, sizeBytes, call)
        : await this.#putInAccount(imageId, data, sizeBytes, call)
    } finally {
      this.#arriving.delete(imageId)
    }
  }

  async *get(location: string, range: ByteRange | undefined, call: StoreCall): Bytes {
    await using place = this.#find(location, call)
    yield* place.client.getObject(place.container, place.object, range, call)
  }

  async size(location: string, call: StoreCall): Promise<number> {
    await using place = this.#find(location, call)
    return (await place.client.headObject(place.container, place.object, call)).sizeBytes
  }

  async delete(location: string, call: StoreCall): Promise<void> {
    await using place = this.#find(location, call)
    const { client, container, object } = place
    await deleteLargeObject(client, container, object, call)
    if (container === `${this.#settings.container}_${object}`) await client.deleteContainer(container, call)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#accounts[Symbol.asyncDispose]()
  }

  async #putInAccount(
    imageId: string,
    data: Bytes,
    sizeBytes: number | undefined,
    call: Call,
  ): Promise<StoredImage> {
    const { container: prefix, containersSeed, createContainer, defaultReference } = this.#settings
    const client = this.#accounts.ofReference(defaultReference)
    const container = containerOf(prefix, imageId, containersSeed)
    if (createContainer) await client.putContainer(container, {}, call)
    const location = referenceLocation(defaultReference, container, imageId)
    return { location, ...(await this.#keep(client, container, imageId, data, sizeBytes, call)) }
  }

  async #putForRequester(
    imageId: string,
    data: Bytes,
    sizeBytes: number | undefined,
    call: PutCall,
  ): Promise<StoredImage> {
    await using client = this.#accounts.ofRequester(call.requester, undefined)
    const container = `${this.#settings.container}_${imageId}`
    const { adminTenants } = this.#settings
    const writers: Record<string, string> =
      adminTenants.length === 0 ? {} : { 'x-container-write': adminTenants.map(everyUserOf).join(',') }
    await client.putContainer(container, writers, call)
    const storageUrl = await client.storageUrl(call)
    try {
      const kept = await this.#keep(client, container, imageId, data, sizeBytes, call)
      return { location: accountLocation(storageUrl, container, imageId), ...kept }
    } catch (error) {
      const cleaning: Call = { signal: AbortSignal.timeout(60_000), log: call.log }
      await client.deleteContainer(container, cleaning).catch(() => {}) // one with the first image in it stays
      throw error
    }
  }

  async #keep(
    client: SwiftClient,
    container: string,
    imageId: string,
    data: Bytes,
    sizeBytes: number | undefined,
    call: Call,
  ): Promise<Omit<StoredImage, 'location'>> {
    const { largeObjectMib, segmentMib, bufferOnUpload, bufferDirectory } = this.#settings
    const source = watchBytes(data)
    try {
      if (await swiftObjectExists(client, container, imageId, call)) throw alreadyThere(imageId)
      if (sizeBytes !== undefined && sizeBytes < largeObjectMib * MiB) {
        const md5 = await client.putObject(container, imageId, source.bytes, { sizeBytes }, call)
        return { sizeBytes, md5 }
      }
      const object = {
        container,
        name: imageId,
        segmentBytes: segmentMib * MiB,
        manifest: 'dynamic',
        spoolDirectory: bufferOnUpload ? bufferDirectory : undefined,
        sizeBytes,
      } as const
      return { sizeBytes: await putLargeObject(client, object, source.bytes, call) }
    } catch (error) {
      if (!source.threw(error) && error instanceof NotFound) throw noContainer(container)
      throw error
    }
  }

  #find(location: string, call: StoreCall): Place {
    const found = parseLocation(location)
    const { container, object } = found
    if (found.kind === 'account') {
      const client = this.#accounts.ofRequester(call.requester, found.storageUrl)
      return { client, container, object, [Symbol.asyncDispose]: () => client[Symbol.asyncDispose]() }
    }
    const client =
      found.kind === 'reference'
        ? this.#accounts.ofReference(found.reference)
        : this.#accounts.ofCredentials(found.authUrl, found.user, found.key)
    return { client, container, object, [Symbol.asyncDispose]: async () => {} }
  }

  async #grant(
    location: string,
    readers: { readonly everybody: boolean; readonly projectIds: readonly string[] },
    call: StoreCall,
  ): Promise<void> {
    const found = parseLocation(location)
    if (found.kind !== 'account') return // one account for all images: only we read it
    await using place = this.#find(location, call)
    const headers = {
      'x-container-read': readers.everybody ? '*:*' : readers.projectIds.map(everyUserOf).join(','),
      'x-container-write': this.#settings.adminTenants.map(everyUserOf).join(','),
    }
    await place.client.postContainer(place.container, headers, call)
  }

  async #sweep(isKnown: (imageId: string) => Promise<boolean>, call: Call): Promise<void> {
    const { container, defaultReference } = this.#settings
    const client = this.#accounts.ofReference(defaultReference)
    try {
      for await (const { name } of client.list(container, '', call)) {
        const imageId = imageIdPattern.exec(name)?.[1]
        if (imageId === undefined || this.#arriving.has(imageId) || (await isKnown(imageId))) continue
        call.log.info({ imageId, object: name }, 'removing what an interrupted upload left')
        await client.deleteObject(container, name, call)
      }
    } catch (error) {
      if (!(error instanceof NotFound)) throw error // no container yet: nothing to sweep
    }
  }
}

/** An entry of a container's access list. */
function everyUserOf(projectId: string): string {
  return `${projectId}:*`
}

function noContainer(container: string): BackendError {
  return new BackendError(
    `The container ${container} is not there, and swift_store_create_container_on_put is off.`,
    { left: 'nothing' },
  )
}

function alreadyThere(imageId: string): Conflict {
  return new Conflict(`Image ${imageId} is in the store already.`, { details: { imageId } })
}
