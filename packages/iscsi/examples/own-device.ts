// A device of one's own: two others that hold the same bytes. What is written goes to both.
import { type BlockDevice, type Cancel, checkRange, MemoryDevice, readBytes } from '@emberglass/iscsi'

class Mirror implements BlockDevice {
  readonly blockSize = 512
  readonly sizeBytes: number
  readonly #halves: readonly [BlockDevice, BlockDevice]

  constructor(first: BlockDevice, second: BlockDevice) {
    this.#halves = [first, second]
    this.sizeBytes = Math.min(first.sizeBytes, second.sizeBytes)
  }

  async read(offset: number, into: Uint8Array, cancel: Cancel): Promise<void> {
    checkRange(this, offset, into.byteLength)
    const [first, second] = this.#halves
    try {
      await first.read(offset, into, cancel)
    } catch {
      cancel.signal.throwIfAborted()
      await second.read(offset, into, cancel)
    }
  }

  async write(offset: number, data: Uint8Array, cancel: Cancel): Promise<void> {
    checkRange(this, offset, data.byteLength)
    await bothOf(this.#halves.map(async (half) => half.write(offset, data, cancel)))
  }

  async flush(cancel: Cancel): Promise<void> {
    await bothOf(this.#halves.map((half) => half.flush(cancel)))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await bothOf(this.#halves.map((half) => half[Symbol.asyncDispose]()))
  }
}

/** Waits for both, also when one fails: until then they may still use the caller's buffer. */
async function bothOf(work: readonly PromiseLike<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(work)) if (result.status === 'rejected') throw result.reason
}

const cancel = { signal: new AbortController().signal }
const second = new MemoryDevice(4096)
await using mirror = new Mirror(new MemoryDevice(4096), second)
await mirror.write(512, Buffer.alloc(512, 'emberglass '), cancel)
console.log(Buffer.from((await readBytes(second, 512, 512, cancel)).subarray(0, 10)).toString())
