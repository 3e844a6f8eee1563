/** One disk of a target: its state, and the way from block commands to its device. No sockets. */
import type { BlockDevice, Cancel, Done } from '../block-device.ts'
import { ScsiError } from '../errors.ts'
import { CopyResults } from './copy-results.ts'
import { type NexusId, partsOf } from './nexus.ts'
import { PersistentReservations, type ReservationStore } from './persistent-reservations.ts'
import { RangeLock } from './range-lock.ts'
import { type Direction, isLimited, RateLimiter, type RateLimits } from './rate-limiter.ts'
import { Conditions, type Sense } from './sense.ts'
import { ScsiStatus } from './status.ts'

/** How a LUN presents itself. */
export interface LogicalUnitConfig {
  /** Closed by whoever opened it. */
  readonly device: BlockDevice
  /** Unit serial number: what makes the disk the same one on every path. ASCII, at most 64 characters. */
  readonly serial: string
  /** NAA identifier, 16 or 32 hex digits; made from the serial number when it is left out. */
  readonly naa?: string
  /** ASCII, at most 8 characters. Default `DATERA`. */
  readonly vendor?: string
  /** ASCII, at most 16 characters. Default `IBLOCK`. */
  readonly product?: string
  /** At most 4 characters. */
  readonly revision?: string
  /** Bytes of a physical block, if larger than the device's: a power of two. Default: the same. */
  readonly physicalBlockSize?: number
  /** Writes end with DATA PROTECT, and the WP bit says so beforehand. Default false. */
  readonly readOnly?: boolean
  /** What the unit does in a second at most; no limit when left out. `IscsiTarget.setLimits` changes it. */
  readonly limits?: RateLimits
  /** Keeps persistent reservations over restarts, when an initiator asks for it; without it none can (APTPL). */
  readonly reservations?: ReservationStore
}

/** Bytes that one slice of a long operation covers, so that other commands are served in between. */
export const SLICE_BYTES = 1048576
/** Nexuses remembered after they are gone; one that was forgotten is told of a power on once more. */
const MAX_KNOWN_NEXUSES = 1024
/** Unit attentions kept for one nexus. */
const MAX_ATTENTIONS = 8

export class LogicalUnit {
  readonly config: LogicalUnitConfig
  readonly device: BlockDevice
  readonly blockSize: number
  readonly lock = new RangeLock()
  readonly reservations: PersistentReservations
  /** Results of EXTENDED COPY commands. */
  readonly copies = new CopyResults()
  /** Holder of a RESERVE(6) or RESERVE(10). */
  reservedBy: NexusId | undefined
  /** SWP of the control mode page. */
  softwareWriteProtect = false
  /** D_SENSE of the control mode page. */
  descriptorSense = false
  /** Undefined while there is no limit. */
  limiter: RateLimiter | undefined
  readonly #attentions = new Map<NexusId, Sense[]>()
  /** Initiator ports that have been here since power on, at whichever portal group; the latest last. */
  readonly #known = new Set<string>()

  constructor(config: LogicalUnitConfig) {
    this.config = config
    this.device = config.device
    this.blockSize = config.device.blockSize
    this.reservations = new PersistentReservations(config.reservations)
    if (config.limits) this.setLimits(config.limits)
  }

  /** Changes the limits, also for commands that wait. @throws RangeError when one is not above 0 */
  setLimits(limits: RateLimits): void {
    if (this.limiter) this.limiter.change(limits)
    if (!isLimited(limits)) this.limiter = undefined
    else this.limiter ??= new RateLimiter(limits)
  }

  /** Waits until the limits let a piece of work of this process begin. @throws the signal's reason */
  async turn(direction: Direction, bytes: number, { signal }: Cancel): Promise<void> {
    signal.throwIfAborted()
    await new Promise<void>((resolve, reject) => {
      const ticket = this.limiter?.ask(direction, bytes, () => {
        signal.removeEventListener('abort', onAbort)
        resolve()
      })
      const onAbort = (): void => {
        ticket?.cancel()
        reject(signal.reason)
      }
      if (ticket) signal.addEventListener('abort', onAbort, { once: true })
      else resolve()
    })
  }

  get blocks(): number {
    return Math.floor(this.device.sizeBytes / this.blockSize)
  }

  /** Whether blocks can be given back (LBPME). */
  get thin(): boolean {
    return this.device.unmap !== undefined
  }

  get writeProtected(): boolean {
    return this.config.readOnly === true || this.softwareWriteProtect
  }

  /**
   * A nexus begins, or begins again. Its first command learns which: that the unit was powered on (as far as this
   * initiator port knows), or that only a nexus was lost. In the first case writes that were never flushed may be gone.
   */
  attach(nexus: NexusId): void {
    const { initiatorPort } = partsOf(nexus)
    const known = this.#known.delete(initiatorPort)
    this.#attentions.set(nexus, [known ? Conditions.nexusLoss : Conditions.powerOn])
    this.#known.add(initiatorPort)
    if (this.#known.size > MAX_KNOWN_NEXUSES) {
      for (const oldest of this.#known) {
        this.#known.delete(oldest)
        break
      }
    }
  }

  /** The nexus is gone. Registrations stay; RESERVE is freed. */
  detach(nexus: NexusId): void {
    this.#attentions.delete(nexus)
    if (this.reservedBy === nexus) this.reservedBy = undefined
  }

  /** Tells nexus `only` (or all but `except`) of a change with their next command. */
  raiseAttention(condition: Sense, options: { only?: NexusId; except?: NexusId | undefined } = {}): void {
    for (const [nexus, pending] of this.#attentions) {
      if (nexus === options.except || (options.only !== undefined && nexus !== options.only)) continue
      const known = pending.some((other) => other.asc === condition.asc && other.ascq === condition.ascq)
      if (!known && pending.length < MAX_ATTENTIONS) pending.push(condition)
    }
  }

  /** The oldest attention of a nexus, which is thereby told. */
  takeAttention(nexus: NexusId): Sense | undefined {
    const pending = this.#attentions.get(nexus)
    return pending && pending.length > 0 ? pending.shift() : undefined
  }

  /**
   * What LOGICAL UNIT RESET does to the state: RESERVE is freed, mode pages go back, registrations stay. Every nexus
   * is told, the one that asked for it as well (SAM-5 section 6.3.3).
   */
  reset(): void {
    this.reservedBy = undefined
    this.softwareWriteProtect = false
    this.descriptorSense = false
    this.raiseAttention(Conditions.deviceReset)
  }

  /** Byte offset of a block range. @throws ScsiError `addressOutOfRange` */
  byteRange(lba: number, blocks: number): number {
    const end = this.blocks
    // A range of no blocks just behind the last one is outside as well, except on an empty unit.
    if (lba + blocks > end || (lba >= end && end > 0)) throw checkCondition(Conditions.addressOutOfRange)
    return lba * this.blockSize
  }

  /** Fills `into`. Errors of the device come out as ScsiError. */
  read(offset: number, into: Uint8Array, cancel: Cancel): Done {
    try {
      const done = this.device.read(offset, into, cancel)
      return done?.catch((error: unknown) =>
        Promise.reject(deviceError(error, Conditions.unrecoveredReadError)),
      )
    } catch (error) {
      throw deviceError(error, Conditions.unrecoveredReadError)
    }
  }

  /** Writes, waiting for read-modify-write commands on the same bytes. */
  write(offset: number, data: Uint8Array, cancel: Cancel): Done {
    if (this.lock.blocks(offset, data.byteLength)) return this.#writeLater(offset, data, cancel)
    return this.writeUnlocked(offset, data, cancel, true)
  }

  /** For the holder of the lock. With `record`, a write that takes time is recorded as under way. */
  writeUnlocked(offset: number, data: Uint8Array, cancel: Cancel, record = false): Done {
    let done: Done
    try {
      done = this.device.write(offset, data, cancel)
    } catch (error) {
      throw deviceError(error, Conditions.writeError)
    }
    if (!done) return undefined
    const held = record ? this.lock.hold(offset, data.byteLength) : undefined
    return done
      .catch((error: unknown) => Promise.reject(deviceError(error, Conditions.writeError)))
      .finally(() => held && this.lock.release(held))
  }

  async #writeLater(offset: number, data: Uint8Array, cancel: Cancel): Promise<void> {
    while (this.lock.blocks(offset, data.byteLength)) await this.lock.changed()
    await this.writeUnlocked(offset, data, cancel, true)
  }

  async flush(cancel: Cancel): Promise<void> {
    try {
      await this.device.flush(cancel)
    } catch (error) {
      throw deviceError(error, Conditions.writeError)
    }
  }

  /** Gives blocks back; they read as zeroes afterwards. */
  async unmap(offset: number, length: number, cancel: Cancel): Promise<void> {
    await this.#exclusively(offset, length, async () => {
      if (this.device.unmap) await this.device.unmap(offset, length, cancel)
      else await this.#zero(offset, length, cancel)
    })
  }

  async writeZeroes(offset: number, length: number, cancel: Cancel): Promise<void> {
    await this.#exclusively(offset, length, () => this.#zero(offset, length, cancel))
  }

  async #zero(offset: number, length: number, cancel: Cancel): Promise<void> {
    if (this.device.writeZeroes) await this.device.writeZeroes(offset, length, cancel)
    else await this.device.write(offset, Buffer.alloc(length), cancel)
  }

  async #exclusively(offset: number, length: number, work: () => Promise<void>): Promise<void> {
    const held = await this.lock.acquire(offset, length)
    try {
      await work()
    } catch (error) {
      throw deviceError(error, Conditions.writeError)
    } finally {
      this.lock.release(held)
    }
  }
}

/** A CHECK CONDITION to end the command with. */
export function checkCondition(condition: Sense): ScsiError {
  return new ScsiError('check condition', {
    status: ScsiStatus.checkCondition,
    senseKey: condition.key,
    asc: condition.asc,
    ascq: condition.ascq,
    information: condition.information,
  })
}

/** What an error of the device looks like on the wire; its text stays here, as the cause. */
export function deviceError(error: unknown, otherwise: Sense): ScsiError {
  if (error instanceof ScsiError) return error
  const code: unknown = error instanceof Error ? Reflect.get(error, 'code') : undefined
  const condition =
    error instanceof RangeError
      ? Conditions.addressOutOfRange
      : code === 'ENOSPC' || code === 'EDQUOT'
        ? Conditions.spaceAllocationFailed
        : code === 'EROFS' || code === 'EBADF'
          ? Conditions.writeProtected
          : otherwise
  return new ScsiError(
    'the device failed',
    {
      status: ScsiStatus.checkCondition,
      senseKey: condition.key,
      asc: condition.asc,
      ascq: condition.ascq,
    },
    error,
  )
}
