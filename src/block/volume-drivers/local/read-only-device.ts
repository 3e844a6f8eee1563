import type { BlockDevice, Cancel, Done, Extent } from '@emberglass/iscsi/device'
import { BackendError } from '../../../kernel/errors.ts'

/** A device of which one only reads, whoever else writes it. */
export class ReadOnlyDevice implements BlockDevice {
  readonly #device: BlockDevice

  constructor(device: BlockDevice) {
    this.#device = device
  }

  get sizeBytes(): number {
    return this.#device.sizeBytes
  }

  get blockSize(): number {
    return this.#device.blockSize
  }

  read(offset: number, into: Uint8Array, cancel: Cancel): Done {
    return this.#device.read(offset, into, cancel)
  }

  write(): Done {
    throw new BackendError('The volume was opened for reading only.', { left: 'nothing' })
  }

  async flush(cancel: Cancel): Promise<void> {
    cancel.signal.throwIfAborted()
  }

  async extents(offset: number, length: number, cancel: Cancel): Promise<readonly Extent[]> {
    const whole: readonly Extent[] = [{ offset, length, state: 'data' }]
    return (await this.#device.extents?.(offset, length, cancel)) ?? whole
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#device[Symbol.asyncDispose]()
  }
}
