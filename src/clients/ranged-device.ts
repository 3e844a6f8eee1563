import { type BlockDevice, type Cancel, checkRange, type Done } from '@emberglass/iscsi/device'
import { LRUCache } from 'lru-cache'
import { type ByteRange, type Bytes, KiB, MiB } from '../kernel/bytes.ts'
import { BackendError, Conflict, Unsupported } from '../kernel/errors.ts'
import { type ByteFlow, endedTooEarly, type FlowReceiver, flowOfBytes } from './byte-flow.ts'
import { ForwardReader } from './forward-reader.ts'

/** Opens a range of the source as a stream. Its chunks belong to the reader, who gives their memory back. */
export type OpenRange = (range: ByteRange, signal: AbortSignal) => Bytes

/** Opens a long range of the source as a flow. */
export type OpenRangeFlow = (range: ByteRange, receiver: FlowReceiver, signal: AbortSignal) => ByteFlow

const blockBytes = 512
/** Bytes of a page that is fetched, and kept, for a small read somewhere else. */
const pageBytes = 64 * KiB
const keptPages = 64
/** How far ahead of a stream a read may lie, so that skipping is cheaper than asking again. */
const maxSkipBytes = 2 * MiB
/** Streams that may be open at once: an image's data and its tables, read in turns. */
const maxStreams = 2
/** How often a read is tried when the source breaks in the middle. */
const attempts = 3

/**
 * A source that serves ranges, read as a block device. Readers that go forward share one long range that runs
 * ahead of them; small reads elsewhere are served from a few kept pages. Read-only.
 */
export class RangedDevice implements BlockDevice {
  readonly blockSize = blockBytes
  /** Rounded up to whole blocks. */
  readonly sizeBytes: number
  readonly #dataBytes: number
  readonly #open: OpenRange
  readonly #openFlow: OpenRangeFlow
  readonly #closing = new AbortController()
  readonly #pages = new LRUCache<number, Promise<Uint8Array>>({ max: keptPages })
  /** The most recently used one last. */
  #streams: ForwardReader[] = []
  /** Where recent reads outside of streams ended: a read that begins there begins a stream. */
  #recentEnds: number[] = [0]

  /**
   * @param dataBytes exact length of the source
   * @param openFlow a shorter way for long ranges; by default they are streams, too
   */
  constructor(
    dataBytes: number,
    open: OpenRange,
    openFlow: OpenRangeFlow = (range, receiver, signal) => flowOfBytes(open(range, signal), receiver),
  ) {
    this.#dataBytes = dataBytes
    this.sizeBytes = Math.ceil(dataBytes / blockBytes) * blockBytes
    this.#open = open
    this.#openFlow = openFlow
  }

  read(offset: number, into: Uint8Array, cancel: Cancel): Done {
    cancel.signal.throwIfAborted()
    this.#closing.signal.throwIfAborted()
    checkRange(this, offset, into.byteLength)
    const available = Math.max(0, Math.min(into.byteLength, this.#dataBytes - offset))
    if (available < into.byteLength) into.fill(0, available)
    if (available === 0) return undefined
    return this.#readData(offset, into.subarray(0, available), cancel.signal)
  }

  async #readData(offset: number, into: Uint8Array, signal: AbortSignal): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        await this.#route(offset, into, signal)
        return
      } catch (error) {
        signal.throwIfAborted()
        this.#closing.signal.throwIfAborted()
        const again = error instanceof BackendError && error.retryAfterMs !== undefined
        if (!again || attempt === attempts) throw error
      }
    }
  }

  #route(offset: number, into: Uint8Array, signal: AbortSignal): Promise<void> {
    const end = offset + into.byteLength
    this.#streams = this.#streams.filter((stream) => !stream.broken)
    const stream = this.#streams.find(
      (candidate) => offset >= candidate.position && offset - candidate.position <= maxSkipBytes,
    )
    const isSmall = into.byteLength < pageBytes
    if (stream !== undefined && !(isSmall && offset !== stream.position)) {
      this.#streams = [...this.#streams.filter((other) => other !== stream), stream]
      return stream.read(offset, into, signal)
    }
    const goesOn = this.#recentEnds.includes(offset)
    this.#recentEnds = [...this.#recentEnds.slice(-7), end]
    if (isSmall && !(goesOn && offset > 0)) return this.#readPages(offset, into, signal)
    if (goesOn) return this.#begin(offset).read(offset, into, signal)
    return this.#readOnce(offset, into, signal)
  }

  #begin(offset: number): ForwardReader {
    while (this.#streams.length >= maxStreams) this.#streams.shift()?.close()
    const range = { start: offset, end: this.#dataBytes }
    const stream = new ForwardReader(offset, (receiver, signal) =>
      this.#openFlow(range, receiver, AbortSignal.any([signal, this.#closing.signal])),
    )
    this.#streams.push(stream)
    return stream
  }

  async #readOnce(offset: number, into: Uint8Array, signal: AbortSignal): Promise<void> {
    const any = AbortSignal.any([signal, this.#closing.signal])
    let filled = 0
    for await (const chunk of this.#open({ start: offset, end: offset + into.byteLength }, any)) {
      into.set(chunk.subarray(0, into.byteLength - filled), filled)
      filled += chunk.byteLength
    }
    if (filled < into.byteLength) throw endedTooEarly()
  }

  async #readPages(offset: number, into: Uint8Array, signal: AbortSignal): Promise<void> {
    let filled = 0
    while (filled < into.byteLength) {
      const position = offset + filled
      const number = Math.floor(position / pageBytes)
      const page = await orAborted(this.#page(number), signal)
      const within = position - number * pageBytes
      const part = page.subarray(within, within + into.byteLength - filled)
      into.set(part, filled)
      filled += part.byteLength
    }
  }

  /** A page is fetched for everybody who wants it: one reader's cancelling does not stop it. */
  #page(number: number): Promise<Uint8Array> {
    const known = this.#pages.get(number)
    if (known !== undefined) return known
    const start = number * pageBytes
    const page = new Uint8Array(Math.min(pageBytes, this.#dataBytes - start))
    const fetched = this.#readOnce(start, page, this.#closing.signal).then(() => page)
    this.#pages.set(number, fetched)
    fetched.catch(() => this.#pages.delete(number))
    return fetched
  }

  async write(): Promise<void> {
    throw new Unsupported('An image cannot be written to.')
  }

  async flush(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new Conflict('The image has been closed.'))
    for (const stream of this.#streams.splice(0)) stream.close()
    this.#pages.clear()
  }
}

function orAborted<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason)
    if (signal.aborted) {
      abort()
      return
    }
    signal.addEventListener('abort', abort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}
