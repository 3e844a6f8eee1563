import { setImmediate as nextTurn } from 'node:timers/promises'
import type { BlockDevice, Cancel, Extent } from './block-device.ts'
import { writeSparse, type ZeroOptions } from './zeroes.ts'

/** How `writeStream` writes. */
export interface WriteStreamOptions extends ZeroOptions {
  /** Where on the device the stream begins, in bytes, on a block boundary. Default 0. */
  readonly offset?: number
  /** Bytes of one write, a multiple of the block size. Default 1 MiB. */
  readonly chunkBytes?: number
  /** Writes under way at a time; each holds one buffer of `chunkBytes`. Default 8. */
  readonly depth?: number
  /** Called after each write with the bytes written so far. */
  readonly onProgress?: (doneBytes: number) => void
}

/** What `writeStream` has done. */
export interface StreamWritten {
  /** Length of the stream in bytes, without padding. */
  readonly totalBytes: number
  /** Bytes that were zeroes and were not sent as data. */
  readonly skippedBytes: number
}

/**
 * Writes a stream to a device, several writes at a time. Chunks may have any size; the last block is filled up
 * with zeroes. The device is flushed at the end. On failure the source is closed and the first error is thrown
 * once every write under way has ended.
 * @throws RangeError when the stream is longer than the device; what source and device throw; the signal's reason
 */
export async function writeStream(
  source: AsyncIterable<Uint8Array>,
  target: BlockDevice,
  options: WriteStreamOptions,
  cancel: Cancel,
): Promise<StreamWritten> {
  const { offset = 0, chunkBytes = 1024 * 1024, depth = 8 } = options
  if (chunkBytes < 1 || chunkBytes % target.blockSize !== 0 || offset % target.blockSize !== 0 || depth < 1) {
    throw new RangeError(`chunks of ${chunkBytes} bytes at ${offset}, depth ${depth}, do not fit the device`)
  }
  const writer = new QueuedWriter(target, offset, { ...options, chunkBytes, depth }, cancel)
  try {
    const iterator = source[Symbol.asyncIterator]()
    try {
      for (;;) {
        const step = await writer.unlessFailed(iterator.next())
        if (step.done === true) break
        await writer.push(step.value)
      }
    } catch (error) {
      // Not awaited: a source that is waiting for its own next chunk would answer only after that.
      iterator.return?.()?.then(undefined, () => {})
      throw error
    }
    await writer.pushTail()
  } finally {
    await writer.settled()
  }
  writer.throwIfFailed()
  await target.flush(cancel)
  return { totalBytes: writer.totalBytes, skippedBytes: Math.min(writer.skippedBytes, writer.totalBytes) }
}

/** Regroups bytes into buffers and writes each when it is full; holds at most `depth` buffers. */
class QueuedWriter {
  totalBytes = 0
  skippedBytes = 0
  readonly #target: BlockDevice
  readonly #offset: number
  readonly #options: WriteStreamOptions & { readonly chunkBytes: number; readonly depth: number }
  readonly #cancel: Cancel
  readonly #writing = new Set<Promise<void>>()
  readonly #free: Uint8Array[] = []
  #buffers = 0
  #current: Uint8Array | undefined
  #filled = 0
  #doneBytes = 0
  #failure: { readonly error: unknown } | undefined
  #onFailure: ((error: unknown) => void) | undefined
  #onFree: (() => void) | undefined

  constructor(
    target: BlockDevice,
    offset: number,
    options: WriteStreamOptions & { readonly chunkBytes: number; readonly depth: number },
    cancel: Cancel,
  ) {
    this.#target = target
    this.#offset = offset
    this.#options = options
    this.#cancel = cancel
  }

  throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure.error
    this.#cancel.signal.throwIfAborted()
  }

  /** Waits for the source, but not longer than the writes behind it go well. */
  unlessFailed<T>(waiting: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const { signal } = this.#cancel
      const stop = (error: unknown) => {
        signal.removeEventListener('abort', onAbort)
        this.#onFailure = undefined
        reject(error)
      }
      const onAbort = () => stop(signal.reason)
      waiting.then((value) => {
        signal.removeEventListener('abort', onAbort)
        this.#onFailure = undefined
        resolve(value)
      }, stop)
      if (this.#failure !== undefined) stop(this.#failure.error)
      else if (signal.aborted) onAbort()
      else {
        this.#onFailure = stop
        signal.addEventListener('abort', onAbort)
      }
    })
  }

  async push(chunk: Uint8Array): Promise<void> {
    const available = this.#target.sizeBytes - this.#offset
    if (this.totalBytes + chunk.byteLength > available) {
      throw new RangeError(`the stream is longer than the ${available} bytes there is room for`)
    }
    let taken = 0
    while (taken < chunk.byteLength) {
      if (this.#current === undefined) this.#current = await this.#buffer()
      const part = chunk.subarray(taken, taken + this.#options.chunkBytes - this.#filled)
      this.#current.set(part, this.#filled)
      this.#filled += part.byteLength
      this.totalBytes += part.byteLength
      taken += part.byteLength
      if (this.#filled === this.#options.chunkBytes) this.#send(this.#current, this.#filled)
    }
  }

  async pushTail(): Promise<void> {
    if (this.#current === undefined) return
    const { blockSize } = this.#target
    const padded = Math.ceil(this.#filled / blockSize) * blockSize
    this.#current.fill(0, this.#filled, padded)
    this.#send(this.#current, padded)
  }

  async settled(): Promise<void> {
    while (this.#writing.size > 0) await Promise.allSettled(this.#writing)
  }

  async #buffer(): Promise<Uint8Array> {
    for (;;) {
      this.throwIfFailed()
      const free = this.#free.pop()
      if (free !== undefined) return free
      if (this.#buffers < this.#options.depth) {
        this.#buffers += 1
        return Buffer.allocUnsafeSlow(this.#options.chunkBytes)
      }
      await new Promise<void>((resolve) => {
        this.#onFree = resolve
      })
      this.#onFree = undefined
    }
  }

  #send(buffer: Uint8Array, length: number): void {
    const at = this.#offset + this.totalBytes - this.#filled
    const filled = this.#filled
    this.#current = undefined
    this.#filled = 0
    const writing = this.#write(at, buffer.subarray(0, length)).then(
      () => {
        this.#doneBytes += filled
        this.#options.onProgress?.(this.#doneBytes)
      },
      (error: unknown) => {
        this.#failure ??= { error }
        this.#onFailure?.(error)
      },
    )
    const tracked = writing.finally(() => {
      this.#writing.delete(tracked)
      this.#free.push(buffer)
      this.#onFree?.()
    })
    tracked.catch((error: unknown) => {
      this.#failure ??= { error }
      this.#onFailure?.(error)
    })
    this.#writing.add(tracked)
  }

  async #write(at: number, data: Uint8Array): Promise<void> {
    const onSkipped = (bytes: number) => {
      this.skippedBytes += bytes
    }
    const writing = writeSparse(this.#target, at, data, this.#options, onSkipped, this.#cancel)
    // A device that answers at once must not keep the event loop from everybody else.
    if (writing === undefined) await nextTurn()
    else await writing
  }
}

/** How `readStream` reads; it holds `depth` buffers of `chunkBytes`. */
export interface ReadStreamOptions {
  /** Bytes of one chunk, a multiple of the block size. Default 1 MiB. */
  readonly chunkBytes?: number
  /** Chunks that are being read or wait for the consumer. Default 4. */
  readonly depth?: number
}

/**
 * Reads a range as a stream, ahead of the consumer, who owns every chunk it gets. Offset and length may be any
 * bytes. Stretches that the device knows to be zeroes are not read. Leaving the loop waits for the reads under
 * way.
 * @throws RangeError when the range does not lie inside the device; what the device throws; the signal's reason
 */
export async function* readStream(
  device: BlockDevice,
  offset: number,
  length: number,
  options: ReadStreamOptions,
  cancel: Cancel,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { chunkBytes = 1024 * 1024, depth = 4 } = options
  const { blockSize } = device
  if (offset < 0 || length < 0 || offset + length > device.sizeBytes) {
    throw new RangeError(`bytes ${offset}+${length} lie outside a device of ${device.sizeBytes} bytes`)
  }
  if (chunkBytes < 1 || chunkBytes % blockSize !== 0 || depth < 1) {
    throw new RangeError(`chunks of ${chunkBytes} bytes at depth ${depth} do not fit the device`)
  }
  const left = new AbortController()
  const inner: Cancel = { signal: AbortSignal.any([cancel.signal, left.signal]) }
  const end = offset + length
  const ahead: Promise<Uint8Array>[] = []
  const zeroes = new KnownZeroes(device, inner)
  let next = offset
  try {
    for (;;) {
      while (ahead.length < depth && next < end) {
        // Chunks lie on multiples of their size, so that only the first and the last are cut.
        const chunkEnd = Math.min(end, next - (next % chunkBytes) + chunkBytes)
        const reading = readChunk(device, zeroes, next, chunkEnd, inner)
        reading.catch(() => {})
        ahead.push(reading)
        next = chunkEnd
      }
      const first = ahead[0]
      if (first === undefined) return
      const chunk = await first
      ahead.shift()
      yield chunk
      cancel.signal.throwIfAborted()
    }
  } finally {
    left.abort(new Error('the reader has left'))
    await Promise.allSettled(ahead)
  }
}

async function readChunk(
  device: BlockDevice,
  zeroes: KnownZeroes,
  start: number,
  end: number,
  cancel: Cancel,
): Promise<Uint8Array> {
  const { blockSize } = device
  const blockStart = start - (start % blockSize)
  const blockEnd = Math.ceil(end / blockSize) * blockSize
  if (await zeroes.cover(blockStart, blockEnd)) return Buffer.alloc(end - start)
  const blocks = Buffer.allocUnsafeSlow(blockEnd - blockStart)
  await device.read(blockStart, blocks, cancel)
  return blocks.subarray(start - blockStart, end - blockStart)
}

/** Bytes of the device that are asked about at a time: a question may be a round trip. */
const windowBytes = 64 * 1024 * 1024

/** What the device knows to be zeroes, for a reader that goes forward. */
class KnownZeroes {
  readonly #device: BlockDevice
  readonly #cancel: Cancel
  #window:
    | { readonly start: number; readonly end: number; readonly map: Promise<readonly Extent[]> }
    | undefined

  constructor(device: BlockDevice, cancel: Cancel) {
    this.#device = device
    this.#cancel = cancel
  }

  /** Whether a range of whole blocks holds nothing but zeroes; false when the device cannot tell. */
  async cover(start: number, end: number): Promise<boolean> {
    if (this.#device.extents === undefined) return false
    if (this.#window === undefined || start < this.#window.start || end > this.#window.end) {
      const windowEnd = Math.max(end, Math.min(start + windowBytes, this.#device.sizeBytes))
      const map = this.#device.extents(start, windowEnd - start, this.#cancel)
      this.#window = { start, end: windowEnd, map }
    }
    for (const extent of await this.#window.map) {
      if (extent.offset >= end) break
      if (extent.state === 'data' && extent.offset + extent.length > start) return false
    }
    return true
  }
}
