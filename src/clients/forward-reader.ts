import type { Bytes } from '../kernel/bytes.ts'
import { BackendError } from '../kernel/errors.ts'

interface PendingRead {
  readonly offset: number
  /** Undefined once its reader has given up: its bytes are passed over. */
  into: Uint8Array | undefined
  readonly length: number
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

const nothing = new Uint8Array(0)
/** Chunks below this are too small to be worth releasing one by one. */
const releasedBytes = 16 * 1024

/**
 * One stream that serves reads in the order of their offsets, each straight into its reader's buffer. The stream
 * itself runs ahead of the readers as far as the connection's buffers go.
 */
export class ForwardReader {
  /** Where the last read that was accepted ends: the next one must not begin before. */
  position: number
  broken = false
  readonly #open: (signal: AbortSignal) => Bytes
  readonly #stop = new AbortController()
  readonly #queue: PendingRead[] = []
  #running = false
  #iterator: AsyncIterator<Uint8Array> | undefined
  /** The chunk that is being served. */
  #chunk: Uint8Array = nothing
  /** What of it was not wanted yet. */
  #rest: Uint8Array = nothing
  /** Offset of the first byte of `#rest`. */
  #at: number

  constructor(offset: number, open: (signal: AbortSignal) => Bytes) {
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
      if (!this.#running) void this.#run()
    })
  }

  close(): void {
    this.#fail(new BackendError('The reader has moved elsewhere.', { left: 'nothing', retryAfterMs: 0 }))
  }

  async #run(): Promise<void> {
    this.#running = true
    try {
      for (let next = this.#queue[0]; next !== undefined; next = this.#queue[0]) {
        await this.#serve(next)
        this.#queue.shift()
        next.resolve()
      }
    } catch (error) {
      this.#fail(error)
    } finally {
      this.#running = false
    }
  }

  async #serve(read: PendingRead): Promise<void> {
    const end = read.offset + read.length
    while (this.#at < end) {
      if (this.#rest.byteLength === 0) {
        this.#chunk = await this.#pull()
        this.#rest = this.#chunk
        continue
      }
      const skipped = Math.max(0, Math.min(read.offset - this.#at, this.#rest.byteLength))
      const part = this.#rest.subarray(skipped, skipped + end - Math.max(this.#at, read.offset))
      if (part.byteLength > 0) read.into?.set(part, this.#at + skipped - read.offset)
      const used = skipped + part.byteLength
      this.#at += used
      if (used < this.#rest.byteLength) {
        this.#rest = this.#rest.subarray(used)
      } else {
        this.#rest = nothing
        release(this.#chunk)
        this.#chunk = nothing
      }
    }
  }

  async #pull(): Promise<Uint8Array> {
    this.#iterator ??= this.#open(this.#stop.signal)[Symbol.asyncIterator]()
    const { done, value } = await this.#iterator.next()
    if (this.broken) throw new BackendError('The stream was closed.', { left: 'nothing', retryAfterMs: 0 })
    if (done === true) {
      throw new BackendError('The image data ended too early.', { left: 'nothing', retryAfterMs: 1_000 })
    }
    return value
  }

  #fail(error: unknown): void {
    if (!this.broken) {
      this.broken = true
      this.#stop.abort(error)
      this.#rest = nothing
      this.#chunk = nothing
      this.#iterator?.return?.()?.catch(() => {}) // the stream is of no interest any more
    }
    for (const read of this.#queue.splice(0)) read.reject(error)
  }
}

/**
 * Gives the memory of a chunk back at once: the collector, which sees how much memory hangs on chunks, would be
 * called for every few of them. A chunk is ours, unless it shares its memory with others.
 */
function release({ buffer, byteLength }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength && byteLength >= releasedBytes) {
    buffer.transfer(0)
  }
}
