import { BackendError } from '../kernel/errors.ts'
import type { ByteFlow, OpenFlow } from './byte-flow.ts'

interface PendingRead {
  readonly offset: number
  /** Undefined once its reader has given up: its bytes are passed over. */
  into: Uint8Array | undefined
  readonly length: number
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

const nothing = new Uint8Array(0)

/**
 * One flow that serves reads in the order of their offsets, each straight into its reader's buffer. What arrives
 * before it is wanted stops the flow; the connection's buffers run ahead of the readers.
 */
export class ForwardReader {
  /** Where the last read that was accepted ends: the next one must not begin before. */
  position: number
  broken = false
  readonly #open: OpenFlow
  readonly #stop = new AbortController()
  readonly #queue: PendingRead[] = []
  #flow: ByteFlow | undefined
  /** What has arrived and was not wanted yet; while there is any the flow stands still. */
  #rest: Uint8Array = nothing
  #standing = false
  /** Offset of the first byte of `#rest`. */
  #at: number

  constructor(offset: number, open: OpenFlow) {
    this.position = offset
    this.#at = offset
    this.#open = open
  }

  /** @param offset at or after `position` */
  read(offset: number, into: Uint8Array, signal: AbortSignal): Promise<void> {
    this.position = offset + into.byteLength
    return new Promise((resolve, reject) => {
      const abort = () => {
        pending.into = undefined
        reject(signal.reason)
      }
      const settled = () => signal.removeEventListener('abort', abort)
      const pending: PendingRead = {
        offset,
        into,
        length: into.byteLength,
        resolve: () => {
          settled()
          resolve()
        },
        reject: (error) => {
          settled()
          reject(error)
        },
      }
      signal.addEventListener('abort', abort, { once: true })
      this.#queue.push(pending)
      this.#goOn()
    })
  }

  close(): void {
    this.#fail(new BackendError('The reader has moved elsewhere.', { left: 'nothing', retryAfterMs: 0 }))
  }

  #goOn(): void {
    if (this.#flow === undefined) {
      this.#flow = this.#open(
        { take: (chunk) => this.#take(chunk), ended: (error) => this.#fail(error) },
        this.#stop.signal,
      )
      return
    }
    if (!this.#standing) return
    this.#serve()
    if (this.#rest.byteLength > 0) return
    this.#standing = false
    this.#flow.resume()
  }

  #take(chunk: Uint8Array): boolean {
    if (this.broken) return false
    this.#rest = chunk
    this.#serve()
    this.#standing = this.#rest.byteLength > 0
    return !this.#standing
  }

  /** Gives what has arrived to those who wait for it. */
  #serve(): void {
    for (let read = this.#queue[0]; read !== undefined && this.#rest.byteLength > 0; read = this.#queue[0]) {
      const end = read.offset + read.length
      const skipped = Math.max(0, Math.min(read.offset - this.#at, this.#rest.byteLength))
      const part = this.#rest.subarray(skipped, skipped + end - Math.max(this.#at, read.offset))
      if (part.byteLength > 0) read.into?.set(part, this.#at + skipped - read.offset)
      this.#rest = this.#rest.subarray(skipped + part.byteLength)
      this.#at += skipped + part.byteLength
      if (this.#at < end) continue
      this.#queue.shift()
      read.resolve()
    }
  }

  #fail(error: unknown): void {
    if (!this.broken) {
      this.broken = true
      this.#stop.abort(error)
      this.#rest = nothing
      this.#flow?.close()
    }
    for (const read of this.#queue.splice(0)) read.reject(error)
  }
}
