import type { ByteRange, Bytes } from '../../../kernel/bytes.ts'
import { counted, exactBytes, watchBytes } from '../../../kernel/bytes.ts'
import type { Call } from '../../../kernel/call.ts'
import { BackendError, Conflict, Invalid, messageOf, NoCapacity, NotFound } from '../../../kernel/errors.ts'
import type { ImageStore, StoredImage } from '../../image-store.ts'
import { type DatastoreFile, formatLocation, parseLocation, pathOf } from './location.ts'
import { unreachable, type Vsphere } from './vsphere.ts'

/** How long removing a half-written image may take, in milliseconds. */
const cleanUpMs = 60_000

export interface Datastore {
  readonly datacenter: string
  readonly name: string
  /** Higher is filled first. */
  readonly weight: number
}

export interface VmwareStoreSettings {
  /** As it stands in locations. */
  readonly host: string
  readonly datastores: readonly Datastore[]
  /** Without slashes at its ends. */
  readonly directory: string
}

/** Images as files on the datastores of a vCenter or ESX, named by their ids. */
export class VmwareStore implements ImageStore {
  readonly properties: Readonly<Record<string, string>>
  readonly #settings: VmwareStoreSettings
  readonly #server: Vsphere
  /** References of datacenters, by path. */
  readonly #datacenters = new Map<string, string>()
  /** Images that are being put by this process. */
  readonly #arriving = new Set<string>()

  constructor(settings: VmwareStoreSettings, server: Vsphere) {
    this.#settings = settings
    this.#server = server
    this.properties = {
      server_host: settings.host,
      datastores: settings.datastores.map(({ datacenter, name }) => `${datacenter}:${name}`).join(','),
      image_dir: settings.directory,
    }
  }

  async start(call: Call): Promise<void> {
    for (const { datacenter, name } of this.#settings.datastores) {
      const reference = await this.#datacenter(datacenter, call)
      await this.#server.makeDirectory(`[${name}] ${this.#settings.directory}`, reference, call)
    }
  }

  async put(imageId: string, data: Bytes, sizeBytes: number | undefined, call: Call): Promise<StoredImage> {
    call.signal.throwIfAborted()
    if (this.#arriving.has(imageId)) throw alreadyThere(imageId)
    this.#arriving.add(imageId)
    try {
      for (const { datacenter, name } of this.#settings.datastores) {
        if (await this.#exists(this.#file(datacenter, name, imageId), call)) throw alreadyThere(imageId)
      }
      const { datacenter, name } = await this.#choose(sizeBytes, call)
      const file = this.#file(datacenter, name, imageId)
      await this.#server.renew(call) // a stream that is refused cannot be sent again
      return { location: formatLocation(file), sizeBytes: await this.#write(file, data, sizeBytes, call) }
    } finally {
      this.#arriving.delete(imageId)
    }
  }

  async *get(location: string, range: ByteRange | undefined, call: Call): Bytes {
    call.signal.throwIfAborted()
    const file = this.#own(location)
    if (range !== undefined && range.end <= range.start) return
    const headers: Record<string, string> =
      range === undefined ? {} : { range: `bytes=${range.start}-${range.end - 1}` }
    const { statusCode, body } = await this.#server.datastore('GET', pathOf(file), headers, undefined, call)
    if (statusCode !== 200 && statusCode !== 206) {
      await body.dump()
      throw fault(statusCode, 'serve')
    }
    let skip = statusCode === 206 ? 0 : (range?.start ?? 0)
    let left = range === undefined ? Number.POSITIVE_INFINITY : range.end - range.start
    try {
      for await (const chunk of body as Bytes) {
        const wanted = chunk.subarray(skip, skip + left)
        skip = Math.max(0, skip - chunk.byteLength)
        if (wanted.byteLength === 0) continue
        left -= wanted.byteLength
        yield wanted
        if (left === 0) return
      }
    } catch (error) {
      if (call.signal.aborted) throw call.signal.reason
      throw unreachable(error)
    } finally {
      body.destroy()
    }
  }

  async size(location: string, call: Call): Promise<number> {
    call.signal.throwIfAborted()
    const file = this.#own(location)
    const { statusCode, headers, body } = await this.#server.datastore(
      'HEAD',
      pathOf(file),
      {},
      undefined,
      call,
    )
    await body.dump()
    if (statusCode !== 200) throw fault(statusCode, 'describe')
    return Number(headers['content-length'] ?? 0)
  }

  async delete(location: string, call: Call): Promise<void> {
    const file = this.#own(location)
    const reference = await this.#datacenter(file.datacenter, call)
    await this.#server.deleteFile(`[${file.datastore}] ${file.path}`, reference, call)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server[Symbol.asyncDispose]()
  }

  async #write(file: DatastoreFile, data: Bytes, sizeBytes: number | undefined, call: Call): Promise<number> {
    let written = 0
    const sized = sizeBytes === undefined ? data : exactBytes(data, sizeBytes)
    const source = watchBytes(
      counted(sized, (bytes) => {
        written += bytes
      }),
    )
    const headers: Record<string, string> = {
      'content-type': 'application/octet-stream',
      ...(sizeBytes === undefined ? {} : { 'content-length': String(sizeBytes) }),
    }
    try {
      const { statusCode, body } = await this.#server.datastore(
        'PUT',
        pathOf(file),
        headers,
        source.bytes,
        call,
      )
      await body.dump()
      if (statusCode !== 200 && statusCode !== 201) throw fault(statusCode, 'keep')
      return written
    } catch (error) {
      if (error instanceof Conflict) throw error // somebody else's file
      const cleaning: Call = { signal: AbortSignal.timeout(cleanUpMs), log: call.log }
      await this.delete(formatLocation(file), cleaning).catch((second: unknown) => {
        call.log.error({ file: file.path, error: messageOf(second) }, 'a half-written image stays')
      })
      throw error
    }
  }

  /** The datastore of the highest weight that has room, the emptiest of equals. @throws NoCapacity */
  async #choose(sizeBytes: number | undefined, call: Call): Promise<Datastore> {
    const candidates: (Datastore & { freeBytes: number })[] = []
    const free = new Map<string, ReadonlyMap<string, number>>()
    for (const datastore of this.#settings.datastores) {
      const { datacenter, name } = datastore
      const known =
        free.get(datacenter) ?? (await this.#server.freeBytes(await this.#datacenter(datacenter, call), call))
      free.set(datacenter, known)
      const freeBytes = known.get(name)
      if (freeBytes !== undefined && freeBytes > (sizeBytes ?? 0))
        candidates.push({ ...datastore, freeBytes })
    }
    const [chosen] = candidates.sort((a, b) => b.weight - a.weight || b.freeBytes - a.freeBytes)
    if (chosen === undefined) throw new NoCapacity('No datastore has room for the image.')
    return chosen
  }

  async #exists(file: DatastoreFile, call: Call): Promise<boolean> {
    const { statusCode, body } = await this.#server.datastore('HEAD', pathOf(file), {}, undefined, call)
    await body.dump()
    if (statusCode === 200) return true
    if (statusCode === 404) return false
    throw fault(statusCode, 'describe')
  }

  async #datacenter(path: string, call: Call): Promise<string> {
    const known = this.#datacenters.get(path) ?? (await this.#server.datacenter(path, call))
    this.#datacenters.set(path, known)
    return known
  }

  #file(datacenter: string, datastore: string, imageId: string): DatastoreFile {
    const { host, directory } = this.#settings
    return { host, datacenter, datastore, path: `${directory}/${imageId}` }
  }

  /** @throws Invalid for a location on another server, or outside the folder of images */
  #own(location: string): DatastoreFile {
    const file = parseLocation(location)
    const { host, directory } = this.#settings
    if (file.host !== host || !file.path.startsWith(`${directory}/`)) {
      throw new Invalid('The location is not one of this VMware store.')
    }
    return file
  }
}

function fault(status: number, what: string) {
  if (status === 404) return new NotFound('The image data is not on the datastore.')
  if (status === 409) return new Conflict('The image is on the datastore already.')
  if (status === 507) return new NoCapacity('The datastore has no room for the image.')
  return new BackendError(`The VMware server refused to ${what} the image data: ${status}.`, {
    left: 'unknown',
    ...(status > 500 ? { retryAfterMs: 1_000 } : {}),
  })
}

function alreadyThere(imageId: string): Conflict {
  return new Conflict(`Image ${imageId} is in the store already.`, { details: { imageId } })
}
