import { type BlockDevice, readStream, writeStream } from '@emberglass/iscsi/device'
import { CephCluster } from '../../../ceph/cluster.ts'
import { RbdDevice } from '../../../ceph/device.ts'
import { isErrno } from '../../../ceph/failure.ts'
import type { RbdImage } from '../../../ceph/image.ts'
import { formatImageLocation, readImageLocation } from '../../../ceph/image-location.ts'
import type { RbdPool } from '../../../ceph/pool.ts'
import { type ByteRange, type Bytes, givingBack, limitBytes, MiB } from '../../../kernel/bytes.ts'
import type { Call } from '../../../kernel/call.ts'
import { BackendError, Conflict, Invalid, messageOf, NotFound } from '../../../kernel/errors.ts'
import type { ImageStore, StoredImage } from '../../image-store.ts'
import { GrowingImage } from './growing-image.ts'
import { objectBytes, type RbdStoreSettings } from './options.ts'

/** The snapshot that readers, Nova and Cinder clone from. */
const snapshotName = 'snap'
/** Bytes of one transfer, and transfers under way. */
const chunkBytes = 4 * MiB
const depth = 4
/** The note of an image that this program has made: `arriving`, then `complete`. */
const ourNote = 'emberglass.image'
const cleaningTimeoutMs = 60_000

/** Images as RBD images of their id, with a protected snapshot `snap`, as Glance's own store lays them out. */
export class RbdImageStore implements ImageStore {
  readonly #settings: RbdStoreSettings
  readonly #arriving = new Set<string>()
  #cluster: CephCluster | undefined

  constructor(settings: RbdStoreSettings) {
    this.#settings = settings
  }

  get properties() {
    const { pool, chunkMib, thinProvisioning, user } = this.#settings
    return {
      chunk_size: chunkMib,
      pool,
      user: user ?? null,
      thin_provisioning: thinProvisioning,
    }
  }

  async start(call: Call): Promise<void> {
    const { configurationFile, user, timeoutSeconds, pool } = this.#settings
    this.#cluster ??= await CephCluster.connect(
      { configurationFile, clusterName: 'ceph', user, timeoutSeconds },
      call,
    )
    await this.#cluster.usage(pool, call)
  }

  async put(imageId: string, data: Bytes, sizeBytes: number | undefined, call: Call): Promise<StoredImage> {
    const pool = await this.#pool(call)
    await this.#make(pool, imageId, sizeBytes, call)
    this.#arriving.add(imageId)
    try {
      const written = await pool.withImage(
        imageId,
        { readOnly: false },
        (image) => this.#write(image, data, sizeBytes, call),
        call,
      )
      const location = { fsid: pool.cluster.fsid, pool: pool.name, image: imageId, snapshot: snapshotName }
      return { location: formatImageLocation(location), sizeBytes: written }
    } catch (error) {
      const cleaning = { ...call, signal: AbortSignal.timeout(cleaningTimeoutMs) }
      await this.#remove(pool, imageId, cleaning).catch((second: unknown) => {
        call.log.error({ imageId, error: messageOf(second) }, 'could not remove a half-written image')
      })
      throw error
    } finally {
      this.#arriving.delete(imageId)
    }
  }

  async #make(pool: RbdPool, imageId: string, sizeBytes: number | undefined, call: Call): Promise<void> {
    try {
      await pool.create(imageId, sizeBytes ?? 0, { objectBytes: objectBytes(this.#settings) }, call)
    } catch (error) {
      if (!isErrno(error, 'EEXIST')) throw error
      throw new Conflict(`Image ${imageId} is in the pool ${pool.name} already.`, { cause: error })
    }
  }

  async #write(image: RbdImage, data: Bytes, sizeBytes: number | undefined, call: Call): Promise<number> {
    await image.setNote(ourNote, 'arriving', call)
    const device = new RbdDevice(image) // the image is closed by who opened it
    const source = givingBack(sizeBytes === undefined ? data : limitBytes(data, sizeBytes))
    const target = new GrowingImage(device, image, objectBytes(this.#settings), call)
    const zeroes = { skipZeroes: this.#settings.thinProvisioning, targetIsZeroed: true }
    const { totalBytes } = await writeStream(source, target, { chunkBytes, depth, ...zeroes }, call)
    if (sizeBytes !== undefined && totalBytes < sizeBytes) {
      throw new Invalid(`The data ended after ${totalBytes} of ${sizeBytes} bytes.`)
    }
    await image.resize(totalBytes, call)
    await image.createSnapshot(snapshotName, call)
    await image.protectSnapshot(snapshotName, call)
    await image.setNote(ourNote, 'complete', call)
    return totalBytes
  }

  async *get(location: string, range: ByteRange | undefined, call: Call): Bytes {
    await using image = await this.#open(location, call)
    const size = image.sizeBytes()
    const start = Math.min(range?.start ?? 0, size)
    const end = Math.min(range?.end ?? size, size)
    if (start < end) yield* readStream(new RbdDevice(image), start, end - start, { chunkBytes, depth }, call)
  }

  async size(location: string, call: Call): Promise<number> {
    await using image = await this.#open(location, call)
    return image.sizeBytes()
  }

  async delete(location: string, call: Call): Promise<void> {
    const pool = await this.#pool(call)
    const { image } = this.#parse(location)
    if (this.#arriving.has(image)) throw new Conflict(`Image ${image} is being uploaded.`)
    await this.#remove(pool, image, call)
    await pool.sweepTrash(call)
  }

  readonly blocks = {
    open: async (location: string, call: Call): Promise<BlockDevice> =>
      new RbdDevice(await this.#open(location, call)),
  }

  async capacity(call: Call): Promise<{ totalBytes: number; freeBytes: number }> {
    const { usedBytes, freeBytes } = await this.#connected().usage(this.#settings.pool, call)
    return { totalBytes: usedBytes + freeBytes, freeBytes }
  }

  /** Only what this program has made: Glance may use the pool as well. */
  async sweep(isKnown: (imageId: string) => Promise<boolean>, call: Call): Promise<void> {
    const pool = await this.#pool(call)
    for (const name of await pool.names(call)) {
      if (this.#arriving.has(name) || (await isKnown(name))) continue
      const isOurs = async (image: RbdImage) => (await image.note(ourNote, call)) !== undefined
      try {
        if (!(await pool.withImage(name, { readOnly: true }, isOurs, call))) continue
      } catch (error) {
        if (error instanceof NotFound) continue
        throw error
      }
      await this.#remove(pool, name, call)
      call.log.info({ imageId: name }, 'removed what an interrupted upload left')
    }
    await pool.sweepTrash(call)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cluster?.[Symbol.asyncDispose]()
    this.#cluster = undefined
  }

  /** Where clones need it, it stays in the trash until they are gone. @throws Conflict while somebody reads it */
  async #remove(pool: RbdPool, name: string, call: Call): Promise<void> {
    const clear = async (image: RbdImage) => {
      for (const { name: snapshot } of await image.snapshots(call)) {
        await image.removeSnapshot(snapshot, call).catch((error: unknown) => {
          if (!(error instanceof Conflict)) throw error // clones need it
        })
      }
    }
    try {
      await pool.withImage(name, { readOnly: false }, clear, call).catch((error: unknown) => {
        if (!(error instanceof NotFound)) throw error // or it may be half removed, and its name still listed
      })
      await pool.remove(name, call)
    } catch (error) {
      if (isErrno(error, 'ENOTEMPTY')) await pool.discard(name, call)
      else if (isErrno(error, 'EBUSY')) throw new Conflict(`Image ${name} is in use.`, { cause: error })
      else throw error
    }
  }

  #parse(location: string): {
    readonly pool: string
    readonly image: string
    readonly snapshot: string | undefined
  } {
    const found = readImageLocation(location)
    if (found !== undefined) {
      const { fsid } = this.#connected()
      if (found.fsid !== fsid) {
        throw new Invalid(`'${location}' lies in another Ceph cluster than this store's, which is ${fsid}.`)
      }
      return found
    }
    const old = /^rbd:\/\/([^/]+)$/.exec(location)?.[1]
    if (old === undefined) {
      throw new Invalid(`'${location}' is not a location of this store: rbd://fsid/pool/image/snapshot.`)
    }
    return { pool: this.#settings.pool, image: decodeURIComponent(old), snapshot: undefined }
  }

  async #open(location: string, call: Call): Promise<RbdImage> {
    const { pool: poolName, image, snapshot } = this.#parse(location)
    const pool = await this.#connected().pool(poolName, call)
    try {
      return await pool.open(image, { readOnly: true, ...(snapshot === undefined ? {} : { snapshot }) }, call)
    } catch (error) {
      if (error instanceof NotFound)
        throw new NotFound(`Image ${image} is not in the pool ${poolName}.`, { cause: error })
      throw error
    }
  }

  #connected(): CephCluster {
    if (this.#cluster === undefined) {
      throw new BackendError('The store is not connected to Ceph.', { left: 'nothing', retryAfterMs: 5_000 })
    }
    return this.#cluster
  }

  async #pool(call: Call): Promise<RbdPool> {
    return await this.#connected().pool(this.#settings.pool, call)
  }
}
