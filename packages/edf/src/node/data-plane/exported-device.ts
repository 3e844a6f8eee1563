import type { BlockDevice, Cancel, Done, Extent } from '@emberglass/iscsi/device'
import type { Direction } from '../metering/activity.ts'
import { VolumeMeter } from '../metering/meters.ts'
import { NoSpaceError } from '../store/errors.ts'

/** Opens the volume behind an exported device, when somebody first reads or writes it. */
export type OpenVolume = () => Promise<BlockDevice>

/**
 * A volume as the target sees it: opened at the first use and closed when nobody uses it, counted, and held still
 * while several volumes are snapshotted together.
 */
export class ExportedDevice implements BlockDevice {
  readonly blockSize = 512
  readonly #meter: VolumeMeter
  readonly #open: OpenVolume
  #sizeBytes: number
  #volume: BlockDevice | undefined
  #opening: Promise<void> | undefined
  #active = 0
  #lastUse = 0
  #frozen: PromiseWithResolvers<void> | undefined
  #drained: PromiseWithResolvers<void> | undefined
  #closed = false

  /** @param meter counts what succeeds */
  constructor(sizeBytes: number, open: OpenVolume, meter = new VolumeMeter()) {
    this.#sizeBytes = sizeBytes
    this.#open = open
    this.#meter = meter
  }

  get sizeBytes(): number {
    return this.#volume?.sizeBytes ?? this.#sizeBytes
  }

  /** The volume has grown behind us. */
  grown(sizeBytes: number): void {
    this.#sizeBytes = sizeBytes
  }

  read(offset: number, into: Uint8Array, cancel: Cancel): Done {
    return this.#counted('read', into.byteLength, (volume) => volume.read(offset, into, cancel))
  }

  write(offset: number, data: Uint8Array, cancel: Cancel): Done {
    return this.#counted('write', data.byteLength, (volume) => volume.write(offset, data, cancel))
  }

  async flush(cancel: Cancel): Promise<void> {
    // What was never opened has nothing to flush; the store flushes a volume when it is closed.
    if (this.#volume === undefined) return
    await this.#use((volume) => volume.flush(cancel))
  }

  async unmap(offset: number, length: number, cancel: Cancel): Promise<void> {
    await this.#use((volume) => {
      if (volume.unmap === undefined) throw new Error('the store cannot unmap')
      return volume.unmap(offset, length, cancel)
    })
  }

  async writeZeroes(offset: number, length: number, cancel: Cancel): Promise<void> {
    await this.#use((volume) => {
      if (volume.writeZeroes === undefined) throw new Error('the store cannot write zeroes')
      return volume.writeZeroes(offset, length, cancel)
    })
  }

  async extents(offset: number, length: number, cancel: Cancel): Promise<readonly Extent[]> {
    const whole: readonly Extent[] = [{ offset, length, state: 'data' }]
    return this.#use((volume) => volume.extents?.(offset, length, cancel) ?? whole)
  }

  /** Lets what is under way end, and holds everything after it until `thaw`. */
  async freeze(): Promise<void> {
    this.#frozen ??= Promise.withResolvers()
    if (this.#active === 0) return
    this.#drained ??= Promise.withResolvers()
    await this.#drained.promise
  }

  thaw(): void {
    this.#frozen?.resolve()
    this.#frozen = undefined
  }

  /** Gives the volume back when nobody has used it for a while; the next use opens it again. */
  async closeIdle(idleMs: number): Promise<void> {
    if (this.#volume === undefined || this.#active > 0 || performance.now() - this.#lastUse < idleMs) return
    await this.#release()
  }

  /** Closes for good: what comes after is refused. What is under way ends first. */
  async close(): Promise<void> {
    this.#closed = true
    this.thaw()
    if (this.#active > 0) {
      this.#drained ??= Promise.withResolvers()
      await this.#drained.promise
    }
    await this.#opening?.catch(() => undefined)
    await this.#release()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #release(): Promise<void> {
    const volume = this.#volume
    this.#volume = undefined
    this.#opening = undefined
    if (volume === undefined) return
    this.#sizeBytes = volume.sizeBytes
    await volume[Symbol.asyncDispose]()
  }

  /** Resolves when the volume may be open and usable; the caller looks again. */
  async #ready(): Promise<void> {
    if (this.#closed) throw new Error('the volume is no longer exported')
    if (this.#frozen !== undefined) {
      await this.#frozen.promise
      return
    }
    this.#lastUse = performance.now()
    this.#opening ??= this.#open().then(
      (volume) => {
        this.#volume = volume
        this.#opening = undefined
      },
      (error: unknown) => {
        this.#opening = undefined
        throw error
      },
    )
    await this.#opening
  }

  /** Waiting counts as well. What the volume does at once is not made to wait. */
  #counted(direction: Direction, bytes: number, work: (volume: BlockDevice) => Done): Done {
    const startedAt = performance.now()
    const finish = () => this.#meter.count(direction, bytes, performance.now() - startedAt)
    const volume = this.#volume
    if (volume === undefined || this.#frozen !== undefined) return this.#use(work).then(finish)
    let done: Done
    try {
      done = work(volume)
    } catch (error) {
      throw asSystemError(error)
    }
    if (done !== undefined) return this.#use(() => done).then(finish)
    finish()
    return undefined
  }

  /** Waiting for a thaw is not yet use: whoever freezes waits only for what had begun. */
  async #use<Result>(work: (volume: BlockDevice) => Result): Promise<Awaited<Result>> {
    let volume = this.#volume
    while (volume === undefined || this.#frozen !== undefined) {
      await this.#ready()
      volume = this.#volume
    }
    this.#active++
    try {
      return await work(volume)
    } catch (error) {
      throw asSystemError(error)
    } finally {
      this.#active--
      this.#lastUse = performance.now()
      if (this.#active === 0) {
        this.#drained?.resolve()
        this.#drained = undefined
      }
    }
  }
}

/** The target knows a full device by the system's own code. */
function asSystemError(error: unknown): unknown {
  if (!(error instanceof NoSpaceError)) return error
  return Object.assign(new Error(error.message, { cause: error }), { code: 'ENOSPC' })
}
