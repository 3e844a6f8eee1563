import type { ByteRange, Bytes } from '../../kernel/bytes.ts'
import type { Call } from '../../kernel/call.ts'
import { integer } from '../../kernel/config/options.ts'
import { Conflict, Invalid, NoCapacity, NotFound } from '../../kernel/errors.ts'
import { defineImageStore, type ImageStore, type StoredImage } from '../image-store.ts'

/** Keeps images in memory: for tests and for trying things out. Nothing survives the process. */
export class MemoryStore implements ImageStore {
  readonly #name: string
  readonly #capacityBytes: number
  readonly #images = new Map<string, readonly Uint8Array[]>()
  readonly #writing = new Set<string>()
  #usedBytes = 0

  /** @param capacityBytes what it holds at most; unlimited by default */
  constructor(name: string, capacityBytes = Number.POSITIVE_INFINITY) {
    this.#name = name
    this.#capacityBytes = capacityBytes
  }

  /** Ids of the images it holds, whole or half-written. */
  get imageIds(): readonly string[] {
    return [...new Set([...this.#images.keys(), ...this.#writing])]
  }

  async start(): Promise<void> {}

  async put(imageId: string, data: Bytes, _sizeBytes: number | undefined, call: Call): Promise<StoredImage> {
    if (this.#images.has(imageId) || this.#writing.has(imageId)) {
      throw new Conflict(`Image ${imageId} is in store ${this.#name} already.`)
    }
    this.#writing.add(imageId)
    const chunks: Uint8Array[] = []
    let sizeBytes = 0
    let stored = false
    try {
      call.signal.throwIfAborted()
      for await (const chunk of data) {
        call.signal.throwIfAborted()
        if (this.#usedBytes + chunk.byteLength > this.#capacityBytes) {
          throw new NoCapacity(`Store ${this.#name} is full.`)
        }
        this.#usedBytes += chunk.byteLength
        sizeBytes += chunk.byteLength
        chunks.push(chunk)
      }
      this.#images.set(imageId, chunks)
      stored = true
    } finally {
      this.#writing.delete(imageId)
      if (!stored) this.#usedBytes -= sizeBytes
    }
    return { location: `memory://${this.#name}/${imageId}`, sizeBytes }
  }

  async *get(location: string, range: ByteRange | undefined, call: Call): Bytes {
    const start = range?.start ?? 0
    const end = range?.end ?? Number.POSITIVE_INFINITY
    let position = 0
    for (const chunk of this.#chunks(location)) {
      call.signal.throwIfAborted()
      const part = chunk.subarray(Math.max(0, start - position), Math.max(0, end - position))
      position += chunk.byteLength
      if (part.byteLength > 0) yield Buffer.from(part)
    }
  }

  async size(location: string): Promise<number> {
    return this.#chunks(location).reduce((total, chunk) => total + chunk.byteLength, 0)
  }

  async delete(location: string): Promise<void> {
    const imageId = this.#imageId(location)
    for (const chunk of this.#images.get(imageId) ?? []) this.#usedBytes -= chunk.byteLength
    this.#images.delete(imageId)
  }

  async capacity(): Promise<{ totalBytes: number; freeBytes: number }> {
    const totalBytes = Math.min(this.#capacityBytes, Number.MAX_SAFE_INTEGER)
    return { totalBytes, freeBytes: totalBytes - this.#usedBytes }
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #imageId(location: string): string {
    const prefix = `memory://${this.#name}/`
    if (!location.startsWith(prefix)) {
      throw new Invalid(`The location does not belong to store ${this.#name}.`)
    }
    return location.slice(prefix.length)
  }

  #chunks(location: string): readonly Uint8Array[] {
    const chunks = this.#images.get(this.#imageId(location))
    if (chunks === undefined) throw new NotFound(`Store ${this.#name} has no data at this location.`)
    return chunks
  }
}

export default defineImageStore({
  type: 'memory',
  schemes: ['memory'],
  options: {
    capacityMib: integer('memory_store_size', {
      default: 1024,
      min: 1,
      help: 'How much the store holds, in MiB. Nothing in it survives the process.',
    }),
  },
  create: (settings, store) => new MemoryStore(store.name, settings.capacityMib * 1024 * 1024),
})
