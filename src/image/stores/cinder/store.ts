import { type BlockDevice, readStream } from '@emberglass/iscsi/device'
import { type ByteRange, type Bytes, GiB, MiB } from '../../../kernel/bytes.ts'
import type { Call } from '../../../kernel/call.ts'
import { BackendError, Conflict, NotFound } from '../../../kernel/errors.ts'
import type { ImageStore, PutCall, StoreCall, StoredImage } from '../../image-store.ts'
import { type AttachedVolume, asKernelError, attachVolume, hostNameOf } from './attached-volume.ts'
import { formatLocation, parseLocation } from './location.ts'
import type { CinderProjects } from './projects.ts'
import { type CinderWork, imageSizeOf, putImage, removeVolume, volumeName } from './put.ts'
import { SharedVolumes } from './shared-volumes.ts'

/** Bytes of one read, and reads ahead of the consumer. */
const readBytes = MiB
const readsAhead = 4

/** Images as volumes of a block storage service: one volume each, raw bytes from its first block. */
export class CinderStore implements ImageStore {
  readonly blocks = {
    open: (location: string, call: StoreCall): Promise<BlockDevice> => this.#openDevice(location, call),
  }
  readonly properties: Readonly<Record<string, string | boolean | null>>
  readonly #projects: CinderProjects
  readonly #options: Omit<CinderWork, 'client'>
  /** The store's name, where it stands in locations. */
  readonly #name: string | undefined
  /** Images that are being put by this process. */
  readonly #arriving = new Set<string>()
  readonly #shared = new SharedVolumes()
  /** Absent where images lie in their requesters' projects. */
  readonly sweep?: NonNullable<ImageStore['sweep']>

  constructor(projects: CinderProjects, options: Omit<CinderWork, 'client'>, name: string | undefined) {
    this.#projects = projects
    this.#options = options
    this.#name = name
    this.properties = {
      volume_type: options.volumeType ?? null,
      use_multipath: options.attach.multipath,
      multi_tenant: projects.multiTenant,
    }
    const { own } = projects
    if (own !== undefined && !projects.multiTenant) {
      this.sweep = (isKnown, call) => this.#sweep({ ...options, client: own }, isKnown, call)
    }
  }

  /** Logs in, where the store has credentials of its own. */
  async start(call: Call): Promise<void> {
    await this.#projects.own?.named(volumeName('none'), call.signal)
  }

  async put(
    imageId: string,
    data: Bytes,
    sizeBytes: number | undefined,
    call: PutCall,
  ): Promise<StoredImage> {
    call.signal.throwIfAborted()
    if (this.#arriving.has(imageId)) {
      throw new Conflict(`Image ${imageId} is in the store already.`, { details: { imageId } })
    }
    this.#arriving.add(imageId)
    try {
      const work = { ...this.#options, client: this.#projects.forWriting(call) }
      const stored = await putImage(work, imageId, data, sizeBytes, call)
      return { location: formatLocation(this.#name, stored.volumeId), sizeBytes: stored.sizeBytes }
    } finally {
      this.#arriving.delete(imageId)
    }
  }

  async *get(location: string, range: ByteRange | undefined, call: StoreCall): Bytes {
    call.signal.throwIfAborted()
    const volumeId = parseLocation(location)
    const sizeBytes = await this.size(location, call)
    const start = Math.min(range?.start ?? 0, sizeBytes)
    const end = Math.min(range?.end ?? sizeBytes, sizeBytes)
    if (start >= end) return
    await using volume = await this.#open(volumeId, call)
    try {
      if (volume.device.sizeBytes < sizeBytes) throw shrunk(volumeId)
      yield* readStream(volume.device, start, end - start, { chunkBytes: readBytes, depth: readsAhead }, call)
    } catch (error) {
      throw asKernelError(error, call.signal)
    }
  }

  async size(location: string, call: StoreCall): Promise<number> {
    const volumeId = parseLocation(location)
    const volume = await this.#projects.forReading(call).show(volumeId, call.signal)
    if (volume.status === 'deleting') throw new NotFound(`The image volume ${volumeId} is being deleted.`)
    const size = imageSizeOf(volume)
    if (size !== undefined && size > volume.sizeGib * GiB) throw shrunk(volumeId)
    return size ?? volume.sizeGib * GiB
  }

  async delete(location: string, call: StoreCall): Promise<void> {
    const volumeId = parseLocation(location)
    if (this.#shared.isUsed(volumeId)) throw new Conflict(`The image volume ${volumeId} is being read.`)
    await this.#shared.settled(volumeId)
    const client = this.#projects.forReading(call)
    await removeVolume({ ...this.#options, client }, volumeId, call)
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  async #sweep(work: CinderWork, isKnown: (imageId: string) => Promise<boolean>, call: Call): Promise<void> {
    const { client, attach } = work
    for (const volume of await client.list(volumeName(''), call.signal)) {
      const imageId = volume.metadata['glance_image_id']
      if (imageId === undefined || this.#arriving.has(imageId) || this.#shared.isUsed(volume.id)) continue
      for (const { id, hostName } of volume.attachments) {
        if (hostName === hostNameOf(attach.initiatorName)) await client.detach(id, call.signal)
      }
      if (await isKnown(imageId)) continue
      call.log.info({ imageId, volumeId: volume.id }, 'removing an image volume that nobody knows')
      await removeVolume(work, volume.id, call)
    }
  }

  async #open(volumeId: string, call: StoreCall): Promise<AttachedVolume> {
    const client = this.#projects.forReading(call)
    return await this.#shared.use(volumeId, () =>
      attachVolume(client, volumeId, 'ro', this.#options.attach, call),
    )
  }

  async #openDevice(location: string, call: StoreCall): Promise<BlockDevice> {
    const volume = await this.#open(parseLocation(location), call)
    const { device } = volume
    return {
      sizeBytes: device.sizeBytes,
      blockSize: device.blockSize,
      read: (offset, into, cancel) => device.read(offset, into, cancel),
      write: (offset, data, cancel) => device.write(offset, data, cancel),
      flush: (cancel) => device.flush(cancel),
      ...(device.extents === undefined ? {} : { extents: device.extents }),
      [Symbol.asyncDispose]: () => volume[Symbol.asyncDispose](),
    }
  }
}

function shrunk(volumeId: string): BackendError {
  return new BackendError(`The image volume ${volumeId} is smaller than the image that was written to it.`, {
    left: 'nothing',
  })
}
