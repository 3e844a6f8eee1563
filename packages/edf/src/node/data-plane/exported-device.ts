import type { BlockDevice, Cancel, Done, Extent } from '@emberglass/iscsi'
import { NoSpaceError } from '../store/errors.ts'

/** Opens the volume behind an exported device, when somebody first reads or writes it. */
export type OpenVolume = () => Promise<BlockDevice>

/** What a volume has done since the node started. Bytes, and milliseconds of waiting. */
export interface DeviceCounters {
  reads: number
  writes: number
  bytesRead: number
  bytesWritten: number
  readMs: number
  writeMs: number
}

/**
 * A volume as the target sees it: opened at the first use and closed when nobody uses it, counted, and held still
 * while several volumes are snapshotted together.
 */
export class ExportedDevice implements BlockDevice {
  readonly blockSize = 512
  readonly counters: DeviceCounters = {
    reads: 0,
    writes: 0,
    bytesRead: 0,
    bytesWritten: 0,
    readMs: 0,
    writeMs: 0,
  }
  readonly #open: OpenVolume
  #sizeBytes: number
  #volume: BlockDevice | undefined
  #opening: Promise<void> | undefined
  #active = 0
  #lastUse = 0
  #frozen: PromiseWithResolvers<void> | undefined
  #drained: PromiseWithResolvers<void> | undefined
  #closed = false

  constructor(sizeBytes: number, open: OpenVolume) {
    this.#sizeBytes = sizeBytes
    this.#open = open
  }

  get sizeBytes(): number {
    return this.#volume?.sizeBytes ?? this.#sizeBytes
  }

  /** The volume has grown behind us. */
  grown(sizeBytes: number): void {
    this.#sizeBytes = sizeBytes
  }

  read(offset: number, into: Uint8Array, cancel: Cancel): Done {
    const volume = this.#volume
    const started = performance.now()
    this.counters.reads++
    this.counters.bytesRead += into.byteLength
    if (volume === undefined || this.#frozen !== undefined) {
      return this.#timed('readMs', started, (opened) => opened.read(offset, into, cancel))
    }
    const done = volume.read(offset, into, cancel)
    if (done !== undefined) return this.#timed('readMs', started, () => done)
    this.counters.readMs += performance.now() - started
    return undefined
  }

  write(offset: number, data: Uint8Array, cancel: Cancel): Done {
    const volume = this.#volume
    const started = performance.now()
    this.counters.writes++
    this.counters.bytesWritten += data.byteLength
    if (volume === undefined || this.#frozen !== undefined) {
      return this.#timed('writeMs', started, (opened) => opened.write(offset, data, cancel))
    }
    try {
      const done = volume.write(offset, data, cancel)
      if (done !== undefined) return this.#timed('writeMs', started, () => done)
    } catch (error) {
      throw asSystemError(error)
    }
    this.counters.writeMs += performance.now() - started
    return undefined
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

  async #timed(
    counter: 'readMs' | 'writeMs',
    started: number,
    work: (volume: BlockDevice) => Done,
  ): Promise<void> {
    await this.#use(work)
    this.counters[counter] += performance.now() - started
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
