/**
 * Buffers by power-of-two class, used again instead of allocated for each command: fresh large buffers cost page
 * faults and garbage collection of external memory. The content of a taken buffer is undefined.
 */

const SMALLEST = 4096
const LARGEST = 2097152

export class BufferPool {
  readonly #keepBytes: number
  readonly #limitBytes: number
  #takenBytes = 0
  readonly #free = new Map<number, Buffer[]>()
  #keptBytes = 0

  /**
   * @param keepBytes how much unused memory is kept for reuse
   * @param limitBytes how much may be taken at a time before `isFull`
   */
  constructor(keepBytes: number, limitBytes = Number.POSITIVE_INFINITY) {
    this.#keepBytes = keepBytes
    this.#limitBytes = limitBytes
  }

  /** So much is taken that whoever can do without should wait. `take` gives all the same. */
  get isFull(): boolean {
    return this.#takenBytes >= this.#limitBytes
  }

  /** A buffer of at least `length` bytes. */
  take(length: number): Buffer {
    const size = length > LARGEST ? length : classOf(length)
    this.#takenBytes += size
    const buffer = this.#free.get(size)?.pop()
    if (!buffer) return Buffer.allocUnsafeSlow(size)
    this.#keptBytes -= size
    return buffer
  }

  /** Gives a whole buffer back that `take` returned; nobody may use it afterwards. */
  give(buffer: Buffer): void {
    const size = buffer.byteLength
    this.#takenBytes -= size
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
