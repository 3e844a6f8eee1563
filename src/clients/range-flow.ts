import { connect, type Socket } from 'node:net'
import type { ByteRange } from '../kernel/bytes.ts'
import { StorageError } from '../kernel/errors.ts'
import { type ByteFlow, endedTooEarly, type FlowReceiver } from './byte-flow.ts'

// Not an ES import of `node:http`: see `kernel/http/status-codes.ts`.
const { validateHeaderValue } = process.getBuiltinModule('node:http')

/** A range of something that plain HTTP serves. */
export interface RangeRequest {
  /** `http:` alone. */
  readonly origin: URL
  /** Path and query, encoded. */
  readonly path: string
  readonly range: ByteRange
  headers(): Promise<Readonly<Record<string, string>>>
  /** How long the answer may take to begin, and to go on, in milliseconds. */
  readonly timeoutMs: number
  /** The answer is not one that this simple reader takes: ask with a real client. The flow has ended. */
  unsuitable(): void
}

/** Bytes of the receive buffer: it stays in the processor's cache. */
const receiveBytes = 256 * 1024
const maxHeadBytes = 32 * 1024

/**
 * Receives a long range over a connection of its own into one buffer that is used again and again: a third of the
 * processor time that an HTTP client takes, which makes a buffer of every 64 KiB. It takes plain answers only (206,
 * exactly the range, not chunked, no TLS); with anything else it gives up.
 */
export function openRangeFlow(request: RangeRequest, receiver: FlowReceiver, signal: AbortSignal): ByteFlow {
  return new RangeFlow(request, receiver, signal)
}

class RangeFlow implements ByteFlow {
  readonly #request: RangeRequest
  readonly #receiver: FlowReceiver
  #socket: Socket | undefined
  /** The head of the answer as far as it has arrived; undefined once it is complete. */
  #head: Buffer | undefined = Buffer.alloc(0)
  #remaining: number
  #standing = false
  #closed = false

  constructor(request: RangeRequest, receiver: FlowReceiver, signal: AbortSignal) {
    this.#request = request
    this.#receiver = receiver
    this.#remaining = request.range.end - request.range.start
    this.#begin(signal).catch((error: unknown) => this.#end(error))
  }

  resume(): void {
    if (!this.#standing) return
    this.#standing = false
    this.#socket?.resume()
  }

  close(): void {
    this.#closed = true
    this.#socket?.destroy()
  }

  async #begin(signal: AbortSignal): Promise<void> {
    const { origin, path, range, timeoutMs } = this.#request
    const headers = await this.#request.headers()
    signal.throwIfAborted()
    if (this.#closed) return
    const lines = [`GET ${path} HTTP/1.1`, `host: ${origin.host}`, 'connection: close']
    for (const [name, value] of Object.entries(headers)) {
      validateHeaderValue(name, value)
      lines.push(`${name}: ${value}`)
    }
    lines.push(`range: bytes=${range.start}-${range.end - 1}`, '', '')
    const socket = connect({
      host: origin.hostname.replace(/^\[|\]$/g, ''),
      port: Number(origin.port || 80),
      noDelay: true,
      onread: {
        buffer: Buffer.allocUnsafeSlow(receiveBytes),
        callback: (length, buffer) => this.#received(buffer.subarray(0, length)),
      },
    })
    this.#socket = socket
    socket.setTimeout(timeoutMs, () => {
      if (this.#standing) socket.setTimeout(timeoutMs)
      else this.#end(new Error(`nothing came for ${timeoutMs} ms`))
    })
    socket.on('error', (error) => this.#end(error))
    socket.on('end', () => this.#end(new Error('the connection was closed')))
    socket.on('close', () => this.#end(new Error('the connection was closed')))
    socket.write(lines.join('\r\n'), 'latin1')
  }

  /** @returns false to stand still */
  #received(bytes: Uint8Array): boolean {
    if (this.#closed) return false
    const body = this.#head === undefined ? bytes : this.#withoutHead(this.#head, bytes)
    if (body === undefined || body.byteLength === 0) return !this.#closed
    if (body.byteLength > this.#remaining) {
      this.#giveUp()
      return false
    }
    this.#remaining -= body.byteLength
    const goesOn = this.#receiver.take(body)
    this.#standing = !goesOn
    if (this.#remaining === 0) {
      this.close()
      return false
    }
    return goesOn
  }

  /** @returns what of the body came with the head; undefined while the head is not complete */
  #withoutHead(before: Buffer, bytes: Uint8Array): Uint8Array | undefined {
    const head = Buffer.concat([before, bytes])
    const end = head.indexOf('\r\n\r\n')
    if (end < 0 && head.byteLength <= maxHeadBytes) {
      this.#head = head
      return undefined
    }
    if (end < 0 || !isPlainRange(head.toString('latin1', 0, end), this.#request.range)) {
      this.#giveUp()
      return undefined
    }
    this.#head = undefined
    return head.subarray(end + 4)
  }

  #giveUp(): void {
    this.#request.unsuitable()
    this.#end(new Error('the answer was not a plain range'))
  }

  #end(error: unknown): void {
    if (this.#closed) return
    this.close()
    this.#receiver.ended(error instanceof StorageError ? error : endedTooEarly(error))
  }
}

/** Whether an answer's head announces exactly the bytes that were asked for, as they are. */
function isPlainRange(head: string, range: ByteRange): boolean {
  const [status = '', ...lines] = head.split('\r\n')
  const fields = new Map<string, string>()
  for (const line of lines) {
    const colon = line.indexOf(':')
    const name = line.slice(0, colon).toLowerCase()
    if (colon < 1 || fields.has(name)) {
      if (name === 'content-length' || name === 'content-range' || colon < 1) return false
    }
    fields.set(name, line.slice(colon + 1).trim())
  }
  return (
    /^HTTP\/1\.[01] 206( |$)/.test(status) &&
    !fields.has('transfer-encoding') &&
    !fields.has('content-encoding') &&
    fields.get('content-length') === String(range.end - range.start) &&
    (fields.get('content-range')?.startsWith(`bytes ${range.start}-${range.end - 1}/`) ?? true)
  )
}
