/**
 * Data-Out of write commands: immediate, unsolicited and asked for with R2T (RFC 7143 sections 3.2.4.2, 11.7, 11.8).
 * Commands that can be written in pieces hold one burst in memory at a time; R2Ts wait for memory.
 */
import type { BufferPool } from '../buffer-pool.ts'
import type { SessionParameters } from '../login/negotiate.ts'
import type { DataOut } from '../pdu/data-out.ts'
import { NO_TAG } from '../pdu/header.ts'
import { encodeReadyToTransfer } from '../pdu/ready-to-transfer.ts'
import type { Outcome } from '../scsi/command-table.ts'
import { checkCondition } from '../scsi/logical-unit.ts'
import { Conditions } from '../scsi/sense.ts'
import type { TransferHost } from './data-in.ts'
import type { Task } from './task.ts'

/** Bytes that R2Ts of one session may have asked for, and that commands needing their data whole may hold. */
const MAX_SOLICITED_BYTES = 32 * 1048576

export interface DataOutHost extends TransferHost {
  readonly pool: BufferPool
  readonly parameters: SessionParameters
  nextStatSn(): number
  /** The command's data is complete and dealt with. */
  finish(task: Task, outcome: Outcome): void
}

export class DataOutReceiver {
  readonly #host: DataOutHost
  readonly #waiting: Task[] = []
  #solicited = 0
  #held = 0
  #nextTransferTag = 1

  constructor(host: DataOutHost) {
    this.#host = host
  }

  /**
   * Prepares a task for its data.
   * @param immediate bytes in the command PDU itself @param final no unsolicited Data-Out follows
   * @returns false when there is no memory for it: TASK SET FULL
   * @throws ScsiError when the unsolicited data breaks what was negotiated
   */
  prepare(task: Task, immediate: number, final: boolean): boolean {
    const { plan } = task
    const { parameters, pool } = this.#host
    if (plan.kind !== 'write' && plan.kind !== 'collect') return true
    if (pool.isFull) return false
    const length = Math.min(plan.length, task.expectedOut)
    task.wanted = plan.kind === 'write' && task.unit ? length - (length % task.unit.blockSize) : length
    const unsolicited = final ? immediate : Math.min(task.expectedOut, parameters.firstBurstLength)
    if (
      immediate > unsolicited ||
      immediate > parameters.firstBurstLength ||
      (immediate > 0 && !parameters.immediateData)
    ) {
      throw checkCondition(Conditions.unexpectedUnsolicitedData)
    }
    if (!final && parameters.initialR2T) throw checkCondition(Conditions.unexpectedUnsolicitedData)
    task.sequenceEnd = unsolicited
    task.targetTransferTag = NO_TAG
    if (plan.kind === 'collect') {
      if (this.#held + task.wanted > MAX_SOLICITED_BYTES) return false
      this.#held += task.wanted
      task.buffer = pool.take(Math.max(task.wanted, unsolicited))
    } else if (unsolicited > 0) {
      task.buffer = pool.take(unsolicited)
    }
    return true
  }

  /** Memory of a task that ends, however it ends. */
  release(task: Task): void {
    if (task.plan.kind === 'collect' && task.buffer) this.#held -= task.wanted
    if (task.buffer) this.#host.pool.give(task.buffer)
    task.buffer = undefined
    const waiting = this.#waiting.indexOf(task)
    if (waiting >= 0) this.#waiting.splice(waiting, 1)
    this.#returnSolicited(task)
  }

  /** Whether a Data-Out PDU is the next piece of the task's data. */
  accepts(task: Task, pdu: DataOut): boolean {
    return (
      task.sequenceEnd > task.received &&
      pdu.lun === task.lun &&
      pdu.targetTransferTag === task.targetTransferTag &&
      pdu.dataSn === task.nextDataSn &&
      pdu.bufferOffset === task.received &&
      pdu.bufferOffset + pdu.dataLength <= task.sequenceEnd
    )
  }

  /** `bytes` more have arrived in the task's buffer. */
  arrived(task: Task, bytes: number, final: boolean): void {
    task.received += bytes
    if (!final) return
    if (task.targetTransferTag !== NO_TAG && task.received < task.sequenceEnd) {
      this.#host.fail(task, checkCondition(Conditions.notEnoughUnsolicitedData))
      return
    }
    task.sequenceEnd = 0
    this.#returnSolicited(task)
    task.inTurn(() => this.#sequenceDone(task))
  }

  #sequenceDone(task: Task): void {
    const { plan, unit } = task
    if (plan.kind === 'write' && unit && task.buffer) {
      const end = Math.min(task.received, task.wanted) - task.bufferStart
      const aligned = end - (end % unit.blockSize)
      if (aligned > 0) {
        const data = task.buffer.subarray(0, aligned)
        const offset = plan.offset + task.bufferStart
        this.#atDevice(
          task,
          () => unit.write(offset, data, this.#host.cancel),
          () => this.#wrote(task, aligned),
        )
        return
      }
    }
    this.#next(task)
  }

  /** Runs device work that may be done at once. */
  #atDevice(task: Task, work: () => Promise<void> | undefined, then: () => void): void {
    let done: Promise<void> | undefined
    try {
      done = work()
    } catch (error) {
      this.#host.fail(task, error)
      return
    }
    if (!done) {
      then()
      return
    }
    task.begin()
    done.then(
      () => {
        task.end()
        if (task.aborted) this.#host.discard(task)
        else then()
      },
      (error: unknown) => {
        task.end()
        if (task.aborted) this.#host.discard(task)
        else this.#host.fail(task, error)
      },
    )
  }

  /** A burst is at the device: its buffer is free, but for the bytes of a block that is not whole yet. */
  #wrote(task: Task, written: number): void {
    const old = task.buffer
    const left = Math.min(task.received, task.wanted) - task.bufferStart - written
    task.bufferStart += written
    if (old && left > 0) old.copyWithin(0, written, written + left)
    else if (old) {
      this.#host.pool.give(old)
      task.buffer = undefined
    }
    this.#next(task)
  }

  #next(task: Task): void {
    if (task.received < task.wanted) {
      this.#waiting.push(task)
      this.#grant()
      return
    }
    const { plan } = task
    const { cancel } = this.#host
    if (plan.kind === 'collect') {
      const data = (task.buffer ?? Buffer.alloc(0)).subarray(0, task.wanted)
      let outcome: Outcome | Promise<Outcome>
      try {
        outcome = plan.run(data, cancel)
      } catch (error) {
        this.#host.fail(task, error)
        return
      }
      if (!(outcome instanceof Promise)) {
        this.#host.finish(task, outcome)
        return
      }
      const pending = outcome
      let result: Outcome = {}
      this.#atDevice(
        task,
        async () => {
          result = await pending
        },
        () => this.#host.finish(task, result),
      )
      return
    }
    if (plan.kind === 'write' && plan.durable && task.unit) {
      const { unit } = task
      this.#atDevice(
        task,
        () => unit.flush(cancel),
        () => this.#host.finish(task, {}),
      )
      return
    }
    this.#host.finish(task, {})
  }

  /** Asks for data as far as memory allows. */
  #grant(): void {
    if (this.#host.cancel.signal.aborted) return
    for (let task = this.#waiting[0]; task; task = this.#waiting[0]) {
      const length = Math.min(this.#host.parameters.maxBurstLength, task.wanted - task.received)
      // One burst of a session goes on whatever happens, so that each of them gets to its end.
      const tooMuch = this.#host.pool.isFull || this.#solicited + length > MAX_SOLICITED_BYTES
      if (this.#solicited > 0 && tooMuch) return
      this.#waiting.shift()
      this.#ask(task, length)
    }
  }

  #ask(task: Task, length: number): void {
    this.#solicited += length
    task.solicited = length
    task.sequenceEnd = task.received + length
    task.nextDataSn = 0
    task.targetTransferTag = this.#nextTransferTag
    this.#nextTransferTag = this.#nextTransferTag >= 0xfffffffe ? 1 : this.#nextTransferTag + 1
    if (task.plan.kind === 'write') this.#makeRoom(task, task.sequenceEnd - task.bufferStart)
    const { expCmdSn, maxCmdSn } = this.#host.numbers()
    const pdu = {
      lun: task.lun,
      initiatorTaskTag: task.initiatorTaskTag,
      targetTransferTag: task.targetTransferTag,
      statSn: this.#host.nextStatSn(),
      expCmdSn,
      maxCmdSn,
      r2tSn: task.r2tSn++,
      bufferOffset: task.received,
      desiredDataTransferLength: length,
    }
    this.#host.writer.write((into, at) => encodeReadyToTransfer(pdu, into, at))
  }

  #makeRoom(task: Task, bytes: number): void {
    const old = task.buffer
    if (old && old.byteLength >= bytes) return
    const buffer = this.#host.pool.take(bytes)
    if (old) {
      old.copy(buffer, 0, 0, task.received - task.bufferStart)
      this.#host.pool.give(old)
    }
    task.buffer = buffer
  }

  #returnSolicited(task: Task): void {
    if (task.solicited === 0) return
    this.#solicited -= task.solicited
    task.solicited = 0
    this.#grant()
  }
}
