import { type BlockDevice, type Cancel, checkRange, type Extent } from '@emberglass/iscsi/device'
import { BackendError } from '../kernel/errors.ts'
import type { RbdImage } from './image.ts'
import { type FunctionName, type Handle, handleIn, outHandle } from './library.ts'

interface UnderWay {
  readonly completion: Handle
  /** Kept so that the memory stays while librbd reads from it or writes to it. */
  readonly buffer: Uint8Array | undefined
  readonly length: number
  readonly name: FunctionName
  resolve(): void
  reject(error: unknown): void
}

/**
 * An RBD image as a block device. Any number of transfers are under way at a time, on librbd's own threads; one
 * thread of libuv's pool waits for them. A transfer that is aborted still runs to its end before it rejects: its
 * buffer belongs to librbd until then. Disposing closes the image.
 */
export class RbdDevice implements BlockDevice {
  readonly blockSize = 512
  readonly #image: RbdImage
  readonly #underWay: UnderWay[] = []
  #reaping: Promise<void> | undefined
  #sizeBytes: number

  constructor(image: RbdImage) {
    this.#image = image
    this.#sizeBytes = wholeBlocks(image.sizeBytes())
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  async read(offset: number, into: Uint8Array, cancel: Cancel): Promise<void> {
    this.#check(offset, into.byteLength, cancel)
    await this.#transfer('rbd_aio_read2', [offset, into.byteLength, into], [0], into)
    cancel.signal.throwIfAborted()
  }

  async write(offset: number, data: Uint8Array, cancel: Cancel): Promise<void> {
    this.#check(offset, data.byteLength, cancel)
    this.#checkWritable()
    await this.#transfer('rbd_aio_write2', [offset, data.byteLength, data], [0], data)
    cancel.signal.throwIfAborted()
  }

  async flush(cancel: Cancel): Promise<void> {
    cancel.signal.throwIfAborted()
    if (!this.#image.readOnly) await this.#transfer('rbd_aio_flush', [], [])
  }

  /** Whole objects are given back, the rest is overwritten: librbd's own discard leaves small ranges as they are. */
  async writeZeroes(offset: number, length: number, cancel: Cancel): Promise<void> {
    this.#check(offset, length, cancel)
    this.#checkWritable()
    if (length > 0) await this.#transfer('rbd_aio_write_zeroes', [offset, length], [0, 0])
  }

  async unmap(offset: number, length: number, cancel: Cancel): Promise<void> {
    await this.writeZeroes(offset, length, cancel)
  }

  async extents(offset: number, length: number, cancel: Cancel): Promise<readonly Extent[]> {
    this.#check(offset, length, cancel)
    if (length === 0) return []
    return await this.#image.extents({ offset, length }, { granularity: 'object' }, cancel)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#reaping
    await this.#image[Symbol.asyncDispose]()
  }

  #check(offset: number, length: number, cancel: Cancel): void {
    cancel.signal.throwIfAborted()
    if (offset + length > this.#sizeBytes) this.#sizeBytes = wholeBlocks(this.#image.sizeBytes())
    checkRange(this, offset, length)
  }

  #checkWritable(): void {
    if (this.#image.readOnly) {
      throw new BackendError(`${this.#image.name} was opened for reading only.`, { left: 'nothing' })
    }
  }

  #transfer(
    name: FunctionName,
    before: readonly unknown[],
    after: readonly unknown[],
    buffer?: Uint8Array,
  ): Promise<void> {
    if (buffer?.byteLength === 0) return Promise.resolve()
    const { library } = this.#image.cluster
    const out = outHandle()
    library.call('rbd_aio_create_completion', null, null, out)
    const completion = handleIn(out)
    try {
      library.call(name, this.#image.handle, ...before, completion, ...after)
    } catch (error) {
      library.call('rbd_aio_release', completion)
      return Promise.reject(error)
    }
    return new Promise((resolve, reject) => {
      this.#underWay.push({ completion, buffer, length: buffer?.byteLength ?? 0, name, resolve, reject })
      this.#reaping ??= this.#reap()
    })
  }

  /** Waits for the oldest transfer, then settles whatever else has ended meanwhile. */
  async #reap(): Promise<void> {
    const { library } = this.#image.cluster
    for (let oldest = this.#underWay[0]; oldest !== undefined; oldest = this.#underWay[0]) {
      await library.run('rbd_aio_wait_for_complete', oldest.completion)
      for (let index = this.#underWay.length - 1; index >= 0; index--) {
        const transfer = this.#underWay[index]
        if (transfer === undefined || library.call('rbd_aio_is_complete', transfer.completion) === 0) continue
        this.#underWay.splice(index, 1)
        this.#settle(transfer)
      }
    }
    this.#reaping = undefined
  }

  #settle(transfer: UnderWay): void {
    const { library } = this.#image.cluster
    try {
      const result = library.call('rbd_aio_get_return_value', transfer.completion)
      const { buffer, length, name } = transfer
      if (name === 'rbd_aio_read2' && length - result < this.blockSize) buffer?.fill(0, result)
      else if (name === 'rbd_aio_read2') {
        throw new BackendError(`${this.#image.name} gave ${result} of ${length} bytes.`, {
          left: 'nothing',
        })
      }
      transfer.resolve()
    } catch (error) {
      transfer.reject(error)
    } finally {
      library.call('rbd_aio_release', transfer.completion)
    }
  }
}

/** A last block that is not whole reads as if zeroes followed. */
const wholeBlocks = (bytes: number) => Math.ceil(bytes / 512) * 512
