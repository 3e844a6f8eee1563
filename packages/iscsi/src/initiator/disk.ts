import { type BlockDevice, type Cancel, checkRange, type Extent } from '../block-device.ts'
import { IscsiError } from '../errors.ts'
import { type Chap, checkChap } from '../login/chap.ts'
import type { BlockLimits } from '../scsi/block-limits.ts'
import type { Capacity } from '../scsi/capacity.ts'
import {
  encodeUnmapList,
  getLbaStatusCommand,
  readCommand,
  synchronizeCacheCommand,
  unmapCommand,
  writeCommand,
  writeSameCommand,
} from '../scsi/command-block.ts'
import { Provisioning as BlockState, decodeLbaStatus } from '../scsi/lba-status.ts'
import type { Portal } from './connection.ts'
import { isUnsupported, LogicalUnit, type Provisioning, type UnitIdentity } from './logical-unit.ts'
import { Nexus } from './nexus.ts'

/** Which disk to open, and how. Times are milliseconds. */
export interface IscsiDiskOptions {
  /** Portals of the target: the first that answers is used, the others when it fails. */
  readonly portals: readonly Portal[]
  readonly targetName: string
  readonly lun: number
  /** The name this initiator goes by (iqn.…). */
  readonly initiatorName: string
  /** What it proves itself with. With `mutual` the target has to prove itself, too. */
  readonly chap?: Chap
  /** Commands under way at a time. Default 64. */
  readonly queueDepth?: number
  /** CRC32C over headers. Default false. */
  readonly headerDigest?: boolean
  /** CRC32C over data. Default false. */
  readonly dataDigest?: boolean
  /** How long a login, and how long each command, may take. Default 30 s. */
  readonly timeoutMs?: number
  /** How long a lost connection is tried to be had back before reads and writes fail. Default 120 s. */
  readonly recoveryTimeoutMs?: number
  /** Writing is refused at this end, too. Default false. */
  readonly readOnly?: boolean
}

/** Bytes of one READ; larger calls are split. */
const readBytes = 512 * 1024
/** Bytes of one WRITE: what a target that takes immediate data of this length gets without asking for it. */
const writeBytes = 256 * 1024
/** Blocks that one WRITE SAME covers at most, where the unit names no limit: a slow unit has to write them. */
const writeSameBytes = 128 * 1024 * 1024
/** A flush may have a whole cache to write. */
const flushTimeouts = 4
const lbaStatusBytes = 8 + 16 * 256
const maxBlocks32 = 0xffffffff

/** Power on, whatever else may have happened: the unit's write cache is empty (SPC-4 annex F). */
const powerOnAsc = 0x29
const powerOnQualifiers = [0x00, 0x01]
/** Capacity data has changed (SPC-4 annex F). */
const capacityChanged = { asc: 0x2a, ascq: 0x09 } as const

/**
 * A logical unit of an iSCSI target as a block device. Reads and writes are cut into commands that run side by
 * side; a lost connection is had back and what was not answered is repeated, unseen by the caller.
 *
 * Errors: `IscsiError` when the target cannot be reached or breaks the protocol, `ScsiError` when the unit
 * refuses, the signal's reason when a call was cancelled. Whatever the outcome, when a call has ended its buffer
 * is not touched any more.
 */
export class IscsiDisk implements BlockDevice {
  readonly blockSize: number
  /** What the unit said of itself at login. */
  readonly identity: UnitIdentity
  readonly targetName: string
  /** As asked for, or because the unit is write protected. */
  readonly readOnly: boolean
  /** The unit said so when it was opened. */
  readonly writeProtected: boolean
  readonly #nexus: Nexus
  readonly #unit: LogicalUnit
  readonly #limits: BlockLimits
  readonly #timeoutMs: number
  readonly #closing = new AbortController()
  #capacity: Capacity
  #writeSame: boolean
  /** Writes that the unit has acknowledged, and how many of them it has flushed. */
  #acknowledged = 0
  #flushed = 0
  /** One block of zeroes. */
  readonly #zeroBlock: Buffer
  /** Present when the unit can give space back. */
  readonly unmap?: (offset: number, length: number, cancel: Cancel) => Promise<void>
  /** Present when the unit can tell what is allocated. */
  readonly extents?: (offset: number, length: number, cancel: Cancel) => Promise<readonly Extent[]>

  /** @internal use `openIscsiDisk` */
  constructor(
    nexus: Nexus,
    unit: LogicalUnit,
    facts: {
      readonly identity: UnitIdentity
      readonly capacity: Capacity
      readonly limits: BlockLimits
      readonly provisioning: Provisioning
      readonly lbaStatus: boolean
      readonly targetName: string
      readonly readOnly: boolean
      readonly writeProtected: boolean
      readonly timeoutMs: number
    },
  ) {
    this.#nexus = nexus
    this.#unit = unit
    this.identity = facts.identity
    this.targetName = facts.targetName
    this.readOnly = facts.readOnly || facts.writeProtected
    this.writeProtected = facts.writeProtected
    this.blockSize = facts.capacity.blockSize
    this.#capacity = facts.capacity
    this.#limits = facts.limits
    this.#timeoutMs = facts.timeoutMs
    this.#writeSame = true
    this.#zeroBlock = Buffer.alloc(this.blockSize)
    const canUnmap = facts.provisioning.unmap || facts.limits.maximumUnmapBlocks > 0
    if (facts.capacity.thin && canUnmap && facts.capacity.unmappedReadsZeroes) {
      this.unmap = (offset, length, cancel) => this.#unmap(offset, length, cancel)
    }
    if (facts.lbaStatus) this.extents = (offset, length, cancel) => this.#extents(offset, length, cancel)
    unit.onAttention = (asc, ascq) => {
      if (asc !== capacityChanged.asc || ascq !== capacityChanged.ascq) return
      // Whoever waits for the new size calls `rescan`; this is for those who do not.
      this.rescan({ signal: this.#closing.signal }).catch(() => {})
    }
  }

  /** @internal Writes were acknowledged that a power failure of the unit would lose. */
  get hasUnflushedWrites(): boolean {
    return this.#acknowledged > this.#flushed
  }

  get sizeBytes(): number {
    return this.#capacity.blocks * this.#capacity.blockSize
  }

  /** The portal in use; undefined while a lost connection is being had back. */
  get portal(): Portal | undefined {
    return this.#nexus.session?.portal
  }

  /** How often the connection was lost and had back. */
  get reconnects(): number {
    return this.#nexus.reconnects
  }

  read(offset: number, into: Uint8Array, cancel: Cancel): Promise<void> {
    return this.#split(offset, into.byteLength, readBytes, (at, length) => {
      const lba = at / this.blockSize
      const blocks = length / this.blockSize
      const dataIn = into.subarray(at - offset, at - offset + length)
      const what = `READ of ${blocks} blocks at ${lba}`
      return this.#unit
        .run({ what, commandBlock: readCommand(lba, blocks), dataIn }, cancel.signal)
        .then(({ receivedBytes }) => {
          if (receivedBytes === length) return
          throw new IscsiError(
            'protocol',
            `the target sent ${receivedBytes} of ${length} bytes for a ${what}`,
          )
        })
    })
  }

  write(offset: number, data: Uint8Array, cancel: Cancel): Promise<void> {
    return this.#split(offset, data.byteLength, writeBytes, async (at, length) => {
      this.#mustWrite()
      const lba = at / this.blockSize
      const blocks = length / this.blockSize
      const dataOut = data.subarray(at - offset, at - offset + length)
      const what = `WRITE of ${blocks} blocks at ${lba}`
      await this.#unit.run({ what, commandBlock: writeCommand(lba, blocks), dataOut }, cancel.signal)
      this.#acknowledged += 1
    })
  }

  async flush(cancel: Cancel): Promise<void> {
    if (this.readOnly) return
    const timeoutMs = flushTimeouts * this.#timeoutMs
    const command = { what: 'SYNCHRONIZE CACHE', commandBlock: synchronizeCacheCommand(), timeoutMs }
    const acknowledged = this.#acknowledged
    try {
      await this.#unit.run(command, cancel.signal)
      this.#flushed = Math.max(this.#flushed, acknowledged)
    } catch (error) {
      // A unit without the command has no cache to write.
      if (!isUnsupported(error)) throw error
      this.#flushed = Math.max(this.#flushed, acknowledged)
    }
  }

  /** By WRITE SAME where the unit knows it, else by writing zeroes. */
  async writeZeroes(offset: number, length: number, cancel: Cancel): Promise<void> {
    checkRange(this, offset, length)
    this.#mustWrite()
    const { thin, unmappedReadsZeroes } = this.#capacity
    const most = this.#limits.maximumWriteSameLength * this.blockSize || writeSameBytes
    const step = Math.max(this.blockSize, Math.min(most, writeSameBytes))
    for (let at = offset; at < offset + length; at += step) {
      const part = Math.min(step, offset + length - at)
      if (this.#writeSame) {
        const unmap = thin && unmappedReadsZeroes
        const commandBlock = writeSameCommand(at / this.blockSize, part / this.blockSize, { unmap })
        const what = `WRITE SAME of ${part / this.blockSize} blocks at ${at / this.blockSize}`
        try {
          await this.#unit.run({ what, commandBlock, dataOut: this.#zeroBlock }, cancel.signal)
          this.#acknowledged += 1
          continue
        } catch (error) {
          if (!isUnsupported(error)) throw error
          this.#writeSame = false
        }
      }
      const zeroes = Buffer.alloc(Math.min(part, writeBytes))
      for (let done = 0; done < part; done += zeroes.byteLength) {
        await this.write(at + done, zeroes.subarray(0, Math.min(zeroes.byteLength, part - done)), cancel)
      }
    }
  }

  /**
   * Asks for the size again, after the volume has grown.
   * @returns the size in bytes, which `sizeBytes` is from now on
   * @throws IscsiError `unsupported` when the block size has changed: open the disk anew
   */
  async rescan(cancel: Cancel): Promise<number> {
    const capacity = await this.#unit.capacity(cancel.signal)
    if (capacity.blockSize !== this.blockSize) {
      throw new IscsiError(
        'unsupported',
        `the block size changed from ${this.blockSize} to ${capacity.blockSize}`,
      )
    }
    this.#capacity = capacity
    return this.sizeBytes
  }

  /** Logs out. Calls that have not ended reject. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new IscsiError('closed', 'the disk was closed'))
    await this.#nexus.close()
  }

  async #unmap(offset: number, length: number, cancel: Cancel): Promise<void> {
    checkRange(this, offset, length)
    this.#mustWrite()
    const most = Math.min(this.#limits.maximumUnmapBlocks || maxBlocks32, maxBlocks32)
    let lba = offset / this.blockSize
    const end = (offset + length) / this.blockSize
    while (lba < end) {
      const blocks = Math.min(most, end - lba)
      const dataOut = encodeUnmapList([{ lba, blocks }])
      const what = `UNMAP of ${blocks} blocks at ${lba}`
      await this.#unit.run({ what, commandBlock: unmapCommand(dataOut.byteLength), dataOut }, cancel.signal)
      this.#acknowledged += 1
      lba += blocks
    }
  }

  async #extents(offset: number, length: number, cancel: Cancel): Promise<readonly Extent[]> {
    checkRange(this, offset, length)
    const end = (offset + length) / this.blockSize
    const extents: { offset: number; length: number; state: Extent['state'] }[] = []
    let lba = offset / this.blockSize
    while (lba < end) {
      const commandBlock = getLbaStatusCommand(lba, lbaStatusBytes)
      const what = `GET LBA STATUS at ${lba}`
      const data = await this.#unit.ask(what, commandBlock, lbaStatusBytes, cancel.signal)
      const before = lba
      for (const status of decodeLbaStatus(data)) {
        if (status.lba !== lba || lba >= end) break
        const blocks = Math.min(status.blocks, end - lba)
        add(extents, lba * this.blockSize, blocks * this.blockSize, this.#stateOf(status.provisioning))
        lba += blocks
      }
      if (lba === before) throw new IscsiError('protocol', `the target sent an empty answer to ${what}`)
    }
    return extents
  }

  #stateOf(provisioning: number): Extent['state'] {
    if (provisioning === BlockState.mapped || !this.#capacity.unmappedReadsZeroes) return 'data'
    return provisioning === BlockState.deallocated ? 'hole' : 'zero'
  }

  /** Cuts a range at multiples of `most` and waits for all parts, also when one fails. */
  async #split(
    offset: number,
    length: number,
    most: number,
    part: (at: number, length: number) => Promise<void>,
  ): Promise<void> {
    checkRange(this, offset, length)
    const limit = this.#limits.maximumTransferLength * this.blockSize
    const step = limit > 0 ? Math.min(most, limit) : most
    if (length <= step) return length === 0 ? undefined : part(offset, length)
    const parts: Promise<void>[] = []
    for (let at = offset; at < offset + length; at += step) {
      parts.push(part(at, Math.min(step, offset + length - at)))
    }
    for (const result of await Promise.allSettled(parts)) {
      if (result.status === 'rejected') throw result.reason
    }
  }

  #mustWrite(): void {
    if (this.readOnly) throw new IscsiError('invalid', `${this.targetName} was opened for reading only`)
  }
}

function add(
  extents: { offset: number; length: number; state: Extent['state'] }[],
  offset: number,
  length: number,
  state: Extent['state'],
): void {
  const last = extents.at(-1)
  if (last?.state === state) last.length += length
  else extents.push({ offset, length, state })
}

/**
 * Logs in to a target and opens one of its disks. Dispose it to log out.
 * @throws IscsiError `authentication` or `login` when the target refuses, `timeout` or `closed` when no portal
 *   answers, `unsupported` when the unit is absent or no disk; ScsiError when it is not ready
 */
export async function openIscsiDisk(options: IscsiDiskOptions, cancel: Cancel): Promise<IscsiDisk> {
  const { targetName, initiatorName, chap, timeoutMs = 30_000, readOnly = false } = options
  if (chap !== undefined) checkChap(chap)
  const nexus = new Nexus({
    portals: options.portals,
    identity: {
      initiatorName,
      targetName,
      ...(chap === undefined ? {} : { chap }),
      headerDigest: options.headerDigest ?? false,
      dataDigest: options.dataDigest ?? false,
    },
    queueDepth: options.queueDepth ?? 64,
    tickMs: Math.max(20, Math.min(1000, timeoutMs / 4)),
    loginTimeoutMs: Math.min(timeoutMs, 15_000),
    recoveryTimeoutMs: options.recoveryTimeoutMs ?? 120_000,
  })
  await nexus.open(cancel.signal)
  try {
    const { signal } = cancel
    const unit = new LogicalUnit(nexus, options.lun, timeoutMs)
    const identity = await unit.identity(signal)
    await unit.ready(signal)
    const capacity = await unit.capacity(signal)
    if (capacity.blockSize !== 512 && capacity.blockSize !== 4096) {
      throw new IscsiError('unsupported', `the disk has blocks of ${capacity.blockSize} bytes`)
    }
    const limits = await unit.limits(signal)
    const provisioning = await unit.provisioning(signal)
    const lbaStatus = capacity.thin && (await knowsLbaStatus(unit, signal))
    const writeProtected = await unit.isWriteProtected(signal)
    const disk = new IscsiDisk(nexus, unit, {
      identity,
      capacity,
      limits,
      provisioning,
      lbaStatus,
      targetName,
      timeoutMs,
      readOnly,
      writeProtected,
    })
    nexus.check = async (runner, signal) => {
      const found = new LogicalUnit(runner, options.lun, timeoutMs)
      await mustBeSame(found, identity, signal)
      await mustHaveKept(found, disk, signal)
    }
    return disk
  } catch (error) {
    await nexus.close()
    throw error
  }
}

/**
 * What answers after a reconnection must be the disk that was opened, or repeated writes would destroy another.
 * @throws IscsiError `invalid` when it is not
 */
async function mustBeSame(unit: LogicalUnit, opened: UnitIdentity, signal: AbortSignal): Promise<void> {
  const now = await unit.identity(signal)
  if (now.serial !== opened.serial || now.vendor !== opened.vendor || now.product !== opened.product) {
    const serials = `serial number "${now.serial}", not "${opened.serial}"`
    throw new IscsiError('invalid', `another disk answers where this one was: ${serials}`)
  }
}

/**
 * A unit that was powered on again has forgotten what it had not flushed. Going on would be silent loss.
 * @throws IscsiError `invalid` when writes of ours may be gone
 */
async function mustHaveKept(unit: LogicalUnit, disk: IscsiDisk, signal: AbortSignal): Promise<void> {
  let poweredOn = false
  unit.onAttention = (asc, ascq) => {
    if (asc === powerOnAsc && powerOnQualifiers.includes(ascq)) poweredOn = true
  }
  await unit.ready(signal)
  if (poweredOn && disk.hasUnflushedWrites) {
    throw new IscsiError(
      'invalid',
      'the target was started anew, and writes that were not flushed may be lost',
    )
  }
}

async function knowsLbaStatus(unit: LogicalUnit, signal: AbortSignal): Promise<boolean> {
  try {
    const data = await unit.ask('GET LBA STATUS at 0', getLbaStatusCommand(0, 24), 24, signal)
    return decodeLbaStatus(data).length > 0
  } catch (error) {
    if (isUnsupported(error)) return false
    throw error
  }
}
