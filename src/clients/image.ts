import { Readable } from 'node:stream'
import type { BlockDevice } from '@emberglass/iscsi/device'
import { type Dispatcher, Pool } from 'undici'
import type { ByteRange, Bytes } from '../kernel/bytes.ts'
import type { Call } from '../kernel/call.ts'
import {
  BackendError,
  Conflict,
  Forbidden,
  Invalid,
  messageOf,
  NoCapacity,
  NotFound,
  StorageError,
  Unauthenticated,
  Unsupported,
} from '../kernel/errors.ts'
import { flowOfBytes } from './byte-flow.ts'
import { openRangeFlow } from './range-flow.ts'
import { RangedDevice } from './ranged-device.ts'

/** How long the service may take to begin an answer, in milliseconds. */
const answerTimeoutMs = 60_000
/** How long it may pause in the middle of one, in milliseconds. */
const pauseTimeoutMs = 120_000
/** When to try again after the service could not be reached, in milliseconds. */
const retryAfterMs = 2_000
/** Bytes of an error's text that are read. */
const maxErrorBytes = 64 * 1024

/** What other services have to know of an image. */
export interface ImageFacts {
  readonly id: string
  readonly name: string | undefined
  /** `queued`, `saving`, `active`, `deactivated`… */
  readonly status: string
  readonly visibility: string
  readonly ownerProjectId: string | undefined
  /** Bytes of the stored data. */
  readonly sizeBytes: number | undefined
  /** Bytes of the disk inside. */
  readonly virtualSizeBytes: number | undefined
  readonly diskFormat: string | undefined
  readonly containerFormat: string | undefined
  readonly minDiskGib: number
  readonly minRamMib: number
  /** MD5, hexadecimal. */
  readonly checksum: string | undefined
  readonly osHashAlgo: string | undefined
  readonly osHashValue: string | undefined
  /** URIs of its data; empty when the service hides them. */
  readonly locations: readonly string[]
  /** All other properties that are text. */
  readonly properties: Readonly<Record<string, string>>
}

/** A new image's attributes and properties, spelt as on the wire. */
export type NewImage = Readonly<Record<string, string | number | boolean | readonly string[] | null>>

export interface ImageClientOptions {
  /** `http://host:9292`, without a version. */
  readonly endpoint: string
  /** The service's own token, fresh enough to be used now. */
  token(signal: AbortSignal): Promise<string>
}

/** A client of the public Image API: ours, or any other Glance. */
export interface ImageClient extends AsyncDisposable {
  /** The image as the owner of `token` sees it; undefined asks as the service itself. @throws NotFound, Forbidden */
  show(imageId: string, token: string | undefined, signal: AbortSignal): Promise<ImageFacts>
  /** Images of that name that the owner of `token` sees: at most two, which is enough to know that it is not clear. */
  named(name: string, token: string | undefined, signal: AbortSignal): Promise<readonly ImageFacts[]>
  /** Projects that a shared image was offered to and that took it; none when the service may not list them. */
  acceptedBy(imageId: string, signal: AbortSignal): Promise<readonly string[]>
  /**
   * Random, ranged reads of the stored bytes, as the service itself; fast for readers that go forward. The size is
   * rounded up to whole blocks of 512 bytes, and the tail reads as zeroes. Whoever opens it closes it.
   * @throws NotFound; Conflict when the image has no data
   */
  open(imageId: string, call: Call): Promise<BlockDevice>
  /** The stored bytes, or a range of them. @throws NotFound on the first pull; Conflict when there is no data */
  download(imageId: string, range: ByteRange | undefined, call: Call): Bytes
  /** Makes an image without data. */
  create(image: NewImage, token: string | undefined, signal: AbortSignal): Promise<ImageFacts>
  /** Sends an image's data. @param sizeBytes when it is known */
  upload(
    imageId: string,
    data: Bytes,
    sizeBytes: number | undefined,
    token: string | undefined,
    call: Call,
  ): Promise<void>
  /** Already gone: fine. */
  delete(imageId: string, token: string | undefined, signal: AbortSignal): Promise<void>
}

export function createImageClient(options: ImageClientOptions): ImageClient {
  return new HttpImageClient(options)
}

interface Request {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  readonly path: string
  readonly token: string | undefined
  readonly signal: AbortSignal
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Bytes
}

class HttpImageClient implements ImageClient {
  readonly #pool: Pool
  readonly #base: string
  readonly #origin: URL
  readonly #ownToken: (signal: AbortSignal) => Promise<string>

  constructor(options: ImageClientOptions) {
    const url = new URL(options.endpoint)
    this.#origin = url
    this.#base = `${url.pathname.replace(/\/+$/, '').replace(/\/v2$/, '')}/v2`
    this.#ownToken = (signal) => options.token(signal)
    this.#pool = new Pool(url.origin, {
      connections: 64,
      keepAliveTimeout: 30_000,
      headersTimeout: answerTimeoutMs,
      bodyTimeout: pauseTimeoutMs,
      connect: { timeout: 10_000 },
    })
  }

  async show(imageId: string, token: string | undefined, signal: AbortSignal): Promise<ImageFacts> {
    const { body } = await this.#request({ method: 'GET', path: pathOf(imageId), token, signal })
    return factsOf(await body.json())
  }

  async named(name: string, token: string | undefined, signal: AbortSignal): Promise<readonly ImageFacts[]> {
    const path = `/images?${new URLSearchParams({ name, limit: '2' })}`
    const { body } = await this.#request({ method: 'GET', path, token, signal })
    const list: unknown = await body.json()
    if (typeof list !== 'object' || list === null || !('images' in list) || !Array.isArray(list.images)) {
      throw notAnImage()
    }
    return list.images.map(factsOf)
  }

  async acceptedBy(imageId: string, signal: AbortSignal): Promise<readonly string[]> {
    const path = `${pathOf(imageId)}/members`
    try {
      const { body } = await this.#request({ method: 'GET', path, token: undefined, signal })
      const list: unknown = await body.json()
      if (typeof list !== 'object' || list === null || !('members' in list) || !Array.isArray(list.members)) {
        throw new BackendError('The image service answered with something that is no list of members.', {
          left: 'nothing',
        })
      }
      return list.members.filter(({ status }) => status === 'accepted').map(({ member_id }) => member_id)
    } catch (error) {
      if (error instanceof Forbidden || error instanceof NotFound) return []
      throw error
    }
  }

  async open(imageId: string, call: Call): Promise<BlockDevice> {
    const facts = await this.show(imageId, undefined, call.signal)
    if (facts.sizeBytes === undefined || facts.status !== 'active') {
      throw new Conflict(`Image ${imageId} is ${facts.status}: it has no data that could be read.`)
    }
    const open = (range: ByteRange, signal: AbortSignal) =>
      this.download(imageId, range, { signal, log: call.log })
    let direct = this.#origin.protocol === 'http:'
    return new RangedDevice(facts.sizeBytes, open, (range, receiver, signal) => {
      if (!direct) return flowOfBytes(open(range, signal), receiver)
      const request = {
        origin: this.#origin,
        path: `${this.#base}${pathOf(imageId)}/file`,
        range,
        headers: async () => ({
          accept: 'application/octet-stream',
          'x-auth-token': await this.#ownToken(signal),
        }),
        timeoutMs: pauseTimeoutMs,
        // the next try then goes the long way, which also tells what is wrong
        unsuitable: () => {
          direct = false
        },
      }
      return openRangeFlow(request, receiver, signal)
    })
  }

  async *download(imageId: string, range: ByteRange | undefined, call: Call): Bytes {
    if (range !== undefined && range.end <= range.start) return
    const { body, statusCode } = await this.#request({
      method: 'GET',
      path: `${pathOf(imageId)}/file`,
      token: undefined,
      signal: call.signal,
      headers:
        range === undefined
          ? { accept: 'application/octet-stream' }
          : { accept: 'application/octet-stream', range: `bytes=${range.start}-${range.end - 1}` },
    })
    if (statusCode === 204) throw new Conflict(`Image ${imageId} has no data.`)
    try {
      if (range !== undefined && statusCode !== 206) {
        throw new BackendError('The image service does not serve ranges of image data.', { left: 'nothing' })
      }
      for await (const chunk of body) yield chunk
    } catch (error) {
      throw asKernelError(error, call.signal)
    } finally {
      body.destroy()
    }
  }

  async create(image: NewImage, token: string | undefined, signal: AbortSignal): Promise<ImageFacts> {
    const { body } = await this.#request({
      method: 'POST',
      path: '/images',
      token,
      signal,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(image),
    })
    return factsOf(await body.json())
  }

  async upload(
    imageId: string,
    data: Bytes,
    sizeBytes: number | undefined,
    token: string | undefined,
    call: Call,
  ): Promise<void> {
    const { body } = await this.#request({
      method: 'PUT',
      path: `${pathOf(imageId)}/file`,
      token,
      signal: call.signal,
      headers: {
        'content-type': 'application/octet-stream',
        ...(sizeBytes === undefined ? {} : { 'content-length': String(sizeBytes) }),
      },
      body: data,
    })
    await body.dump()
  }

  async delete(imageId: string, token: string | undefined, signal: AbortSignal): Promise<void> {
    try {
      const { body } = await this.#request({ method: 'DELETE', path: pathOf(imageId), token, signal })
      await body.dump()
    } catch (error) {
      if (!(error instanceof NotFound)) throw error
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool.destroy()
  }

  async #request(request: Request): Promise<Dispatcher.ResponseData> {
    const token = request.token ?? (await this.#ownToken(request.signal))
    let response: Dispatcher.ResponseData
    try {
      response = await this.#pool.request({
        method: request.method,
        path: this.#base + request.path,
        headers: { accept: 'application/json', ...request.headers, 'x-auth-token': token },
        signal: request.signal,
        // an upload answers when the store has everything on disk
        headersTimeout: request.method === 'PUT' ? 0 : answerTimeoutMs,
        ...(request.body === undefined ? {} : { body: bodyOf(request.body) }),
      })
    } catch (error) {
      throw asKernelError(error, request.signal)
    }
    if (response.statusCode < 400) return response
    throw await faultOf(response)
  }
}

function bodyOf(body: string | Bytes): string | Readable {
  return typeof body === 'string' ? body : Readable.from(body, { objectMode: false })
}

function pathOf(imageId: string): string {
  return `/images/${encodeURIComponent(imageId)}`
}

async function faultOf(response: Dispatcher.ResponseData): Promise<StorageError> {
  const message = await messageIn(response)
  switch (response.statusCode) {
    case 400:
      return new Invalid(message)
    case 401:
      return new Unauthenticated(message)
    case 403:
      return new Forbidden(message)
    case 404:
    case 410:
      return new NotFound(message)
    case 409:
      return new Conflict(message)
    case 413:
      return new NoCapacity(message)
    case 415:
      return new Unsupported(message)
    default:
      return new BackendError(`The image service answered ${response.statusCode}: ${message}`, {
        left: 'unknown',
        ...(response.statusCode >= 500 ? { retryAfterMs } : {}),
      })
  }
}

/** The sentence in an error's body, in Glance's JSON or in plain text. */
async function messageIn(response: Dispatcher.ResponseData): Promise<string> {
  const chunks: Uint8Array[] = []
  let length = 0
  try {
    for await (const chunk of response.body) {
      chunks.push(chunk)
      length += chunk.byteLength
      if (length > maxErrorBytes) break
    }
  } catch {
    // the status says enough
  }
  const text = Buffer.concat(chunks).toString('utf8')
  try {
    const parsed: unknown = JSON.parse(text)
    if (typeof parsed === 'object' && parsed !== null && 'message' in parsed) {
      return String(parsed.message).replaceAll('<br />', ' ').trim()
    }
  } catch {
    // not JSON
  }
  return (
    text
      .replace(/<[^>]*>/g, ' ')
      .replace(/\s+/g, ' ')
      .trim() || `status ${response.statusCode}`
  )
}

function asKernelError(error: unknown, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason
  if (error instanceof StorageError) return error
  return new BackendError(`The image service could not be reached: ${messageOf(error)}`, {
    left: 'unknown',
    retryAfterMs,
    cause: error,
  })
}

const attributes: ReadonlySet<string> = new Set([
  'id',
  'name',
  'status',
  'visibility',
  'owner',
  'size',
  'virtual_size',
  'disk_format',
  'container_format',
  'min_disk',
  'min_ram',
  'checksum',
  'os_hash_algo',
  'os_hash_value',
  'os_hidden',
  'protected',
  'tags',
  'created_at',
  'updated_at',
  'self',
  'file',
  'schema',
  'direct_url',
  'locations',
  'stores',
])

/** @throws BackendError when the answer is not an image */
function factsOf(body: unknown): ImageFacts {
  if (typeof body !== 'object' || body === null) throw notAnImage()
  const fields = new Map<string, unknown>(Object.entries(body))
  const text = (name: string) => {
    const value = fields.get(name)
    return typeof value === 'string' ? value : undefined
  }
  const number = (name: string) => {
    const value = fields.get(name)
    return typeof value === 'number' ? value : undefined
  }
  const id = text('id')
  const status = text('status')
  if (id === undefined || status === undefined) throw notAnImage()
  const properties: Record<string, string> = {}
  for (const [name, value] of fields) {
    if (typeof value === 'string' && !attributes.has(name)) properties[name] = value
  }
  return {
    id,
    name: text('name'),
    status,
    visibility: text('visibility') ?? 'private',
    ownerProjectId: text('owner'),
    sizeBytes: number('size'),
    virtualSizeBytes: number('virtual_size'),
    diskFormat: text('disk_format'),
    containerFormat: text('container_format'),
    minDiskGib: number('min_disk') ?? 0,
    minRamMib: number('min_ram') ?? 0,
    checksum: text('checksum'),
    osHashAlgo: text('os_hash_algo'),
    osHashValue: text('os_hash_value'),
    locations: locationsIn(fields.get('locations'), text('direct_url')),
    properties,
  }
}

function locationsIn(locations: unknown, directUrl: string | undefined): readonly string[] {
  const urls = Array.isArray(locations)
    ? locations.map((location: unknown) =>
        typeof location === 'object' && location !== null && 'url' in location ? location.url : undefined,
      )
    : []
  return [...new Set([directUrl, ...urls])].filter((url) => typeof url === 'string')
}

function notAnImage(): BackendError {
  return new BackendError('The image service sent something that is not an image.', { left: 'nothing' })
}
