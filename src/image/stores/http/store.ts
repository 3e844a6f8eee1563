import { Agent, type Dispatcher, ProxyAgent, request } from 'undici'
import type { ByteRange, Bytes } from '../../../kernel/bytes.ts'
import type { Call } from '../../../kernel/call.ts'
import {
  BackendError,
  Invalid,
  Misconfigured,
  messageOf,
  NotFound,
  StorageError,
  Unsupported,
} from '../../../kernel/errors.ts'
import { connectOptions, type TlsTrust } from '../../../kernel/tls-trust.ts'
import type { ImageStore, StoredImage } from '../../image-store.ts'

/** Redirects that are followed. */
const maxRedirects = 5
/** How long a server may take to begin its answer, or pause in one, in milliseconds. */
const answerTimeoutMs = 60_000

export interface HttpStoreSettings {
  readonly trust: TlsTrust
  /** By scheme. */
  readonly proxies: Readonly<Record<string, string>>
}

/** Images that lie on web servers: read where they are, never written, never deleted. */
export class HttpStore implements ImageStore {
  readonly #dispatchers: Readonly<Record<'http:' | 'https:', Dispatcher>>

  constructor({ trust, proxies }: HttpStoreSettings) {
    const tls = connectOptions(trust)
    const times = { headersTimeout: answerTimeoutMs, bodyTimeout: answerTimeoutMs }
    const direct = new Agent({ ...times, connect: { timeout: 10_000, ...tls } })
    const through = (scheme: string) => {
      const proxy = proxies[scheme]
      return proxy === undefined
        ? direct
        : new ProxyAgent({ ...times, uri: proxyUrl(proxy), requestTls: tls, proxyTls: tls })
    }
    this.#dispatchers = { 'http:': through('http'), 'https:': through('https') }
  }

  async start(): Promise<void> {}

  async put(): Promise<StoredImage> {
    throw new Unsupported('This image store is read-only: its images lie on web servers.')
  }

  async *get(location: string, range: ByteRange | undefined, call: Call): Bytes {
    call.signal.throwIfAborted()
    const url = parse(location)
    if (range !== undefined && range.end <= range.start) return
    const headers: Record<string, string> =
      range === undefined ? {} : { range: `bytes=${range.start}-${range.end - 1}` }
    const response = await this.#send('GET', url, headers, call)
    const isPart = response.statusCode === 206
    let skip = isPart ? 0 : (range?.start ?? 0)
    let left = range === undefined ? Number.POSITIVE_INFINITY : range.end - range.start
    try {
      for await (const chunk of response.body as Bytes) {
        const wanted = chunk.subarray(skip, skip + left)
        skip = Math.max(0, skip - chunk.byteLength)
        if (wanted.byteLength === 0) continue
        left -= wanted.byteLength
        yield wanted
        if (left === 0) return
      }
    } catch (error) {
      if (call.signal.aborted) throw call.signal.reason
      throw broken(error)
    } finally {
      response.body.destroy()
    }
  }

  async size(location: string, call: Call): Promise<number> {
    call.signal.throwIfAborted()
    const { headers, body } = await this.#send('HEAD', parse(location), {}, call)
    await body.dump()
    const length = Number(headers['content-length'] ?? 0)
    return Number.isSafeInteger(length) && length > 0 ? length : 0
  }

  /** What lies on a web server is not ours to delete. */
  async delete(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {
    for (const dispatcher of new Set(Object.values(this.#dispatchers))) await dispatcher.destroy()
  }

  async #send(
    method: 'GET' | 'HEAD',
    first: URL,
    headers: Record<string, string>,
    call: Call,
  ): Promise<Dispatcher.ResponseData> {
    let url = first
    for (let redirects = 0; ; redirects += 1) {
      const response = await this.#once(method, url, headers, call)
      const { statusCode } = response
      if (statusCode === 200 || statusCode === 206) return response
      await response.body.dump()
      if (statusCode === 404) throw new NotFound('The web server does not have the image data.')
      const target = response.headers['location']
      if ((statusCode !== 301 && statusCode !== 302) || typeof target !== 'string') {
        throw new Invalid(`The web server answered ${statusCode} for the image data.`)
      }
      if (redirects >= maxRedirects) {
        throw new Invalid(`The web server redirected more than ${maxRedirects} times.`)
      }
      url = parse(URL.canParse(target, url.href) ? new URL(target, url).href : '')
    }
  }

  async #once(
    method: 'GET' | 'HEAD',
    url: URL,
    headers: Record<string, string>,
    call: Call,
  ): Promise<Dispatcher.ResponseData> {
    const bare = new URL(url)
    bare.username = ''
    bare.password = ''
    const login = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`
    const authorization: Record<string, string> =
      url.username === '' ? {} : { authorization: `Basic ${Buffer.from(login).toString('base64')}` }
    try {
      return await request(bare, {
        method,
        dispatcher: this.#dispatchers[url.protocol === 'https:' ? 'https:' : 'http:'],
        headers: { ...headers, ...authorization },
        signal: call.signal,
      })
    } catch (error) {
      if (call.signal.aborted) throw call.signal.reason
      if (method === 'HEAD') {
        throw new Invalid(`The web server cannot be reached: ${messageOf(error)}.`, { cause: error })
      }
      throw broken(error)
    }
  }
}

/** @throws Invalid. The location may hold a password, so it is not told. */
function parse(location: string): URL {
  const url = URL.canParse(location) ? new URL(location) : undefined
  if (url === undefined || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw new Invalid('The location is not the address of a web server.')
  }
  return url
}

function proxyUrl(proxy: string): string {
  const url = proxy.includes('://') ? proxy : `http://${proxy}`
  if (URL.canParse(url)) return url
  throw new Misconfigured(`http_proxy_information: '${proxy}' is not the address of a proxy.`, {
    details: { option: 'http_proxy_information' },
  })
}

function broken(error: unknown): unknown {
  if (error instanceof StorageError) return error
  return new BackendError(`The web server cannot be reached: ${messageOf(error)}.`, {
    left: 'nothing',
    retryAfterMs: 1_000,
    cause: error,
  })
}
