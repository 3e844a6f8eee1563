/** What a waiting call can be stopped by. `signal.reason` is what the call then rejects with. */
export interface Cancel {
  readonly signal: AbortSignal
}

/**
 * The result of an operation that may finish at once: `undefined` when it is already done (no promise, no
 * microtask), a promise when it has to wait. `await` takes both.
 */
export type Done = undefined | Promise<void>

/** What a stretch of a device holds: bytes, or certainly zeroes. `hole` has no space allocated behind it. */
export interface Extent {
  /** First byte. */
  readonly offset: number
  /** Bytes; extents of one answer are adjacent and never empty. */
  readonly length: number
  readonly state: 'data' | 'zero' | 'hole'
}

/**
 * Random-access bytes: everything that moves bytes speaks this. Offsets and lengths are bytes and multiples of
 * `blockSize`; a range outside the device is a `RangeError`, whoever implements it.
 *
 * Operations may overlap in time. Two that touch the same bytes at once have no defined order, as on a disk.
 * The caller owns every buffer: it may be reused as soon as the operation is done, and not before.
 */
export interface BlockDevice extends AsyncDisposable {
  /** Bytes, a multiple of `blockSize`. May grow while the device is open. */
  readonly sizeBytes: number
  /** Bytes of a logical block: 512 or 4096. */
  readonly blockSize: number
  /** Fills the whole of `into` from `offset`. */
  read(offset: number, into: Uint8Array, cancel: Cancel): Done
  /** Writes all of `data` at `offset`. It is durable only after a later `flush` has resolved. */
  write(offset: number, data: Uint8Array, cancel: Cancel): Done
  /** Resolves when every write that was done before this call would survive a power loss. */
  flush(cancel: Cancel): Promise<void>
  /** Gives the space of a range back; it reads as zeroes from then on. */
  unmap?(offset: number, length: number, cancel: Cancel): Promise<void>
  /** Makes a range read as zeroes, sending no data where the device knows a shorter way. */
  writeZeroes?(offset: number, length: number, cancel: Cancel): Promise<void>
  /** What a range holds; absent when the device cannot tell. */
  extents?(offset: number, length: number, cancel: Cancel): Promise<readonly Extent[]>
}

/** @throws RangeError unless the range lies inside the device and on block boundaries */
export function checkRange(
  device: Pick<BlockDevice, 'sizeBytes' | 'blockSize'>,
  offset: number,
  length: number,
): void {
  if (offset < 0 || length < 0 || offset + length > device.sizeBytes) {
    throw new RangeError(`bytes ${offset}+${length} lie outside a device of ${device.sizeBytes} bytes`)
  }
  if (offset % device.blockSize !== 0 || length % device.blockSize !== 0) {
    throw new RangeError(`bytes ${offset}+${length} are not on boundaries of ${device.blockSize} bytes`)
  }
}

/** Reads into a buffer of its own. For code that is not in a hurry: the data path brings its own buffers. */
export async function readBytes(
  device: BlockDevice,
  offset: number,
  length: number,
  cancel: Cancel,
): Promise<Uint8Array> {
  const into = new Uint8Array(length)
  await device.read(offset, into, cancel)
  return into
}

/** A device in memory, for tests and small things. Nothing survives the process. */
export class MemoryDevice implements BlockDevice {
  readonly blockSize: number
  #bytes: Uint8Array

  constructor(sizeBytes: number, blockSize = 512) {
    this.blockSize = blockSize
    this.#bytes = new Uint8Array(sizeBytes)
  }

  get sizeBytes(): number {
    return this.#bytes.byteLength
  }

  /** Grows the device; new bytes are zeroes. */
  resize(sizeBytes: number): void {
    const grown = new Uint8Array(sizeBytes)
    grown.set(this.#bytes.subarray(0, sizeBytes))
    this.#bytes = grown
  }

  read(offset: number, into: Uint8Array, cancel: Cancel): Done {
    cancel.signal.throwIfAborted()
    checkRange(this, offset, into.byteLength)
    into.set(this.#bytes.subarray(offset, offset + into.byteLength))
    return undefined
  }

  write(offset: number, data: Uint8Array, cancel: Cancel): Done {
    cancel.signal.throwIfAborted()
    checkRange(this, offset, data.byteLength)
    this.#bytes.set(data, offset)
    return undefined
  }

  async flush(cancel: Cancel): Promise<void> {
    cancel.signal.throwIfAborted()
  }

  async unmap(offset: number, length: number, cancel: Cancel): Promise<void> {
    cancel.signal.throwIfAborted()
    checkRange(this, offset, length)
    this.#bytes.fill(0, offset, offset + length)
  }

  async writeZeroes(offset: number, length: number, cancel: Cancel): Promise<void> {
    await this.unmap(offset, length, cancel)
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
