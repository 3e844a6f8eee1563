import type { AttachedDisk, EdfCall, EdfScope, Located, Volume } from '@emberglass/edf'
import type { BlockDevice, Cancel, Done } from '@emberglass/iscsi/device'
import { GiB } from '../../../kernel/bytes.ts'
import { sleep } from '../../../kernel/call.ts'
import { BackendError, NoCapacity } from '../../../kernel/errors.ts'

/** Largest volume of an array. */
const largestGib = 32_768
/** Most that a volume grows at a time. */
const largestStepGib = 256

export interface Growth {
  readonly scope: EdfScope
  readonly storageInstance: Located
  readonly volume: Volume
  /** Least growth, whole GiB. */
  readonly unitGib: number
  /** Looks at the disk until it shows the new size. */
  readonly attempts: number
  readonly intervalMs: number
  readonly limitMs: number
}

/** The next size of a volume that has to hold `neededGib`: doubled, within limits, whole GiB. */
export function nextSizeGib(currentGib: number, neededGib: number, unitGib: number): number {
  const step = Math.min(Math.max(currentGib, unitGib), largestStepGib)
  return Math.min(Math.max(currentGib + step, neededGib), largestGib)
}

/**
 * A disk that grows as it is written, for images whose size is not known beforehand. It stays connected: the new
 * capacity is read over the same session. For writing only.
 */
export class GrowingDisk implements BlockDevice {
  readonly sizeBytes = largestGib * GiB
  readonly #disk: AttachedDisk
  readonly #growth: Growth
  readonly #call: EdfCall
  #growing: Promise<void> | undefined

  constructor(disk: AttachedDisk, growth: Growth, call: EdfCall) {
    this.#disk = disk
    this.#growth = growth
    this.#call = call
  }

  get blockSize(): number {
    return this.#disk.blockSize
  }

  read(offset: number, into: Uint8Array, cancel: Cancel): Done {
    return this.#disk.read(offset, into, cancel)
  }

  write(offset: number, data: Uint8Array, cancel: Cancel): Done {
    const end = offset + data.byteLength
    if (end <= this.#disk.sizeBytes) return this.#disk.write(offset, data, cancel)
    return this.reach(end).then(() => this.#disk.write(offset, data, cancel))
  }

  flush(cancel: Cancel): Promise<void> {
    return this.#disk.flush(cancel)
  }

  /** The disk has at least `bytes` when this resolves. @throws NoCapacity beyond the array's largest volume */
  async reach(bytes: number): Promise<void> {
    while (bytes > this.#disk.sizeBytes) {
      this.#growing ??= this.#grow(bytes).finally(() => {
        this.#growing = undefined
      })
      await this.#growing
    }
  }

  async #grow(bytes: number): Promise<void> {
    const { scope, storageInstance, volume, unitGib, attempts, intervalMs, limitMs } = this.#growth
    const neededGib = Math.ceil(bytes / GiB)
    if (neededGib > largestGib) {
      throw new NoCapacity(`The image is larger than ${largestGib} GiB, the largest volume of the array.`)
    }
    const size = nextSizeGib(this.#disk.sizeBytes / GiB, neededGib, unitGib)
    await scope.volumes(storageInstance).update(volume.path, { size }, this.#call)
    const deadline = Date.now() + limitMs
    for (let attempt = 0; ; attempt += 1) {
      if ((await this.#disk.rescan(this.#call)) >= size * GiB) return
      if (attempt >= attempts || Date.now() > deadline) {
        throw new BackendError(`The volume does not show its new size of ${size} GiB.`, { left: 'nothing' })
      }
      await sleep(intervalMs, this.#call.signal)
    }
  }

  /** The disk itself is closed by who opened it. */
  async [Symbol.asyncDispose](): Promise<void> {}
}
