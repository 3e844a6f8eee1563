import { type ByteRange, type Bytes, watchBytes } from '../../../kernel/bytes.ts'
import type { Call } from '../../../kernel/call.ts'
import { BackendError, Conflict, Invalid, NotFound } from '../../../kernel/errors.ts'
import type { S3Client } from '../../../s3/client.ts'
import { abortUploads, putStream } from '../../../s3/put-stream.ts'
import type { ImageStore, StoredImage } from '../../image-store.ts'
import { formatLocation, parseLocation, type S3Location } from './location.ts'

const imageIdPattern = /^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$/

export interface S3StoreSettings {
  /** Host and port, as they stand in locations. */
  readonly host: string
  readonly secure: boolean
  readonly bucket: string
  readonly createBucket: boolean
  readonly largeBytes: number
  readonly partBytes: number
  readonly parallelParts: number
}

/** Images as objects of one bucket, named by their ids. */
export class S3Store implements ImageStore {
  readonly properties: Readonly<Record<string, string | number>>
  readonly #settings: S3StoreSettings
  readonly #client: S3Client
  /** Images that are being put by this process. */
  readonly #arriving = new Set<string>()

  constructor(settings: S3StoreSettings, client: S3Client) {
    this.#settings = settings
    this.#client = client
    this.properties = {
      s3_store_large_object_size: settings.largeBytes,
      s3_store_large_object_chunk_size: settings.partBytes,
      s3_store_thread_pools: settings.parallelParts,
    }
  }

  async start(call: Call): Promise<void> {
    const { bucket, createBucket } = this.#settings
    try {
      await this.#client.headBucket(bucket, call)
    } catch (error) {
      if (!(error instanceof NotFound)) throw error
      if (!createBucket) throw noBucket(bucket)
    }
  }

  async put(imageId: string, data: Bytes, sizeBytes: number | undefined, call: Call): Promise<StoredImage> {
    call.signal.throwIfAborted()
    if (this.#arriving.has(imageId)) throw alreadyThere(imageId)
    this.#arriving.add(imageId)
    const { host, secure, bucket, largeBytes, partBytes, parallelParts: parallel } = this.#settings
    const source = watchBytes(data)
    try {
      await this.#ensureBucket(call)
      if (await this.#client.exists(bucket, imageId, call)) throw alreadyThere(imageId)
      const stream = { bucket, key: imageId, sizeBytes, largeBytes, partBytes, parallel }
      const kept = await putStream(this.#client, stream, source.bytes, call)
      return {
        location: formatLocation(secure, host, bucket, imageId),
        sizeBytes: kept.sizeBytes,
        ...(kept.etag !== undefined && /^[0-9a-f]{32}$/.test(kept.etag) ? { md5: kept.etag } : {}),
      }
    } catch (error) {
      if (source.threw(error) || !(error instanceof NotFound)) throw error
      throw noBucket(bucket)
    } finally {
      this.#arriving.delete(imageId)
    }
  }

  async *get(location: string, range: ByteRange | undefined, call: Call): Bytes {
    const { bucket, key } = this.#own(location)
    yield* this.#client.getObject(bucket, key, range, call)
  }

  async size(location: string, call: Call): Promise<number> {
    const { bucket, key } = this.#own(location)
    return (await this.#client.headObject(bucket, key, call)).sizeBytes
  }

  async delete(location: string, call: Call): Promise<void> {
    const { bucket, key } = this.#own(location)
    await this.#client.deleteObject(bucket, key, call)
  }

  async sweep(isKnown: (imageId: string) => Promise<boolean>, call: Call): Promise<void> {
    const { bucket } = this.#settings
    const isOrphan = async (key: string) =>
      imageIdPattern.test(key) && !this.#arriving.has(key) && !(await isKnown(key))
    try {
      await abortUploads(this.#client, bucket, isOrphan, call)
      for await (const { key } of this.#client.list(bucket, '', call)) {
        if (!(await isOrphan(key))) continue
        call.log.info({ imageId: key }, 'removing an image that nobody knows')
        await this.#client.deleteObject(bucket, key, call)
      }
    } catch (error) {
      if (!(error instanceof NotFound)) throw error // no bucket yet: nothing to sweep
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client[Symbol.asyncDispose]()
  }

  /** @throws Invalid for a location on another server: our keys go to none but ours */
  #own(location: string): S3Location {
    const found = parseLocation(location)
    if (found.host !== this.#settings.host) {
      throw new Invalid(`The location is on ${found.host}, and this image store on ${this.#settings.host}.`)
    }
    return found
  }

  async #ensureBucket(call: Call): Promise<void> {
    const { bucket, createBucket } = this.#settings
    if (!createBucket) return
    try {
      await this.#client.headBucket(bucket, call)
    } catch (error) {
      if (!(error instanceof NotFound)) throw error
      await this.#client.createBucket(bucket, call)
    }
  }
}

function noBucket(bucket: string): BackendError {
  return new BackendError(`The bucket ${bucket} is not there, and s3_store_create_bucket_on_put is off.`, {
    left: 'nothing',
  })
}

function alreadyThere(imageId: string): Conflict {
  return new Conflict(`Image ${imageId} is in the store already.`, { details: { imageId } })
}
