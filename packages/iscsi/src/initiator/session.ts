import { IscsiError } from '../errors.ts'
import type { SessionParameters } from '../login/negotiate.ts'
import { AsyncEvent, decodeAsyncMessage } from '../pdu/async-message.ts'
import { encodeDataOut } from '../pdu/data-out.ts'
import { HEADER_BYTES, initiatorTaskTag, NO_TAG, Opcode, opcodeOf } from '../pdu/header.ts'
import { encodeLogoutRequest, LogoutReason } from '../pdu/logout-request.ts'
import { decodeNopIn } from '../pdu/nop-in.ts'
import { encodeNopOut } from '../pdu/nop-out.ts'
import { decodeReadyToTransfer } from '../pdu/ready-to-transfer.ts'
import { decodeReject } from '../pdu/reject.ts'
import { encodeScsiCommand, TaskAttribute } from '../pdu/scsi-command.ts'
import { decodeScsiResponse, decodeSenseSegment } from '../pdu/scsi-response.ts'
import { encodeTaskManagementRequest } from '../pdu/task-management-request.ts'
import { decodeTaskManagementResponse } from '../pdu/task-management-response.ts'
import { serialAdd, serialLess } from '../serial.ts'
import { type Connection, type ConnectionOwner, nameOf } from './connection.ts'
import type { LoggedIn } from './login.ts'
import { FIRST_CMD_SN } from './login-exchange.ts'
import type { Task } from './task.ts'
import { type EndingHost, TaskEnding, type TaskManagement } from './task-ending.ts'

/** What a session tells whoever feeds it. */
export interface SessionOwner {
  /** There is room for another command. */
  roomFor(session: Session): void
  /** Commands that a reset of their unit has ended, in the order in which they were sent. */
  repeat(session: Session, tasks: readonly Task[]): void
  /** The session is over; `unanswered` are its commands, in the order in which they were sent. */
  ended(session: Session, error: Error, unanswered: readonly Task[]): void
}

/** Bytes are expected this often; a target that is silent for so long is asked whether it is there. */
const pingAfterMs = 5_000
/** How long it may be silent after that. */
const pingTimeoutMs = 15_000
/** How long the target may take to answer a logout. */
const logoutTimeoutMs = 2_000

const emptyLun = Buffer.alloc(8)
const nothing = Buffer.alloc(0)

/** The numbers that a request carries. */
interface RequestNumbers {
  readonly initiatorTaskTag: number
  readonly cmdSn: number
  readonly expStatSn: number
}

/** A request that is no SCSI command. */
export interface ImmediateRequest {
  /** Completes "timed out waiting for …". */
  readonly what: string
  readonly timeoutMs: number
  readonly data?: Buffer
  readonly encode: (numbers: RequestNumbers, header: Buffer) => void
  /** When no answer comes in time the connection stays; else it is given up. Default false. */
  readonly keepsConnection?: boolean
}

export interface Answer {
  readonly header: Buffer
  readonly data: Buffer
}

/** A request while its answer is awaited. */
interface Waiting {
  readonly what: string
  readonly deadlineAt: number
  readonly keepsConnection: boolean
  readonly resolve: (answer: Answer) => void
  readonly reject: (error: Error) => void
}

/**
 * One session in full feature phase on one connection: numbers commands, keeps to the target's window, moves the
 * data (RFC 7143 sections 4.2 and 11). It ends with its connection; recovery is the owner's.
 */
export class Session implements ConnectionOwner, EndingHost {
  readonly parameters: SessionParameters
  readonly #connection: Connection
  readonly #owner: SessionOwner
  readonly #depth: number
  readonly #tasks = new Map<number, Task>()
  readonly #waiting = new Map<number, Waiting>()
  readonly #ending = new TaskEnding(this)
  #cmdSn = FIRST_CMD_SN
  #expStatSn: number
  #maxCmdSn: number
  #nextTag = 1
  #pingSentAt: number | undefined
  #ended = false
  /** The target asked for a logout: no further commands, and an end when the last one is answered. */
  #draining: Error | undefined

  /** @param depth commands that may be with the target at a time, within its own window */
  constructor(loggedIn: LoggedIn, owner: SessionOwner, depth: number) {
    this.parameters = loggedIn.parameters
    this.#connection = loggedIn.connection
    this.#owner = owner
    this.#depth = depth
    this.#expStatSn = serialAdd(loggedIn.response.statSn, 1)
    this.#maxCmdSn = loggedIn.response.maxCmdSn
    this.#connection.owner = this
  }

  get portal(): Connection['portal'] {
    return this.#connection.portal
  }

  get localAddress(): string | undefined {
    return this.#connection.localAddress
  }

  /** Whether another command may be submitted now. */
  get hasRoom(): boolean {
    return (
      !this.#ended &&
      this.#draining === undefined &&
      this.#tasks.size < this.#depth &&
      !serialLess(this.#maxCmdSn, this.#cmdSn)
    )
  }

  /** Sends a command with as much of its data as the target takes unasked. Only when there is room. */
  submit(task: Task): void {
    const { command } = task
    task.tag = this.#tag()
    task.cmdSn = this.#cmdSn
    task.receivedBytes = 0
    task.deadlineAt = performance.now() + command.timeoutMs
    this.#cmdSn = serialAdd(this.#cmdSn, 1)
    this.#tasks.set(task.tag, task)

    const data = command.dataOut ?? nothing
    const { immediateData, initialR2T, firstBurstLength, peerMaxRecvDataSegmentLength } = this.parameters
    const burst = Math.min(data.byteLength, firstBurstLength)
    const immediateBytes = immediateData ? Math.min(burst, peerMaxRecvDataSegmentLength) : 0
    const unsolicitedEnd = initialR2T ? immediateBytes : burst
    const header = Buffer.allocUnsafe(HEADER_BYTES)
    encodeScsiCommand(
      {
        immediate: false,
        final: unsolicitedEnd === immediateBytes,
        read: command.dataIn !== undefined && command.dataIn.byteLength > 0,
        write: data.byteLength > 0,
        attribute: TaskAttribute.simple,
        lun: command.lun,
        initiatorTaskTag: task.tag,
        expectedDataTransferLength: data.byteLength || (command.dataIn?.byteLength ?? 0),
        cmdSn: task.cmdSn,
        expStatSn: this.#expStatSn,
        commandBlock: command.commandBlock,
        dataLength: immediateBytes,
      },
      header,
    )
    this.#connection.send(header, data.subarray(0, immediateBytes))
    if (unsolicitedEnd > immediateBytes) this.#sendData(task, immediateBytes, unsolicitedEnd, NO_TAG)
  }

  /**
   * Ends a command at the target; its promise rejects with the reason when the target has confirmed that nothing
   * more happens, at the latest when the connection was dropped because it did not.
   */
  abort(task: Task, reason: unknown): void {
    void this.#ending.end(task, reason)
  }

  /**
   * Sends an immediate request that is no SCSI command, and waits for its answer.
   * @throws IscsiError `rejected`, `timeout`, `closed`
   */
  request(request: ImmediateRequest): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const { what, timeoutMs, data, encode, keepsConnection = false } = request
      if (this.#ended) {
        reject(new IscsiError('closed', `the session has ended: there will not be ${what}`))
        return
      }
      const initiatorTaskTag = this.#tag()
      const header = Buffer.alloc(HEADER_BYTES)
      encode({ initiatorTaskTag, cmdSn: this.#cmdSn, expStatSn: this.#expStatSn }, header)
      const deadlineAt = performance.now() + timeoutMs
      this.#waiting.set(initiatorTaskTag, { what, deadlineAt, keepsConnection, resolve, reject })
      this.#connection.send(header, data)
    })
  }

  // What the ending of tasks needs:

  async manage(request: TaskManagement): Promise<number | undefined> {
    const { function: taskFunction, lun, task, timeoutMs } = request
    const fields = {
      immediate: true,
      function: taskFunction,
      lun,
      referencedTaskTag: task?.tag ?? NO_TAG,
      refCmdSn: task?.cmdSn ?? 0,
    }
    try {
      const { header } = await this.request({
        what: `the target's word that ${task?.command.what ?? 'a reset'} has ended`,
        timeoutMs,
        keepsConnection: true,
        encode: (numbers, into) => encodeTaskManagementRequest({ ...fields, ...numbers }, into),
      })
      return decodeTaskManagementResponse(header).response
    } catch {
      return undefined
    }
  }

  tasksOn(lun: number): readonly Task[] {
    return [...this.#tasks.values()].filter((task) => task.command.lun === lun)
  }

  ended(task: Task, reason: unknown): void {
    if (this.#tasks.delete(task.tag)) task.fail(reason)
    this.#afterTask()
  }

  resetTook(tasks: readonly Task[]): void {
    for (const task of tasks) this.#tasks.delete(task.tag)
    this.#owner.repeat(this, tasks)
    this.#afterTask()
  }

  /** Logs out and hangs up. Never throws: a target that does not answer is left all the same. */
  async logout(): Promise<void> {
    if (this.#ended) return
    this.#draining ??= new IscsiError('closed', 'the session was closed')
    const fields = { immediate: true, reason: LogoutReason.closeSession, cid: 0 }
    await this.request({
      what: 'the answer to the logout',
      timeoutMs: logoutTimeoutMs,
      keepsConnection: true,
      encode: (numbers, header) => encodeLogoutRequest({ ...fields, ...numbers }, header),
    }).catch(() => undefined)
    this.#connection.end()
    this.closed(new IscsiError('closed', 'the session was closed'))
  }

  /** Looks at what is due: commands, pings, answers. Call it at least once a second. */
  tick(now: number): void {
    if (this.#ended) return
    for (const task of this.#tasks.values()) {
      if (now < task.deadlineAt || task.abortReason !== undefined) continue
      const what = `timed out after ${task.command.timeoutMs} ms waiting for ${task.command.what}`
      this.abort(task, new IscsiError('timeout', what))
    }
    for (const [tag, waiting] of this.#waiting) {
      if (now < waiting.deadlineAt) continue
      const error = new IscsiError('timeout', `timed out waiting for ${waiting.what}`)
      this.#waiting.delete(tag)
      waiting.reject(error)
      if (waiting.keepsConnection) continue
      this.#connection.close(error)
      return
    }
    const silentMs = now - this.#connection.lastReceivedAt
    if (silentMs < pingAfterMs) this.#pingSentAt = undefined
    else if (this.#pingSentAt === undefined) this.#ping(now)
    else if (now - this.#pingSentAt > pingTimeoutMs) {
      const what = `${nameOf(this.portal)} was silent for ${Math.round(silentMs / 1000)} s`
      this.#connection.close(new IscsiError('timeout', what))
    }
  }

  /** Ends the session without a word to the target. */
  drop(error: Error): void {
    this.#connection.close(error)
  }

  // The connection's owner:

  destination(header: Buffer, length: number): Uint8Array | undefined {
    if (opcodeOf(header) !== Opcode.dataIn) return undefined
    const task = this.#tasks.get(initiatorTaskTag(header))
    if (task === undefined) return undefined
    const offset = header.readUInt32BE(40)
    const into = task.command.dataIn
    if (into === undefined || offset + length > into.byteLength) {
      throw new IscsiError('protocol', `the target sent data past the end of ${task.command.what}`)
    }
    return into.subarray(offset, offset + length)
  }

  received(header: Buffer, data: Uint8Array): void {
    this.#updateWindow(header)
    const tag = initiatorTaskTag(header)
    switch (opcodeOf(header)) {
      case Opcode.dataIn:
        this.#dataIn(header, tag, data.byteLength)
        break
      case Opcode.scsiResponse:
        this.#response(header, tag, data)
        break
      case Opcode.readyToTransfer:
        this.#readyToTransfer(header, tag)
        break
      case Opcode.nopIn:
        this.#nopIn(header, tag)
        break
      case Opcode.taskManagementResponse:
      case Opcode.textResponse:
      case Opcode.logoutResponse:
        this.#answer(header, tag, data)
        break
      case Opcode.asyncMessage:
        this.#asyncMessage(header)
        break
      case Opcode.reject:
        this.#reject(header, data)
        break
      default:
        throw new IscsiError('protocol', `the target sent a PDU of type ${opcodeOf(header).toString(16)}`)
    }
    if (this.hasRoom) this.#owner.roomFor(this)
  }

  closed(error: Error): void {
    if (this.#ended) return
    this.#ended = true
    const unanswered = [...this.#tasks.values()]
    this.#tasks.clear()
    const waiting = [...this.#waiting.values()]
    this.#waiting.clear()
    for (const { reject } of waiting) reject(error)
    this.#owner.ended(this, error, unanswered)
  }

  /** ExpCmdSN and MaxCmdSN stand at the same place in every PDU of the target (section 11.2.2). */
  #updateWindow(header: Buffer): void {
    const expCmdSn = header.readUInt32BE(28)
    const maxCmdSn = header.readUInt32BE(32)
    if (serialLess(maxCmdSn, serialAdd(expCmdSn, -1))) return
    if (serialLess(this.#maxCmdSn, maxCmdSn)) this.#maxCmdSn = maxCmdSn
  }

  #sawStatus(header: Buffer): void {
    const next = serialAdd(header.readUInt32BE(24), 1)
    if (serialLess(this.#expStatSn, next)) this.#expStatSn = next
  }

  #dataIn(header: Buffer, tag: number, bytes: number): void {
    const flags = header.readUInt8(1)
    const hasStatus = (flags & 0x01) !== 0
    const task = this.#tasks.get(tag)
    if (task !== undefined) task.receivedBytes += bytes
    if (!hasStatus) return
    this.#sawStatus(header)
    const underflowBytes = (flags & 0x02) !== 0 ? header.readUInt32BE(44) : 0
    this.#finish(task, header.readUInt8(3), nothing, underflowBytes)
  }

  #response(header: Buffer, tag: number, data: Uint8Array): void {
    this.#sawStatus(header)
    const pdu = decodeScsiResponse(header)
    const task = this.#tasks.get(tag)
    if (task === undefined) return
    if (pdu.response !== 0) {
      this.#tasks.delete(tag)
      task.fail(
        new IscsiError('rejected', `the target failed at ${task.command.what} (response ${pdu.response})`),
      )
      this.#afterTask()
      return
    }
    // The segment lies in a buffer that the next PDU reuses.
    const sense = Buffer.from(decodeSenseSegment(Buffer.from(data.buffer, data.byteOffset, data.byteLength)))
    this.#finish(task, pdu.status, sense, pdu.underflow ? pdu.residualCount : 0)
  }

  #finish(task: Task | undefined, status: number, sense: Buffer, underflowBytes: number): void {
    if (task === undefined) return
    this.#tasks.delete(task.tag)
    task.complete({ status, sense, receivedBytes: task.receivedBytes, underflowBytes })
    this.#afterTask()
  }

  #afterTask(): void {
    if (this.#draining !== undefined && this.#tasks.size === 0 && !this.#ended) void this.logout()
  }

  #readyToTransfer(header: Buffer, tag: number): void {
    const task = this.#tasks.get(tag)
    if (task === undefined) return
    const pdu = decodeReadyToTransfer(header)
    const end = pdu.bufferOffset + pdu.desiredDataTransferLength
    if (pdu.desiredDataTransferLength === 0 || end > (task.command.dataOut?.byteLength ?? 0)) {
      throw new IscsiError('protocol', `the target asked for data past the end of ${task.command.what}`)
    }
    this.#sendData(task, pdu.bufferOffset, end, pdu.targetTransferTag)
  }

  /** One sequence of Data-Out PDUs. */
  #sendData(task: Task, start: number, end: number, targetTransferTag: number): void {
    const data = task.command.dataOut ?? nothing
    const most = this.parameters.peerMaxRecvDataSegmentLength
    let dataSn = 0
    for (let at = start; at < end; at += most) {
      const dataLength = Math.min(most, end - at)
      const header = Buffer.allocUnsafe(HEADER_BYTES)
      encodeDataOut(
        {
          final: at + dataLength === end,
          lun: task.command.lun,
          initiatorTaskTag: task.tag,
          targetTransferTag,
          expStatSn: this.#expStatSn,
          dataSn,
          bufferOffset: at,
          dataLength,
        },
        header,
      )
      this.#connection.send(header, data.subarray(at, at + dataLength))
      dataSn += 1
    }
  }

  #nopIn(header: Buffer, tag: number): void {
    const pdu = decodeNopIn(header)
    if (tag !== NO_TAG) {
      this.#sawStatus(header)
      this.#pingSentAt = undefined
      return
    }
    if (pdu.targetTransferTag === NO_TAG) return
    this.#sendNop(NO_TAG, pdu.targetTransferTag, pdu.lunField)
  }

  #ping(now: number): void {
    this.#pingSentAt = now
    this.#sendNop(this.#tag(), NO_TAG, emptyLun)
  }

  #sendNop(tag: number, targetTransferTag: number, lunField: Buffer): void {
    const header = Buffer.alloc(HEADER_BYTES)
    encodeNopOut(
      {
        immediate: true,
        lunField,
        initiatorTaskTag: tag,
        targetTransferTag,
        cmdSn: this.#cmdSn,
        expStatSn: this.#expStatSn,
        dataLength: 0,
      },
      header,
    )
    this.#connection.send(header)
  }

  #answer(header: Buffer, tag: number, data: Uint8Array): void {
    this.#sawStatus(header)
    const waiting = this.#waiting.get(tag)
    if (waiting === undefined) return
    this.#waiting.delete(tag)
    // Both lie in buffers that the next PDU reuses.
    waiting.resolve({ header: Buffer.from(header), data: Buffer.from(data) })
  }

  #asyncMessage(header: Buffer): void {
    this.#sawStatus(header)
    const { event, parameter3 } = decodeAsyncMessage(header)
    if (event === AsyncEvent.connectionDropped || event === AsyncEvent.sessionDropped) {
      throw new IscsiError('closed', `${nameOf(this.portal)} announced that it drops the connection`)
    }
    if (event === AsyncEvent.logoutRequested) {
      this.#draining ??= new IscsiError('closed', `the target asked for a logout within ${parameter3} s`)
      this.#afterTask()
    }
  }

  /** The header that was rejected comes back as data: its tag says which request it was. */
  #reject(header: Buffer, data: Uint8Array): void {
    this.#sawStatus(header)
    const { reason } = decodeReject(header)
    const what = `the target rejected a request (reason ${reason.toString(16).padStart(2, '0')})`
    const error = new IscsiError('rejected', what)
    if (data.byteLength < HEADER_BYTES) throw error
    const tag = initiatorTaskTag(Buffer.from(data.buffer, data.byteOffset, data.byteLength))
    const waiting = this.#waiting.get(tag)
    const task = this.#tasks.get(tag)
    if (waiting !== undefined) {
      this.#waiting.delete(tag)
      waiting.reject(error)
    } else if (task !== undefined) {
      // Whether the target has forgotten the command is not known: end it for certain.
      task.deadlineAt = Number.POSITIVE_INFINITY
      this.abort(task, new IscsiError('rejected', `${what}: ${task.command.what}`))
    }
  }

  #tag(): number {
    for (;;) {
      const tag = this.#nextTag
      this.#nextTag = tag >= 0xfffffffe ? 0 : tag + 1
      if (!this.#tasks.has(tag) && !this.#waiting.has(tag)) return tag
    }
  }
}
