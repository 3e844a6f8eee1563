/**
 * A session in full feature phase: command numbering, tasks, and everything that is answered at once.
 * RFC 7143 sections 4.2.2, 11.3 to 11.19. One connection to a session.
 */

import type { Cancel } from '../block-device.ts'
import type { BufferPool } from '../buffer-pool.ts'
import type { SessionParameters } from '../login/negotiate.ts'
import { decodeDataOut } from '../pdu/data-out.ts'
import { FINAL, HEADER_BYTES, isImmediate, NO_TAG, Opcode, opcodeOf } from '../pdu/header.ts'
import { decodeLogoutRequest, type LogoutRequest } from '../pdu/logout-request.ts'
import { LogoutResponseCode } from '../pdu/logout-response.ts'
import { readLun } from '../pdu/lun.ts'
import { decodeNopOut, type NopOut } from '../pdu/nop-out.ts'
import { RejectReason } from '../pdu/reject.ts'
import { decodeTaskManagementRequest } from '../pdu/task-management-request.ts'
import { decodeTextRequest, type TextRequest } from '../pdu/text-request.ts'
import type { Outcome, Plan } from '../scsi/command-table.ts'
import { planCommand, planWithoutUnit, senseOf } from '../scsi/commands.ts'
import { checkCondition } from '../scsi/logical-unit.ts'
import type { Nexus } from '../scsi/nexus.ts'
import { Conditions, encodeSense } from '../scsi/sense.ts'
import { ScsiStatus } from '../scsi/status.ts'
import { serialAdd, serialDistance } from '../serial.ts'
import {
  type AnswerHost,
  logoutResponse,
  sendLogoutResponse,
  sendPing,
  sendPong,
  sendReject,
  sendScsiResponse,
  sendSessionDropped,
  sendTaskManagementResponse,
} from './answers.ts'
import { DataInSender } from './data-in.ts'
import { type DataOutHost, DataOutReceiver } from './data-out.ts'
import type { PduWriter } from './pdu-writer.ts'
import type { PduHandler } from './receiver.ts'
import type { IscsiTarget } from './target.ts'
import { Task } from './task.ts'
import { runTaskManagement } from './task-management.ts'
import { TextExchange } from './text-exchange.ts'

/** Commands an initiator may have outstanding. */
export const QUEUE_DEPTH = 128
/** Immediate commands and pings that may be pending beside those. */
const MAX_IMMEDIATE = 16
/** Data-Out PDUs for tasks that do not exist, after which the connection is dropped. */
const MAX_STRAY_DATA = 100

/** What a session needs of its connection. */
export interface SessionLink {
  readonly writer: PduWriter
  readonly remoteAddress: string
  /** Sends what is queued, then closes. */
  finish(reason: string): void
  /** Closes at once. */
  drop(reason: string): void
}

export interface SessionOptions {
  readonly link: SessionLink
  /** Undefined for a discovery session. */
  readonly target: IscsiTarget | undefined
  readonly nexus: Nexus
  readonly cid: number
  readonly parameters: SessionParameters
  readonly pool: BufferPool
  readonly expCmdSn: number
  readonly statSn: number
  /** `TargetName` and `TargetAddress` values for SendTargets; undefined name: all this initiator may see. */
  readonly sendTargets: (name: string | undefined) => readonly (readonly [string, string])[]
}

/** What the data segment that is arriving belongs to. */
type Arriving =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'command'; readonly task: Task; readonly bytes: number; readonly final: boolean }
  | { readonly kind: 'data'; readonly task: Task; readonly bytes: number; readonly final: boolean }
  | { readonly kind: 'ping'; readonly pdu: NopOut; readonly data: Buffer }
  | { readonly kind: 'text'; readonly pdu: TextRequest; readonly header: Buffer; readonly data: Buffer }

const NOTHING: Arriving = { kind: 'nothing' }

export class Session implements PduHandler, DataOutHost, AnswerHost {
  readonly nexus: Nexus
  readonly target: IscsiTarget | undefined
  readonly parameters: SessionParameters
  readonly pool: BufferPool
  readonly writer: PduWriter
  readonly connectedAt = new Date()
  readonly cancel: Cancel
  sinkAt = 0
  /** When the session is gone and none of its I/O is at a device. */
  readonly ended: Promise<void>
  readonly #end: () => void
  readonly #abort = new AbortController()
  readonly #link: SessionLink
  readonly #cid: number
  readonly #tasks = new Map<number, Task>()
  readonly #draining = new Set<number>()
  /** Aborted tasks that are still at a device. */
  readonly #leaving = new Set<Promise<void>>()
  readonly #dataIn: DataInSender
  readonly #dataOut: DataOutReceiver
  readonly #text: TextExchange
  #expCmdSn: number
  #statSn: number
  #immediate = 0
  #stray = 0
  #arriving: Arriving = NOTHING
  #closing = false

  constructor(options: SessionOptions) {
    this.#link = options.link
    this.writer = options.link.writer
    this.target = options.target
    this.nexus = options.nexus
    this.#cid = options.cid
    this.parameters = options.parameters
    this.pool = options.pool
    this.cancel = { signal: this.#abort.signal }
    this.#expCmdSn = options.expCmdSn
    this.#statSn = options.statSn
    const { promise, resolve } = Promise.withResolvers<void>()
    this.ended = promise
    this.#end = resolve
    const { peerMaxRecvDataSegmentLength, maxBurstLength } = options.parameters
    this.#dataIn = new DataInSender(this, peerMaxRecvDataSegmentLength, maxBurstLength)
    this.#dataOut = new DataOutReceiver(this)
    this.#text = new TextExchange(this, options.sendTargets, options.target?.name)
    this.writer.sender.onDrained = () => this.#dataIn.drained()
    this.target?.join(this)
  }

  get remoteAddress(): string {
    return this.#link.remoteAddress
  }

  numbers(): { expCmdSn: number; maxCmdSn: number } {
    const room = Math.max(0, QUEUE_DEPTH - this.#tasks.size)
    return { expCmdSn: this.#expCmdSn, maxCmdSn: serialAdd(this.#expCmdSn, room - 1) }
  }

  /** The number the next status will have; not consumed. */
  nextStatSn(): number {
    return this.#statSn
  }

  takeStatSn(): number {
    const statSn = this.#statSn
    this.#statSn = serialAdd(statSn, 1)
    return statSn
  }

  // --- receiving ---

  header(from: Buffer, at: number, dataLength: number, additional: Buffer | undefined): Buffer | undefined {
    this.#arriving = NOTHING
    this.sinkAt = 0
    const opcode = opcodeOf(from, at)
    if (this.#closing) return undefined
    if (additional) {
      this.#consume(from, at)
      this.reject(RejectReason.commandNotSupported, from, at)
      return undefined
    }
    if (opcode === Opcode.dataOut) return this.#dataOutHeader(from, at, dataLength)
    if (opcode !== Opcode.snack && !this.#consume(from, at)) return undefined
    if (
      !this.target &&
      opcode !== Opcode.textRequest &&
      opcode !== Opcode.logoutRequest &&
      opcode !== Opcode.nopOut
    ) {
      this.reject(RejectReason.protocolError, from, at)
      return undefined
    }
    switch (opcode) {
      case Opcode.scsiCommand:
        return this.#command(from, at, dataLength)
      case Opcode.nopOut: {
        const pdu = decodeNopOut(from, at)
        const data = Buffer.allocUnsafe(dataLength)
        this.#arriving = { kind: 'ping', pdu, data }
        return data
      }
      case Opcode.textRequest: {
        const data = Buffer.allocUnsafe(dataLength)
        const header = Buffer.from(from.subarray(at, at + HEADER_BYTES))
        this.#arriving = { kind: 'text', pdu: decodeTextRequest(from, at), header, data }
        return data
      }
      case Opcode.taskManagementRequest:
        this.#taskManagement(from, at)
        return undefined
      case Opcode.logoutRequest:
        this.#logout(decodeLogoutRequest(from, at))
        return undefined
      case Opcode.loginRequest:
        this.reject(RejectReason.protocolError, from, at)
        this.#link.finish('a login request in full feature phase')
        return undefined
      default:
        this.reject(RejectReason.commandNotSupported, from, at)
        return undefined
    }
  }

  end(digestOk: boolean): void {
    const arriving = this.#arriving
    this.#arriving = NOTHING
    if (arriving.kind === 'nothing' || this.#closing) return
    if (arriving.kind === 'command' || arriving.kind === 'data') {
      const { task, bytes, final } = arriving
      if (task.aborted) return
      if (!digestOk) {
        this.fail(task, checkCondition(Conditions.protocolServiceCrcError))
        return
      }
      if (arriving.kind === 'data') task.nextDataSn += 1
      this.#dataOut.arrived(task, bytes, final)
      return
    }
    if (!digestOk) return
    if (arriving.kind === 'ping') sendPong(this, arriving.pdu, arriving.data)
    else this.#text.receive(arriving.pdu, arriving.header, arriving.data)
  }

  broken(reason: string): void {
    this.#link.drop(reason)
  }

  /** Counts a command's number. False: it is outside the window and is ignored. */
  #consume(from: Buffer, at: number): boolean {
    const cmdSn = from.readUInt32BE(at + 24)
    if (isImmediate(from, at)) return true
    const ahead = serialDistance(this.#expCmdSn, cmdSn)
    if (ahead < 0 || ahead > QUEUE_DEPTH - 1 - this.#tasks.size) return false
    if (ahead > 0) {
      // With one connection commands cannot overtake each other: one is missing for good.
      this.#link.drop(`command number ${cmdSn} came where ${this.#expCmdSn} was due`)
      return false
    }
    this.#expCmdSn = serialAdd(cmdSn, 1)
    return true
  }

  #command(from: Buffer, at: number, dataLength: number): Buffer | undefined {
    const tag = from.readUInt32BE(at + 16)
    const flags = from.readUInt8(at + 1)
    const immediate = isImmediate(from, at)
    if (tag === NO_TAG || this.#tasks.has(tag)) {
      this.reject(tag === NO_TAG ? RejectReason.invalidField : RejectReason.taskInProgress, from, at)
      return undefined
    }
    if (immediate && this.#immediate >= MAX_IMMEDIATE) {
      this.reject(RejectReason.tooManyImmediateCommands, from, at)
      return undefined
    }
    const expected = from.readUInt32BE(at + 20)
    const lun = readLun(from, at + 8)
    const unit = this.target?.unit(lun)
    const task = new Task({
      initiatorTaskTag: tag,
      lun,
      unit,
      immediate,
      expectedOut: (flags & 0x20) !== 0 ? expected : 0,
      expectedIn: (flags & 0x40) !== 0 ? expected : 0,
    })
    this.#tasks.set(tag, task)
    this.#draining.delete(tag)
    if (immediate) this.#immediate += 1
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
      if (!takesData) {
        this.#start(task)
        return undefined
      }
    } catch (error) {
      this.fail(task, error)
      return undefined
    }
    this.#arriving = { kind: 'command', task, bytes: dataLength, final: task.sequenceEnd === dataLength }
    return task.buffer
  }

  #plan(task: Task, cdb: Buffer): Plan {
    const target = this.target
    if (!target) throw checkCondition(Conditions.logicalUnitNotSupported)
    if (!task.unit) return planWithoutUnit(cdb, target)
    return planCommand({
      unit: task.unit,
      nexus: this.nexus,
      host: target,
      cdb,
      dataOutLength: task.expectedOut,
    })
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

  #dataOutHeader(from: Buffer, at: number, dataLength: number): Buffer | undefined {
    const pdu = decodeDataOut(from, at)
    const task = this.#tasks.get(pdu.initiatorTaskTag)
    if (!task || task.aborted) {
      if (this.#draining.has(pdu.initiatorTaskTag)) {
        if (pdu.final) this.#draining.delete(pdu.initiatorTaskTag)
        return undefined
      }
      this.#stray += 1
      if (this.#stray > MAX_STRAY_DATA) this.#link.drop('too much data for tasks that do not exist')
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
    this.#arriving = { kind: 'data', task, bytes: dataLength, final }
    this.sinkAt = task.received - task.bufferStart
    return task.buffer
  }

  /** Data that comes for a task after its end, up to the final PDU, is no error. */
  #drain(tag: number): void {
    this.#draining.add(tag)
    if (this.#draining.size > 2 * QUEUE_DEPTH) this.#link.drop('too many commands without their data')
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
    const moved = plan.kind === 'write' || plan.kind === 'collect' ? plan.length : 0
    this.#respond(
      task,
      status,
      undefined,
      status === ScsiStatus.good || status === ScsiStatus.conditionMet ? moved : 0,
    )
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
    sendScsiResponse(this, task, { status, sense, moved })
  }

  complete(task: Task): { statSn: number } {
    this.#remove(task)
    return { statSn: this.takeStatSn() }
  }

  discard(task: Task): void {
    this.#dataOut.release(task)
  }

  #remove(task: Task): void {
    if (this.#tasks.delete(task.initiatorTaskTag) && task.immediate) this.#immediate -= 1
    this.#dataOut.release(task)
  }

  /** Tags of the tasks on a LUN (of all when left out). */
  tasksOf(lun?: number): number[] {
    return [...this.#tasks.values()]
      .filter((task) => lun === undefined || task.lun === lun)
      .map((task) => task.initiatorTaskTag)
  }

  /** Ends a task without an answer; resolves when nothing of it is at the device. */
  async abort(tag: number): Promise<void> {
    const task = this.#tasks.get(tag)
    if (!task) return
    task.aborted = true
    if (this.#tasks.delete(tag) && task.immediate) this.#immediate -= 1
    const idle = task.idle()
    if (!idle) {
      this.discard(task)
      return
    }
    this.#leaving.add(idle)
    await idle
    this.#leaving.delete(idle)
  }

  // --- answered at once ---

  /** Asks the initiator whether it is still there. */
  ping(): void {
    sendPing(this)
  }

  #taskManagement(from: Buffer, at: number): void {
    const request = decodeTaskManagementRequest(from, at)
    // The pings and resets of a flood wait for each other in the socket's buffers, not in ours.
    if (this.#immediate >= MAX_IMMEDIATE) {
      this.reject(RejectReason.tooManyImmediateCommands, from, at)
      return
    }
    this.#immediate += 1
    const answer = (response: number): void => {
      this.#immediate -= 1
      if (!this.#closing) sendTaskManagementResponse(this, request.initiatorTaskTag, response)
    }
    void runTaskManagement(this, request, answer)
  }

  #logout(request: LogoutRequest): void {
    const response = logoutResponse(request, this.#cid)
    if (response !== LogoutResponseCode.closed) {
      sendLogoutResponse(this, request.initiatorTaskTag, response)
      return
    }
    this.#closing = true
    void Promise.all(this.tasksOf().map((tag) => this.abort(tag))).then(() => {
      sendLogoutResponse(this, request.initiatorTaskTag, response)
      this.#link.finish('the initiator logged out')
    })
  }

  reject(reason: number, header: Buffer, at = 0): void {
    sendReject(this, reason, header, at)
  }

  // --- ending the session ---

  /** Tells the initiator that its session is over, then closes the connection. Resolves when its I/O has ended. */
  async close(reason: string): Promise<void> {
    if (!this.#closing) {
      this.#closing = true
      await Promise.all(this.tasksOf().map((tag) => this.abort(tag)))
      sendSessionDropped(this)
      this.#link.finish(reason)
    }
    await this.ended
  }

  /** The connection is gone. */
  connectionClosed(): void {
    this.#closing = true
    // Whoever waits for room or data has nothing at the device: only that is waited for.
    const aborted = this.tasksOf().map((tag) => this.abort(tag))
    const waiting = Promise.all([...aborted, ...this.#leaving])
    this.#abort.abort(new Error('the iSCSI session has ended'))
    void waiting.finally(() => {
      this.target?.leave(this)
      this.#end()
    })
  }
}
