import { type BlockDevice, type Cancel, checkRange, type Done, type Extent } from '@emberglass/iscsi'

/** A thin device in memory: knows which blocks were written, and can forget them. */
export class ThinDevice implements BlockDevice {
  readonly blockSize: number
  readonly sizeBytes: number
  readonly #bytes: Uint8Array
  readonly #written: Uint8Array

  constructor(sizeBytes: number, blockSize = 512) {
    this.sizeBytes = sizeBytes
    this.blockSize = blockSize
    this.#bytes = new Uint8Array(sizeBytes)
    this.#written = new Uint8Array(sizeBytes / blockSize)
  }

  read(offset: number, into: Uint8Array, _cancel: Cancel): Done {
    checkRange(this, offset, into.byteLength)
    into.set(this.#bytes.subarray(offset, offset + into.byteLength))
    return undefined
  }

  write(offset: number, data: Uint8Array, _cancel: Cancel): Done {
    checkRange(this, offset, data.byteLength)
    this.#bytes.set(data, offset)
    this.#written.fill(1, offset / this.blockSize, (offset + data.byteLength) / this.blockSize)
    return undefined
  }

  async flush(): Promise<void> {}

  async unmap(offset: number, length: number): Promise<void> {
    checkRange(this, offset, length)
    this.#bytes.fill(0, offset, offset + length)
    this.#written.fill(0, offset / this.blockSize, (offset + length) / this.blockSize)
  }

  async writeZeroes(offset: number, length: number): Promise<void> {
    await this.unmap(offset, length)
  }

  async extents(offset: number, length: number): Promise<readonly Extent[]> {
    const extents: { offset: number; length: number; state: 'data' | 'hole' }[] = []
    for (let at = offset; at < offset + length; at += this.blockSize) {
      const state = this.#written[at / this.blockSize] ? 'data' : 'hole'
      const last = extents.at(-1)
      if (last?.state === state) last.length += this.blockSize
      else extents.push({ offset: at, length: this.blockSize, state })
    }
    return extents
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
