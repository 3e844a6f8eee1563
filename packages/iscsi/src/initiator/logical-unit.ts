import { setTimeout as sleep } from 'node:timers/promises'
import { IscsiError, ScsiError } from '../errors.ts'
import { type BlockLimits, decodeBlockLimits } from '../scsi/block-limits.ts'
import { CAPACITY_16_BYTES, type Capacity, decodeCapacity16 } from '../scsi/capacity.ts'
import {
  inquiryCommand,
  modeSense6Command,
  readCapacity10Command,
  readCapacity16Command,
  testUnitReadyCommand,
} from '../scsi/command-block.ts'
import { decodeSense, SenseKey, scsiError } from '../scsi/sense.ts'
import { ScsiStatus } from '../scsi/status.ts'
import type { CommandRunner } from './nexus.ts'
import type { Outcome } from './task.ts'

/** What a command is to do; the unit adds the rest. */
export interface UnitCommand {
  /** Completes "timed out waiting for …". */
  readonly what: string
  readonly commandBlock: Buffer
  readonly dataIn?: Uint8Array
  readonly dataOut?: Uint8Array
  /** Default: that of the unit. */
  readonly timeoutMs?: number
  /** Default true. */
  readonly replay?: boolean
}

/** What the unit says of itself. */
export interface UnitIdentity {
  readonly vendor: string
  readonly product: string
  readonly revision: string
  /** Unit serial number, VPD page 80; empty when there is none. */
  readonly serial: string
}

/** Logical block provisioning, VPD page B2. */
export interface Provisioning {
  readonly unmap: boolean
  readonly writeSame16: boolean
}

const maxAttentions = 10
const busyPauseMs = 50
/** Page of vital product data that is asked for, long enough for those that are read here. */
const pageBytes = 255

/**
 * One logical unit behind a nexus: runs commands, taking in stride what any initiator has to expect: unit
 * attentions and busy states are waited out (SPC-4 section 5.14), everything else is a `ScsiError`.
 */
export class LogicalUnit {
  readonly #runner: CommandRunner
  readonly #lun: number
  readonly #timeoutMs: number
  /** Told of each unit attention: the unit's capacity or its identity may have changed. */
  onAttention: ((asc: number, ascq: number) => void) | undefined

  constructor(runner: CommandRunner, lun: number, timeoutMs: number) {
    this.#runner = runner
    this.#lun = lun
    this.#timeoutMs = timeoutMs
  }

  /**
   * Runs one command until it ends with GOOD.
   * @throws ScsiError when the unit refuses it; IscsiError when it cannot be reached; the signal's reason
   */
  async run(command: UnitCommand, signal: AbortSignal): Promise<Outcome> {
    const { timeoutMs = this.#timeoutMs, replay = true } = command
    const busyUntil = performance.now() + timeoutMs
    let attentions = 0
    for (;;) {
      const outcome = await this.#runner.execute({ ...command, timeoutMs, replay, lun: this.#lun }, signal)
      if (outcome.status === ScsiStatus.good || outcome.status === ScsiStatus.conditionMet) return outcome
      if (outcome.status === ScsiStatus.busy || outcome.status === ScsiStatus.taskSetFull) {
        if (performance.now() > busyUntil) throw scsiError(command.what, outcome.status, outcome.sense)
        await pause(busyPauseMs, signal)
        continue
      }
      const sense = outcome.status === ScsiStatus.checkCondition ? decodeSense(outcome.sense) : undefined
      if (sense?.key === SenseKey.unitAttention && attentions < maxAttentions) {
        attentions += 1
        this.onAttention?.(sense.asc, sense.ascq)
        continue
      }
      const becomingReady = sense?.key === SenseKey.notReady && sense.asc === 0x04 && sense.ascq === 0x01
      if (becomingReady && performance.now() < busyUntil) {
        await pause(busyPauseMs, signal)
        continue
      }
      throw scsiError(command.what, outcome.status, outcome.sense)
    }
  }

  /** Runs a command that answers with at most `length` bytes. @returns those that came */
  async ask(what: string, commandBlock: Buffer, length: number, signal: AbortSignal): Promise<Buffer> {
    const dataIn = Buffer.alloc(length)
    const { receivedBytes } = await this.run({ what, commandBlock, dataIn }, signal)
    return dataIn.subarray(0, receivedBytes)
  }

  /** @throws ScsiError when the unit is not ready */
  async ready(signal: AbortSignal): Promise<void> {
    await this.run({ what: 'TEST UNIT READY', commandBlock: testUnitReadyCommand() }, signal)
  }

  /** @throws IscsiError `unsupported` when the unit is absent or no disk */
  async identity(signal: AbortSignal): Promise<UnitIdentity> {
    const data = await this.ask('INQUIRY', inquiryCommand(96), 96, signal)
    const type = data.byteLength > 0 ? data.readUInt8(0) : 0x7f
    if (type >>> 5 !== 0) throw new IscsiError('unsupported', `the target has no logical unit ${this.#lun}`)
    if ((type & 0x1f) !== 0) {
      throw new IscsiError('unsupported', `logical unit ${this.#lun} is no disk (device type ${type & 0x1f})`)
    }
    const serial = await this.#page(0x80, signal)
    return {
      vendor: textOf(data.subarray(8, 16)),
      product: textOf(data.subarray(16, 32)),
      revision: textOf(data.subarray(32, 36)),
      serial: serial === undefined ? '' : textOf(serial.subarray(4, 4 + serial.readUInt16BE(2))),
    }
  }

  /** VPD page B0; all zeroes, that is no limits, when the unit has none. */
  async limits(signal: AbortSignal): Promise<BlockLimits> {
    return decodeBlockLimits((await this.#page(0xb0, signal)) ?? Buffer.alloc(64))
  }

  async provisioning(signal: AbortSignal): Promise<Provisioning> {
    const page = await this.#page(0xb2, signal)
    const flags = page !== undefined && page.byteLength > 5 ? page.readUInt8(5) : 0
    return { unmap: (flags & 0x80) !== 0, writeSame16: (flags & 0x40) !== 0 }
  }

  /** READ CAPACITY(16), or (10) from units that do not know it. */
  async capacity(signal: AbortSignal): Promise<Capacity> {
    try {
      const block = readCapacity16Command(CAPACITY_16_BYTES)
      const data = await this.ask('READ CAPACITY(16)', block, CAPACITY_16_BYTES, signal)
      if (data.byteLength >= 16) return decodeCapacity16(data)
    } catch (error) {
      if (!isUnsupported(error)) throw error
    }
    const data = await this.ask('READ CAPACITY(10)', readCapacity10Command(), 8, signal)
    if (data.byteLength < 8) throw new IscsiError('protocol', 'the target sent a short READ CAPACITY answer')
    return {
      blocks: data.readUInt32BE(0) + 1,
      blockSize: data.readUInt32BE(4),
      physicalBlockExponent: 0,
      thin: false,
      unmappedReadsZeroes: false,
    }
  }

  /** The WP bit of MODE SENSE; false where the unit has no mode pages. */
  async isWriteProtected(signal: AbortSignal): Promise<boolean> {
    try {
      const data = await this.ask('MODE SENSE(6)', modeSense6Command(0x3f), 255, signal)
      return data.byteLength > 2 && (data.readUInt8(2) & 0x80) !== 0
    } catch (error) {
      if (isUnsupported(error)) return false
      throw error
    }
  }

  /** A page of vital product data; undefined when the unit does not have it. */
  async #page(page: number, signal: AbortSignal): Promise<Buffer | undefined> {
    const what = `INQUIRY of page ${page.toString(16)}`
    try {
      const data = await this.ask(what, inquiryCommand(pageBytes, page), pageBytes, signal)
      return data.byteLength >= 4 && data.readUInt8(1) === page ? data : undefined
    } catch (error) {
      if (isUnsupported(error)) return undefined
      throw error
    }
  }
}

/** The unit does not know the command, or not this form of it. */
export function isUnsupported(error: unknown): boolean {
  return (
    error instanceof ScsiError &&
    error.senseKey === SenseKey.illegalRequest &&
    [0x20, 0x24].includes(error.asc)
  )
}

async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  await sleep(milliseconds, undefined, { signal }).catch(() => signal.throwIfAborted())
}

function textOf(bytes: Buffer): string {
  return bytes
    .toString('latin1')
    .replace(/[\0 ]+$/, '')
    .trim()
}
