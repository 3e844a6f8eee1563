/**
 * The SCSI commands of a session: from the PDU to the device and back to the status. RFC 7143 sections 11.3, 11.4,
 * 11.7. The data of commands goes through DataInSender and DataOutReceiver.
 */

import type { Cancel } from '../block-device.ts'
import type { BufferPool } from '../buffer-pool.ts'
import { decodeDataOut } from '../pdu/data-out.ts'
import { FINAL, HEADER_BYTES, isImmediate, NO_TAG } from '../pdu/header.ts'
import { readLun } from '../pdu/lun.ts'
import { RejectReason } from '../pdu/reject.ts'
import { chargeOf, type Outcome, type Plan, type UnitHost } from '../scsi/command-table.ts'
import { planCommand, planWithoutUnit, senseOf } from '../scsi/commands.ts'
import { checkCondition } from '../scsi/logical-unit.ts'
import type { Nexus } from '../scsi/nexus.ts'
import { Conditions, encodeSense } from '../scsi/sense.ts'
import { ScsiStatus } from '../scsi/status.ts'
import { type AnswerHost, sendScsiResponse } from './answers.ts'
import { DataInSender } from './data-in.ts'
import { type DataOutHost, DataOutReceiver } from './data-out.ts'
import type { IscsiTarget } from './target.ts'
import { Task } from './task.ts'
import { TaskSet } from './task-set.ts'

/** Commands an initiator may have outstanding. */
export const QUEUE_DEPTH = 128
/** Immediate commands and task management functions that may be pending beside those. */
export const MAX_IMMEDIATE = 16
/** Data-Out PDUs for tasks that do not exist, after which the connection is dropped. */
const MAX_STRAY_DATA = 100

/** What the commands take from their session. */
export interface CommandHost extends AnswerHost {
  /** Undefined in a discovery session, which has no commands. */
  readonly target: IscsiTarget | undefined
  /** The target as seen through the session's portal group. */
  readonly host: UnitHost | undefined
  readonly nexus: Nexus
  readonly pool: BufferPool
  readonly cancel: Cancel
  reject(reason: number, header: Buffer, at: number): void
  drop(reason: string): void
}

/** The task whose data segment is arriving. */
interface Arriving {
  readonly task: Task
  readonly bytes: number
  readonly final: boolean
  readonly isDataOut: boolean
}

export class ScsiCommands implements DataOutHost {
  readonly tasks: TaskSet
  /** Where in the buffer that `command` or `dataOut` returned the data segment begins. */
  sinkAt = 0
  readonly #host: CommandHost
  readonly #draining = new Set<number>()
  readonly #dataIn: DataInSender
  readonly #dataOut: DataOutReceiver
  #stray = 0
  #arriving: Arriving | undefined

  constructor(host: CommandHost) {
    this.#host = host
    this.tasks = new TaskSet((task) => this.discard(task))
    const { peerMaxRecvDataSegmentLength, maxBurstLength } = host.parameters
    this.#dataIn = new DataInSender(this, peerMaxRecvDataSegmentLength, maxBurstLength)
    this.#dataOut = new DataOutReceiver(this)
    host.writer.sender.onDrained = () => this.#dataIn.drained()
  }

  // --- receiving ---

  /** A SCSI Command PDU. @returns where its immediate data goes */
  command(from: Buffer, at: number, dataLength: number): Buffer | undefined {
    this.#arriving = undefined
    this.sinkAt = 0
    const tag = from.readUInt32BE(at + 16)
    const flags = from.readUInt8(at + 1)
    const immediate = isImmediate(from, at)
    if (tag === NO_TAG || this.tasks.has(tag)) {
      this.#host.reject(tag === NO_TAG ? RejectReason.invalidField : RejectReason.taskInProgress, from, at)
      return undefined
    }
    if (immediate && this.tasks.immediate >= MAX_IMMEDIATE) {
      this.#host.reject(RejectReason.tooManyImmediateCommands, from, at)
      return undefined
    }
    const expected = from.readUInt32BE(at + 20)
    const lun = readLun(from, at + 8)
    const task = new Task({
      initiatorTaskTag: tag,
      lun,
      unit: this.#host.target?.unit(lun),
      immediate,
      expectedOut: (flags & 0x20) !== 0 ? expected : 0,
      expectedIn: (flags & 0x40) !== 0 ? expected : 0,
    })
    this.tasks.add(task)
    this.#draining.delete(tag)
    const final = (flags & FINAL) !== 0
    if (!final) this.#drain(tag)
    try {
      const cdb = Buffer.from(from.subarray(at + 32, at + HEADER_BYTES))
      task.plan = this.#plan(task, cdb)
      const takesData = task.plan.kind === 'write' || task.plan.kind === 'collect'
      if (takesData && !this.#dataOut.prepare(task, dataLength, final)) {
        this.finish(task, { status: ScsiStatus.taskSetFull })
        return undefined
      }
      this.#askForTurn(task)
      if (!takesData) {
        task.inTurn(() => this.#start(task))
        return undefined
      }
    } catch (error) {
      this.fail(task, error)
      return undefined
    }
    const isLast = task.sequenceEnd === dataLength
    this.#arriving = { task, bytes: dataLength, final: isLast, isDataOut: false }
    return task.buffer
  }

  /** A Data-Out PDU. @returns where its data goes */
  dataOut(from: Buffer, at: number, dataLength: number): Buffer | undefined {
    this.#arriving = undefined
    this.sinkAt = 0
    const pdu = decodeDataOut(from, at)
    const task = this.tasks.get(pdu.initiatorTaskTag)
    if (!task || task.aborted) {
      if (this.#draining.has(pdu.initiatorTaskTag)) {
        if (pdu.final) this.#draining.delete(pdu.initiatorTaskTag)
        return undefined
      }
      this.#stray += 1
      if (this.#stray > MAX_STRAY_DATA) this.#host.drop('too much data for tasks that do not exist')
      return undefined
    }
    if (!this.#dataOut.accepts(task, pdu)) {
      // Unsolicited data beyond what the command takes is thrown away.
      if (task.sequenceEnd <= task.received && this.#draining.has(pdu.initiatorTaskTag)) {
        if (pdu.final) this.#draining.delete(pdu.initiatorTaskTag)
        return undefined
      }
      // The command must not succeed; what else comes for it is thrown away.
      if (!pdu.final) this.#drain(pdu.initiatorTaskTag)
      this.fail(task, checkCondition(Conditions.notEnoughUnsolicitedData))
      return undefined
    }
    if (pdu.final) this.#draining.delete(pdu.initiatorTaskTag)
    const final = pdu.final || task.received + dataLength === task.sequenceEnd
    this.#arriving = { task, bytes: dataLength, final, isDataOut: true }
    this.sinkAt = task.received - task.bufferStart
    return task.buffer
  }

  /** The data segment of the last command or Data-Out PDU is complete. */
  dataArrived(digestOk: boolean): void {
    const arriving = this.#arriving
    this.#arriving = undefined
    if (!arriving || arriving.task.aborted) return
    const { task, bytes, final, isDataOut } = arriving
    if (!digestOk) {
      this.fail(task, checkCondition(Conditions.protocolServiceCrcError))
      return
    }
    if (isDataOut) task.nextDataSn += 1
    this.#dataOut.arrived(task, bytes, final)
  }

  /** Data that comes for a task after its end, up to the final PDU, is no error. */
  #drain(tag: number): void {
    this.#draining.add(tag)
    if (this.#draining.size > 2 * QUEUE_DEPTH) this.#host.drop('too many commands without their data')
  }

  // --- starting tasks ---

  #plan(task: Task, cdb: Buffer): Plan {
    const { host, nexus } = this.#host
    if (!host) throw checkCondition(Conditions.logicalUnitNotSupported)
    if (!task.unit) return planWithoutUnit(cdb, host)
    return planCommand({ unit: task.unit, nexus, host, cdb, dataOutLength: task.expectedOut })
  }

  /** What the unit's limits say: the task may have to wait for its turn. */
  #askForTurn(task: Task): void {
    const limiter = task.unit?.limiter
    const charge = limiter && chargeOf(task.plan)
    if (!limiter || !charge) return
    task.ticket = limiter.ask(charge.direction, charge.bytes, () => task.takeTurn())
  }

  /** A command that takes no data from the initiator. */
  #start(task: Task): void {
    const { plan, unit } = task
    if (plan.kind === 'done') {
      this.finish(task, plan)
      return
    }
    if (plan.kind === 'read') {
      if (!plan.durable || !unit) {
        this.#startRead(task, plan.length)
        return
      }
      this.#wait(task, unit.flush(this.cancel), () => this.#startRead(task, plan.length))
      return
    }
    if (plan.kind === 'run') {
      let outcome: Outcome = {}
      const run = plan.run(this.cancel).then((result) => {
        outcome = result
      })
      this.#wait(task, run, () => this.finish(task, outcome))
    }
  }

  #wait(task: Task, work: Promise<void>, then: () => void): void {
    task.begin()
    work.then(
      () => {
        task.end()
        if (task.aborted) this.discard(task)
        else then()
      },
      (error: unknown) => {
        task.end()
        if (task.aborted) this.discard(task)
        else this.fail(task, error)
      },
    )
  }

  #startRead(task: Task, length: number): void {
    task.total = Math.min(length, task.expectedIn)
    if (task.total === 0) {
      this.#respond(task, ScsiStatus.good, undefined, length)
      return
    }
    this.#dataIn.start(task, length)
  }

  // --- ending tasks ---

  /** Ends a task with what its command answered. */
  finish(task: Task, outcome: Outcome): void {
    const { data, status = ScsiStatus.good } = outcome
    if (status === ScsiStatus.good && data) {
      task.inData = data
      this.#startRead(task, data.byteLength)
      return
    }
    const { plan } = task
    const succeeded = status === ScsiStatus.good || status === ScsiStatus.conditionMet
    const takesData = plan.kind === 'write' || plan.kind === 'collect'
    this.#respond(task, status, undefined, succeeded && takesData ? plan.length : 0)
  }

  fail(task: Task, error: unknown): void {
    const { status, sense } = senseOf(error)
    const data =
      status === ScsiStatus.checkCondition ? encodeSense(sense, task.unit?.descriptorSense) : undefined
    this.#respond(task, status, data, 0)
  }

  /** @param moved bytes that the command moved or would have, for the residual */
  #respond(task: Task, status: number, sense: Buffer | undefined, moved: number): void {
    if (task.aborted) {
      this.discard(task)
      return
    }
    this.#remove(task)
    sendScsiResponse(this.#host, task, { status, sense, moved })
  }

  /** The last Data-In of a task carries its status. */
  complete(task: Task): { statSn: number } {
    this.#remove(task)
    return { statSn: this.#host.takeStatSn() }
  }

  discard(task: Task): void {
    this.#dataOut.release(task)
  }

  #remove(task: Task): void {
    task.leaveQueue()
    this.tasks.remove(task)
    this.#dataOut.release(task)
  }

  // --- what the transfers need of the session ---

  get writer(): CommandHost['writer'] {
    return this.#host.writer
  }

  get cancel(): Cancel {
    return this.#host.cancel
  }

  get pool(): BufferPool {
    return this.#host.pool
  }

  get parameters(): CommandHost['parameters'] {
    return this.#host.parameters
  }

  numbers(): { expCmdSn: number; maxCmdSn: number } {
    return this.#host.numbers()
  }

  nextStatSn(): number {
    return this.#host.nextStatSn()
  }
}
