import type { BlockDevice, Cancel, Done } from '@emberglass/iscsi/device'
import type { RbdDevice } from '../../../ceph/device.ts'
import type { RbdImage } from '../../../ceph/image.ts'
import { GiB } from '../../../kernel/bytes.ts'
import type { Call } from '../../../kernel/call.ts'

/** Largest image that is written, and most that it grows at a time. */
const largestBytes = 1024 * 1024 * GiB
const largestStepBytes = 8 * GiB

/** An image that grows as it is written, for data whose size is not known beforehand. For writing only. */
export class GrowingImage implements BlockDevice {
  readonly sizeBytes = largestBytes
  readonly blockSize: number
  readonly #device: RbdDevice
  readonly #image: RbdImage
  readonly #call: Call
  #stepBytes: number
  #growing: Promise<void> | undefined

  /** @param firstStepBytes how much it grows at first; twice as much each time */
  constructor(device: RbdDevice, image: RbdImage, firstStepBytes: number, call: Call) {
    this.#device = device
    this.blockSize = device.blockSize
    this.#image = image
    this.#stepBytes = firstStepBytes
    this.#call = call
  }

  read(offset: number, into: Uint8Array, cancel: Cancel): Done {
    return this.#device.read(offset, into, cancel)
  }

  async write(offset: number, data: Uint8Array, cancel: Cancel): Promise<void> {
    await this.#reach(offset + data.byteLength)
    await this.#device.write(offset, data, cancel)
  }

  flush(cancel: Cancel): Promise<void> {
    return this.#device.flush(cancel)
  }

  async #reach(bytes: number): Promise<void> {
    while (bytes > this.#image.sizeBytes()) {
      this.#growing ??= this.#grow(bytes).finally(() => {
        this.#growing = undefined
      })
      await this.#growing
    }
  }

  async #grow(bytes: number): Promise<void> {
    await this.#image.resize(Math.max(bytes, this.#image.sizeBytes() + this.#stepBytes), this.#call)
    this.#stepBytes = Math.min(this.#stepBytes * 2, largestStepBytes)
  }

  /** The device is closed by who opened it. */
  async [Symbol.asyncDispose](): Promise<void> {}
}
