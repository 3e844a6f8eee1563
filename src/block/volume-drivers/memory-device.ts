import { type BlockDevice, checkRange, type Done, type Extent } from '@emberglass/iscsi/device'
import { KiB } from '../../kernel/bytes.ts'
import { BackendError } from '../../kernel/errors.ts'

const pageBytes = 64 * KiB
const blockSize = 512

/** A page belongs to one holder; whoever else refers to it copies it before writing. */
interface Page {
  readonly holder: object
  readonly bytes: Uint8Array
}

/** Sparse bytes in memory; copies share their pages until one of them writes. */
export class Contents {
  #holder: object = {}
  #pages: Map<number, Page>

  constructor(pages: Map<number, Page> = new Map()) {
    this.#pages = pages
  }

  /** A copy of the moment: neither side sees what the other writes later. */
  copy(): Contents {
    this.#holder = {}
    return new Contents(new Map(this.#pages))
  }

  page(index: number): Uint8Array | undefined {
    return this.#pages.get(index)?.bytes
  }

  writable(index: number): Uint8Array {
    const page = this.#pages.get(index)
    if (page !== undefined && page.holder === this.#holder) return page.bytes
    const bytes = page === undefined ? new Uint8Array(pageBytes) : page.bytes.slice()
    this.#pages.set(index, { holder: this.#holder, bytes })
    return bytes
  }

  drop(index: number): void {
    this.#pages.delete(index)
  }

  /** Bytes in which this may differ from another copy of the same contents, in order. */
  changedSince(earlier: Contents): { readonly offset: number; readonly length: number }[] {
    const indices = [...new Set([...this.#pages.keys(), ...earlier.#pages.keys()])]
    return indices
      .filter((index) => this.page(index) !== earlier.page(index))
      .sort((one, other) => one - other)
      .map((index) => ({ offset: index * pageBytes, length: pageBytes }))
  }
}

/** What a device is of; it may grow meanwhile. */
export interface SizedContents {
  readonly sizeBytes: number
  readonly contents: Contents
}

/** Calls `visit` for each page that a range touches. */
function eachPage(
  offset: number,
  length: number,
  visit: (index: number, start: number, end: number, done: number) => void,
): void {
  let done = 0
  while (done < length) {
    const at = offset + done
    const start = at % pageBytes
    const end = Math.min(pageBytes, start + length - done)
    visit(Math.floor(at / pageBytes), start, end, done)
    done += end - start
  }
}

/** A memory volume as blocks. */
export class MemoryVolumeDevice implements BlockDevice {
  readonly blockSize = blockSize
  readonly #volume: SizedContents
  readonly #writable: boolean

  constructor(volume: SizedContents, writable: boolean) {
    this.#volume = volume
    this.#writable = writable
  }

  get sizeBytes(): number {
    return this.#volume.sizeBytes
  }

  read(offset: number, into: Uint8Array, call: { readonly signal: AbortSignal }): Done {
    call.signal.throwIfAborted()
    checkRange(this, offset, into.byteLength)
    eachPage(offset, into.byteLength, (index, start, end, done) => {
      const page = this.#volume.contents.page(index)
      if (page === undefined) into.fill(0, done, done + end - start)
      else into.set(page.subarray(start, end), done)
    })
    return undefined
  }

  write(offset: number, data: Uint8Array, call: { readonly signal: AbortSignal }): Done {
    call.signal.throwIfAborted()
    checkRange(this, offset, data.byteLength)
    this.#checkWritable()
    eachPage(offset, data.byteLength, (index, start, end, done) => {
      this.#volume.contents.writable(index).set(data.subarray(done, done + end - start), start)
    })
    return undefined
  }

  async flush(call: { readonly signal: AbortSignal }): Promise<void> {
    call.signal.throwIfAborted()
  }

  async unmap(offset: number, length: number, call: { readonly signal: AbortSignal }): Promise<void> {
    call.signal.throwIfAborted()
    checkRange(this, offset, length)
    this.#checkWritable()
    eachPage(offset, length, (index, start, end) => {
      if (end - start === pageBytes) this.#volume.contents.drop(index)
      else if (this.#volume.contents.page(index) !== undefined) {
        this.#volume.contents.writable(index).fill(0, start, end)
      }
    })
  }

  async writeZeroes(offset: number, length: number, call: { readonly signal: AbortSignal }): Promise<void> {
    await this.unmap(offset, length, call)
  }

  async extents(
    offset: number,
    length: number,
    call: { readonly signal: AbortSignal },
  ): Promise<readonly Extent[]> {
    call.signal.throwIfAborted()
    checkRange(this, offset, length)
    const found: { offset: number; length: number; state: 'data' | 'hole' }[] = []
    eachPage(offset, length, (index, start, end, done) => {
      const state = this.#volume.contents.page(index) === undefined ? 'hole' : 'data'
      const last = found.at(-1)
      if (last?.state === state) last.length += end - start
      else found.push({ offset: offset + done, length: end - start, state })
    })
    return found
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #checkWritable(): void {
    if (!this.#writable)
      throw new BackendError('The volume was opened for reading only.', { left: 'nothing' })
  }
}
