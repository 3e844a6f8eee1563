import { Readable } from 'node:stream'
import { Agent, type Dispatcher, request } from 'undici'
import { type ByteRange, type Bytes, exactBytes, watchBytes } from '../kernel/bytes.ts'
import { type Call, sleep } from '../kernel/call.ts'
import { BackendError, messageOf, NotFound, StorageError } from '../kernel/errors.ts'
import { connectOptions, type TlsTrust } from '../kernel/tls-trust.ts'
import type { SwiftAuth } from './auth.ts'
import { isPassing, swiftFault, unreachable } from './errors.ts'

/** How long Swift may take to begin an answer, or pause in one, in milliseconds. */
const answerTimeoutMs = 60_000
/** Before the first retry; doubled each time, up to the most. Milliseconds. */
const firstRetryMs = 250
const maxRetryMs = 8_000
/** Names in one page of a listing. */
const pageLength = 10_000

export interface SwiftClientOptions {
  readonly auth: SwiftAuth
  readonly trust?: TlsTrust | undefined
  /** How often a request that can be repeated is repeated, 3 by default. */
  readonly retries?: number
}

type Headers = Readonly<Record<string, string>>

/** What a HEAD tells. */
export interface SwiftFacts {
  readonly sizeBytes: number
  /** MD5 of an ordinary object, without quotes. */
  readonly etag: string | undefined
  /** All headers, lower case: `x-object-meta-…`, `x-object-manifest`, `x-static-large-object`. */
  readonly headers: Headers
}

export interface SwiftEntry {
  readonly name: string
  readonly sizeBytes: number
  /** MD5. */
  readonly hash: string
  readonly modifiedAt: Date
}

interface SwiftRequest {
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'DELETE'
  readonly container: string
  readonly object?: string
  readonly query?: Readonly<Record<string, string>>
  readonly headers?: Headers
  /** A stream is sent once; anything else can be repeated. */
  readonly body?: Readable | Uint8Array
  readonly call: Call
}

/**
 * One account of an OpenStack Swift. Requests that can be repeated are, when the connection or the server fails;
 * a token that is refused is replaced. Only kernel errors escape, the reason of an abort, and what a source throws.
 * @see OpenStack Object Storage API v1
 */
export class SwiftClient implements AsyncDisposable {
  readonly #auth: SwiftAuth
  readonly #retries: number
  readonly #agent: Agent

  constructor(options: SwiftClientOptions) {
    this.#auth = options.auth
    this.#retries = options.retries ?? 3
    this.#agent = new Agent({
      connections: 32,
      keepAliveTimeout: 30_000,
      headersTimeout: answerTimeoutMs,
      bodyTimeout: answerTimeoutMs,
      connect: { timeout: 10_000, ...connectOptions(options.trust ?? { verify: true }) },
    })
  }

  /** Where the account is. */
  async storageUrl(call: Call): Promise<string> {
    return (await this.#auth.access(call.signal)).storageUrl
  }

  /** Makes a container, or sets headers of one that is there. */
  async putContainer(container: string, headers: Headers, call: Call): Promise<void> {
    await this.#done({ method: 'PUT', container, headers, call }, `make container ${container}`)
  }

  /** @throws NotFound */
  async headContainer(container: string, call: Call): Promise<Headers> {
    return await this.#done({ method: 'HEAD', container, call }, `describe container ${container}`)
  }

  /** Sets headers: `X-Container-Read`, `X-Container-Meta-…`. @throws NotFound */
  async postContainer(container: string, headers: Headers, call: Call): Promise<void> {
    await this.#done({ method: 'POST', container, headers, call }, `change container ${container}`)
  }

  /** Already gone: fine. @throws Conflict when it is not empty */
  async deleteContainer(container: string, call: Call): Promise<void> {
    await this.#done({ method: 'DELETE', container, call }, `delete container ${container}`, [404])
  }

  /** The objects of a container by name. @throws NotFound on the first pull */
  async *list(container: string, prefix: string, call: Call): AsyncGenerator<SwiftEntry> {
    for (let marker = ''; ; ) {
      const query = { format: 'json', prefix, marker, limit: String(pageLength) }
      const response = await this.#answer({ method: 'GET', container, query, call }, `list ${container}`)
      const entries = (await response.body.json()) as readonly {
        name?: string // a pseudo-directory has none, and only comes when a delimiter is asked for
        bytes: number
        hash: string
        last_modified: string
      }[]
      for (const { name, bytes, hash, last_modified: modified } of entries) {
        if (name === undefined) continue
        yield { name, sizeBytes: bytes, hash, modifiedAt: new Date(`${modified}Z`) }
        marker = name
      }
      if (entries.length === 0) return
    }
  }

  /**
   * Keeps an object in one request, in place of any of that name.
   * @param body bytes are sent again after a failure, a stream is not
   * @param options.sizeBytes of a stream, when it is known: another length is refused with Invalid
   * @param options.headers `If-None-Match: *` refuses with an Invalid of status 412 when it is there; `ETag` has
   *   Swift compare the MD5
   * @returns the MD5 of what Swift keeps
   */
  async putObject(
    container: string,
    object: string,
    body: Bytes | Uint8Array,
    options: { sizeBytes?: number | undefined; headers?: Headers; query?: Readonly<Record<string, string>> },
    call: Call,
  ): Promise<string> {
    const what = `keep ${container}/${object}`
    const { query = {} } = options
    if (body instanceof Uint8Array) {
      const headers = { ...options.headers, 'content-length': String(body.byteLength) }
      const answer = await this.#done({ method: 'PUT', container, object, query, headers, body, call }, what)
      return etagOf(answer) ?? ''
    }
    const { sizeBytes } = options
    const source = watchBytes(sizeBytes === undefined ? body : exactBytes(body, sizeBytes))
    const stream = Readable.from(source.bytes, { objectMode: false })
    const headers = {
      ...options.headers,
      ...(sizeBytes === undefined ? {} : { 'content-length': String(sizeBytes) }),
    }
    try {
      const answer = await this.#done(
        { method: 'PUT', container, object, query, headers, body: stream, call },
        what,
        [],
        source.threw,
      )
      return etagOf(answer) ?? ''
    } catch (error) {
      // a server that refuses a token may hang up before it says so: whoever sends the bytes again has a good one
      if (!call.signal.aborted && error instanceof BackendError && error.retryAfterMs !== undefined) {
        await this.headContainer(container, call).catch(() => {})
      }
      throw error
    } finally {
      stream.destroy()
    }
  }

  /** @throws NotFound */
  async headObject(container: string, object: string, call: Call): Promise<SwiftFacts> {
    const what = `describe ${container}/${object}`
    return factsOf(await this.#done({ method: 'HEAD', container, object, call }, what))
  }

  /**
   * The bytes of an object, or a range of them. A connection that breaks is opened again where it broke.
   * @throws NotFound on the first pull; Invalid when the range begins behind the end
   */
  async *getObject(container: string, object: string, range: ByteRange | undefined, call: Call): Bytes {
    if (range !== undefined && range.end <= range.start) return
    const what = `serve ${container}/${object}`
    let position = range?.start ?? 0
    let first: SwiftFacts | undefined
    for (let failures = 0; ; ) {
      const isWhole = range === undefined && position === 0
      const last = range === undefined ? '' : range.end - 1
      const headers: Headers = isWhole ? {} : { range: `bytes=${position}-${last}` }
      const response = await this.#answer({ method: 'GET', container, object, headers, call }, what)
      let failure: unknown
      try {
        const facts = factsOf(flatHeaders(response))
        if (first !== undefined && facts.etag !== first.etag) throw replaced(container, object)
        first ??= facts
        for await (const chunk of response.body) {
          position += chunk.byteLength
          yield chunk
        }
        return
      } catch (error) {
        if (call.signal.aborted) throw call.signal.reason
        failure = error
      } finally {
        response.body.destroy()
      }
      failures += 1
      if (failure instanceof StorageError || failures > this.#retries) throw unreachable(failure)
      call.log.warn({ container, object, position, error: messageOf(failure) }, 'reading goes on')
      await sleep(pauseMs(failures), call.signal)
    }
  }

  /** Replaces the metadata of an object. @throws NotFound */
  async postObject(container: string, object: string, headers: Headers, call: Call): Promise<void> {
    await this.#done({ method: 'POST', container, object, headers, call }, `change ${container}/${object}`)
  }

  /**
   * Already gone: fine.
   * @param query `{ 'multipart-manifest': 'delete' }` takes the segments of a static large object, too
   */
  async deleteObject(
    container: string,
    object: string,
    call: Call,
    query: Readonly<Record<string, string>> = {},
  ): Promise<void> {
    const what = `delete ${container}/${object}`
    await this.#done({ method: 'DELETE', container, object, query, call }, what, [404])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent.destroy()
  }

  /** A request whose answer's body is of no interest. @param fine statuses beside 2xx that are no failure */
  async #done(
    wanted: SwiftRequest,
    what: string,
    fine: readonly number[] = [],
    ownError: (error: unknown) => boolean = () => false,
  ): Promise<Headers> {
    const response = await this.#answer(wanted, what, fine, ownError)
    await response.body.dump()
    return flatHeaders(response)
  }

  /** Sends a request, again where that may help. The answer's body must be read or destroyed. */
  async #answer(
    wanted: SwiftRequest,
    what: string,
    fine: readonly number[] = [],
    ownError: (error: unknown) => boolean = () => false,
  ): Promise<Dispatcher.ResponseData> {
    const { signal } = wanted.call
    const retries = wanted.body instanceof Readable ? 0 : this.#retries
    let refused: string | undefined
    for (let attempt = 0; ; attempt += 1) {
      signal.throwIfAborted()
      let token: string | undefined
      try {
        const access = await this.#auth.access(signal, refused)
        token = access.token
        const response = await this.#send(wanted, access.storageUrl, token)
        if (response.statusCode < 300 || fine.includes(response.statusCode)) return response
        const isRefused = response.statusCode === 401 && refused === undefined
        const fault = await swiftFault(response, what)
        if (isRefused) {
          refused = token
          if (!(wanted.body instanceof Readable)) continue
          await this.#auth.access(signal, refused) // whoever has the stream's bytes sends them with another token
          throw new BackendError(`${fault.message} There is a new token now.`, {
            left: 'nothing',
            retryAfterMs: 1,
            cause: fault,
          })
        }
        if (attempt >= retries || !isPassing(response.statusCode)) throw fault
        wanted.call.log.warn({ error: fault.message, attempt }, 'Swift will be asked again')
      } catch (error) {
        if (ownError(error)) throw error
        if (signal.aborted) throw signal.reason
        const fault = unreachable(error)
        if (fault !== error && attempt < retries) {
          wanted.call.log.warn({ error: fault.message, attempt }, 'Swift will be asked again')
        } else throw fault
      }
      await sleep(pauseMs(attempt + 1), signal)
    }
  }

  async #send(wanted: SwiftRequest, storageUrl: string, token: string): Promise<Dispatcher.ResponseData> {
    const { method, container, object, query = {}, headers = {}, body, call } = wanted
    const names = object === undefined ? [container] : [container, ...object.split('/')]
    const url = new URL(`${storageUrl}/${names.map(encodeURIComponent).join('/')}`)
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value)
    return await request(url, {
      dispatcher: this.#agent,
      method,
      headers: { ...headers, 'x-auth-token': token },
      signal: call.signal,
      ...(body === undefined ? {} : { body }),
    })
  }
}

function replaced(container: string, object: string): BackendError {
  return new BackendError(`${container}/${object} was replaced while it was read.`, { left: 'nothing' })
}

function pauseMs(attempt: number): number {
  return Math.min(maxRetryMs, firstRetryMs * 2 ** (attempt - 1))
}

function flatHeaders({ headers }: Dispatcher.ResponseData): Headers {
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) =>
      value === undefined ? [] : [[name.toLowerCase(), typeof value === 'string' ? value : value.join(', ')]],
    ),
  )
}

function etagOf(headers: Headers): string | undefined {
  return headers['etag']?.replaceAll('"', '')
}

function factsOf(headers: Headers): SwiftFacts {
  return { sizeBytes: Number(headers['content-length'] ?? 0), etag: etagOf(headers), headers }
}

/** Is the object there? */
export async function swiftObjectExists(
  client: SwiftClient,
  container: string,
  object: string,
  call: Call,
): Promise<boolean> {
  try {
    await client.headObject(container, object, call)
    return true
  } catch (error) {
    if (error instanceof NotFound) return false
    throw error
  }
}
