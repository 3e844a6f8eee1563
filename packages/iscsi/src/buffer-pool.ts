/**
 * Buffers by power-of-two class, used again instead of allocated for each command: fresh large buffers cost page
 * faults and garbage collection of external memory. The content of a taken buffer is undefined.
 */

const SMALLEST = 4096
const LARGEST = 2097152

export class BufferPool {
  readonly #keepBytes: number
  readonly #free = new Map<number, Buffer[]>()
  #keptBytes = 0

  /** @param keepBytes how much unused memory is kept for reuse */
  constructor(keepBytes: number) {
    this.#keepBytes = keepBytes
  }

  /** A buffer of at least `length` bytes. */
  take(length: number): Buffer {
    if (length > LARGEST) return Buffer.allocUnsafeSlow(length)
    const size = classOf(length)
    const buffer = this.#free.get(size)?.pop()
    if (!buffer) return Buffer.allocUnsafeSlow(size)
    this.#keptBytes -= size
    return buffer
  }

  /** Gives a whole buffer back that `take` returned; nobody may use it afterwards. */
  give(buffer: Buffer): void {
    const size = buffer.byteLength
    if (size > LARGEST || this.#keptBytes + size > this.#keepBytes) return
    const list = this.#free.get(size)
    if (list) list.push(buffer)
    else this.#free.set(size, [buffer])
    this.#keptBytes += size
  }
}

function classOf(length: number): number {
  return length <= SMALLEST ? SMALLEST : 2 ** (32 - Math.clz32(length - 1))
}
