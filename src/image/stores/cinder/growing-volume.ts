import type { BlockDevice, Cancel } from '@emberglass/iscsi/device'
import { GiB } from '../../../kernel/bytes.ts'

/**
 * A volume that grows, one GiB at a time, as it is written: for images whose size is not known beforehand. Writes
 * that are under way end before it grows, because it may have to be detached for that. For writing only.
 */
export class GrowingVolume implements BlockDevice {
  readonly sizeBytes = Number.MAX_SAFE_INTEGER - (Number.MAX_SAFE_INTEGER % GiB)
  readonly blockSize: number
  readonly #grow: (sizeGib: number) => Promise<BlockDevice>
  readonly #writing = new Set<Promise<void>>()
  #device: BlockDevice
  #growing: Promise<void> | undefined

  /** @param grow makes the volume that large, and gives it as a device of at least that size */
  constructor(device: BlockDevice, grow: (sizeGib: number) => Promise<BlockDevice>) {
    this.#device = device
    this.blockSize = device.blockSize
    this.#grow = grow
  }

  async read(offset: number, into: Uint8Array, cancel: Cancel): Promise<void> {
    await this.#device.read(offset, into, cancel)
  }

  async write(offset: number, data: Uint8Array, cancel: Cancel): Promise<void> {
    await this.reach(offset + data.byteLength)
    await this.#tracked(Promise.resolve(this.#device.write(offset, data, cancel)))
  }

  async writeZeroes(offset: number, length: number, cancel: Cancel): Promise<void> {
    await this.reach(offset + length)
    const device = this.#device
    await this.#tracked(
      device.writeZeroes === undefined
        ? Promise.resolve(device.write(offset, new Uint8Array(length), cancel))
        : device.writeZeroes(offset, length, cancel),
    )
  }

  async flush(cancel: Cancel): Promise<void> {
    await this.#device.flush(cancel)
  }

  /** The volume has at least `bytes`, and is not growing, when this resolves. */
  async reach(bytes: number): Promise<void> {
    while (this.#growing !== undefined || bytes > this.#device.sizeBytes) {
      this.#growing ??= this.#growTo(Math.ceil(bytes / GiB)).finally(() => {
        this.#growing = undefined
      })
      await this.#growing
    }
  }

  async #growTo(sizeGib: number): Promise<void> {
    await Promise.allSettled(this.#writing)
    this.#device = await this.#grow(sizeGib)
  }

  async #tracked(writing: Promise<void>): Promise<void> {
    this.#writing.add(writing)
    try {
      await writing
    } finally {
      this.#writing.delete(writing)
    }
  }

  /** The volume itself is closed by who opened it. */
  async [Symbol.asyncDispose](): Promise<void> {}
}
