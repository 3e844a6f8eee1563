import { Pool } from 'undici'
import { EdfProtocol, EdfTls, EdfUnavailable } from './errors.ts'

/** How TLS is spoken. Certificates and keys are PEM texts. */
export interface EdfTlsOptions {
  /** Whether the array's certificate is checked. */
  readonly verify: boolean
  /** Authorities to trust instead of the system's. */
  readonly ca?: string
  /** Our own certificate, for mutual TLS. */
  readonly cert?: string
  readonly key?: string
}

export interface TransportOptions {
  readonly host: string
  readonly port: number
  /** Absent: plain HTTP. */
  readonly tls?: EdfTlsOptions
  readonly connectTimeoutMs: number
  /** Longest silence of the array. */
  readonly answerTimeoutMs: number
  /** Requests under way at once; others wait. */
  readonly concurrency: number
}

export interface Answer {
  readonly status: number
  /** Parsed JSON; `undefined` when the body is empty. */
  readonly body: unknown
}

/** The longest answer that is read: a page of 1000 app instances stays far below. */
const maxAnswerBytes = 64 * 1024 * 1024

/** One attempt of one request after the other, with no memory of what happened before. */
export class Transport {
  readonly origin: string
  readonly #pool: Pool

  constructor(options: TransportOptions) {
    const host = options.host.includes(':') ? `[${options.host}]` : options.host
    this.origin = `${options.tls === undefined ? 'http' : 'https'}://${host}:${options.port}`
    const { tls } = options
    this.#pool = new Pool(this.origin, {
      connections: options.concurrency,
      pipelining: 1,
      headersTimeout: options.answerTimeoutMs,
      bodyTimeout: options.answerTimeoutMs,
      keepAliveTimeout: 30_000,
      connect: {
        timeout: options.connectTimeoutMs,
        ...(tls === undefined
          ? {}
          : {
              rejectUnauthorized: tls.verify,
              ...(tls.ca === undefined ? {} : { ca: tls.ca }),
              ...(tls.cert === undefined ? {} : { cert: tls.cert }),
              ...(tls.key === undefined ? {} : { key: tls.key }),
            }),
      },
    })
  }

  /**
   * @param path with version prefix and query
   * @throws EdfUnavailable when there is no answer; EdfTls; EdfProtocol; the signal's reason
   */
  async send(
    method: string,
    path: string,
    headers: Readonly<Record<string, string>>,
    body: string | undefined,
    signal: AbortSignal,
  ): Promise<Answer> {
    signal.throwIfAborted()
    let status: number
    let text: string
    try {
      const response = await this.#pool.request({ method, path, headers, body: body ?? null, signal })
      status = response.statusCode
      text = await readText(response.body)
    } catch (error) {
      if (signal.aborted) throw signal.reason
      if (error instanceof EdfProtocol) throw error
      throw this.#failure(error, method, path)
    }
    if (text === '') return { status, body: undefined }
    try {
      return { status, body: JSON.parse(text) }
    } catch (cause) {
      if (status === 503 || status === 502 || status === 504) return { status: 503, body: undefined }
      throw new EdfProtocol(`${method} ${path}: ${this.origin} answered status ${status} without JSON`, {
        method,
        path,
        status,
        cause,
      })
    }
  }

  /** Ends idle connections at once, and those in use when their requests are done. */
  async close(): Promise<void> {
    await this.#pool.close()
  }

  /** Ends every connection at once. */
  async destroy(): Promise<void> {
    await this.#pool.destroy()
  }

  #failure(cause: unknown, method: string, path: string): EdfTls | EdfUnavailable {
    const code = codeOf(cause)
    const why = cause instanceof Error && cause.message !== '' ? cause.message : code
    if (isTlsFailure(code)) {
      return new EdfTls(`TLS with ${this.origin} failed: ${why}`, { method, path, cause })
    }
    const outcome = neverSent.has(code) ? 'none' : 'unknown'
    const said = `${this.origin} did not answer ${method} ${path}: ${why}`
    return new EdfUnavailable(said, { method, path, cause, outcome })
  }
}

/** Failures after which the array certainly has not seen the request. */
const neverSent = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
])

function codeOf(error: unknown): string {
  const code: unknown = error instanceof Error ? Reflect.get(error, 'code') : undefined
  if (typeof code === 'string') return code
  if (error instanceof AggregateError && error.errors.length > 0) return codeOf(error.errors[0])
  return ''
}

function isTlsFailure(code: string): boolean {
  return /CERT|SELF_SIGNED|UNABLE_TO_|^ERR_TLS|^ERR_SSL|^EPROTO$|^CRL_/.test(code)
}

async function readText(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of body) {
    bytes += chunk.byteLength
    if (bytes > maxAnswerBytes) throw new EdfProtocol(`the array's answer exceeds ${maxAnswerBytes} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
