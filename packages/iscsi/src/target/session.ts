/**
 * A session in full feature phase: command numbering, tasks, and everything that is answered at once.
 * RFC 7143 sections 4.2.2, 11.3 to 11.19. One connection to a session.
 */

import type { Cancel } from '../block-device.ts'
import type { BufferPool } from '../buffer-pool.ts'
import type { SessionParameters } from '../login/negotiate.ts'
import { HEADER_BYTES, isImmediate, Opcode, opcodeOf } from '../pdu/header.ts'
import { decodeLogoutRequest, type LogoutRequest } from '../pdu/logout-request.ts'
import { LogoutResponseCode } from '../pdu/logout-response.ts'
import { decodeNopOut, type NopOut } from '../pdu/nop-out.ts'
import { RejectReason } from '../pdu/reject.ts'
import { decodeTaskManagementRequest } from '../pdu/task-management-request.ts'
import { decodeTextRequest, type TextRequest } from '../pdu/text-request.ts'
import type { UnitHost } from '../scsi/command-table.ts'
import type { Nexus } from '../scsi/nexus.ts'
import { serialAdd, serialDistance } from '../serial.ts'
import {
  logoutResponse,
  sendLogoutRequested,
  sendLogoutResponse,
  sendPing,
  sendPong,
  sendReject,
  sendSessionDropped,
  sendTaskManagementResponse,
} from './answers.ts'
import { bounded } from './bounded.ts'
import type { PduWriter } from './pdu-writer.ts'
import type { PduHandler } from './receiver.ts'
import { type CommandHost, MAX_IMMEDIATE, QUEUE_DEPTH, ScsiCommands } from './scsi-commands.ts'
import type { IscsiTarget } from './target.ts'
import { runTaskManagement } from './task-management.ts'
import { TextExchange } from './text-exchange.ts'

/** What a session needs of its connection. */
export interface SessionLink {
  readonly writer: PduWriter
  readonly portalGroupTag: number
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
  | { readonly kind: 'command' }
  | { readonly kind: 'ping'; readonly pdu: NopOut; readonly data: Buffer }
  | { readonly kind: 'text'; readonly pdu: TextRequest; readonly header: Buffer; readonly data: Buffer }

const NOTHING: Arriving = { kind: 'nothing' }
const COMMAND: Arriving = { kind: 'command' }

export class Session implements PduHandler, CommandHost {
  readonly nexus: Nexus
  readonly target: IscsiTarget | undefined
  readonly host: UnitHost | undefined
  readonly parameters: SessionParameters
  readonly pool: BufferPool
  readonly writer: PduWriter
  readonly connectedAt = new Date()
  readonly cancel: Cancel
  /** When the session is gone and none of its I/O is at a device. */
  readonly ended: Promise<void>
  readonly #end: () => void
  readonly #abort = new AbortController()
  readonly #link: SessionLink
  readonly #cid: number
  readonly #commands: ScsiCommands
  readonly #text: TextExchange
  #expCmdSn: number
  #statSn: number
  #arriving: Arriving = NOTHING
  #closing = false

  constructor(options: SessionOptions) {
    this.#link = options.link
    this.writer = options.link.writer
    this.target = options.target
    this.host = options.target?.host(options.link.portalGroupTag)
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
    this.#commands = new ScsiCommands(this)
    this.#text = new TextExchange(this, options.sendTargets, options.target?.name)
    this.target?.join(this)
  }

  get remoteAddress(): string {
    return this.#link.remoteAddress
  }

  /** Where in the buffer that `header` returned the data segment begins. */
  get sinkAt(): number {
    return this.#arriving === COMMAND ? this.#commands.sinkAt : 0
  }

  numbers(): { expCmdSn: number; maxCmdSn: number } {
    const room = Math.max(0, QUEUE_DEPTH - this.#commands.tasks.size)
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
    const opcode = opcodeOf(from, at)
    if (this.#closing) return undefined
    if (additional) {
      this.#consume(from, at)
      this.reject(RejectReason.commandNotSupported, from, at)
      return undefined
    }
    if (opcode === Opcode.dataOut) {
      this.#arriving = COMMAND
      return this.#commands.dataOut(from, at, dataLength)
    }
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
        this.#arriving = COMMAND
        return this.#commands.command(from, at, dataLength)
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
    if (arriving.kind === 'command') {
      this.#commands.dataArrived(digestOk)
      return
    }
    if (!digestOk) return
    if (arriving.kind === 'ping') sendPong(this, arriving.pdu, arriving.data)
    else this.#text.receive(arriving.pdu, arriving.header, arriving.data)
  }

  broken(reason: string): void {
    this.drop(reason)
  }

  /** Counts a command's number. False: it is outside the window and is ignored. */
  #consume(from: Buffer, at: number): boolean {
    const cmdSn = from.readUInt32BE(at + 24)
    if (isImmediate(from, at)) return true
    const ahead = serialDistance(this.#expCmdSn, cmdSn)
    if (ahead < 0 || ahead > QUEUE_DEPTH - 1 - this.#commands.tasks.size) return false
    if (ahead > 0) {
      // With one connection commands cannot overtake each other: one is missing for good.
      this.drop(`command number ${cmdSn} came where ${this.#expCmdSn} was due`)
      return false
    }
    this.#expCmdSn = serialAdd(cmdSn, 1)
    return true
  }

  // --- answered at once ---

  /** Asks the initiator whether it is still there. */
  ping(): void {
    sendPing(this)
  }

  #taskManagement(from: Buffer, at: number): void {
    const request = decodeTaskManagementRequest(from, at)
    const { tasks } = this.#commands
    // The pings and resets of a flood wait for each other in the socket's buffers, not in ours.
    if (tasks.immediate >= MAX_IMMEDIATE) {
      this.reject(RejectReason.tooManyImmediateCommands, from, at)
      return
    }
    tasks.immediate += 1
    const answer = (response: number): void => {
      tasks.immediate -= 1
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
    void this.#commands.tasks.abortAll().then(() => {
      sendLogoutResponse(this, request.initiatorTaskTag, response)
      this.#link.finish('the initiator logged out')
    })
  }

  reject(reason: number, header: Buffer, at = 0): void {
    sendReject(this, reason, header, at)
  }

  drop(reason: string): void {
    this.#link.drop(reason)
  }

  // --- tasks, for task management ---

  /** Tags of the tasks on a LUN (of all when left out). */
  tasksOf(lun?: number): number[] {
    return this.#commands.tasks.tags(lun)
  }

  /** Ends a task without an answer; resolves when nothing of it is at the device. */
  abort(tag: number): Promise<void> {
    return this.#commands.tasks.abort(tag)
  }

  // --- ending the session ---

  /**
   * Tells the initiator that its session is over, then closes the connection. Resolves when its I/O has ended.
   * @param logoutMs time to log out by itself, if any
   */
  async close(reason: string, logoutMs = 0): Promise<void> {
    if (!this.#closing && logoutMs > 0) {
      sendLogoutRequested(this, Math.ceil(logoutMs / 1000))
      await bounded(this.ended, logoutMs)
    }
    if (!this.#closing) {
      this.#closing = true
      await this.#commands.tasks.abortAll()
      sendSessionDropped(this)
      this.#link.finish(reason)
    }
    await this.ended
  }

  /** The connection is gone. */
  connectionClosed(): void {
    this.#closing = true
    // Whoever waits for room or data has nothing at the device: only that is waited for.
    const waiting = this.#commands.tasks.abortAll()
    this.#abort.abort(new Error('the iSCSI session has ended'))
    void waiting.finally(() => {
      this.target?.leave(this)
      this.#end()
    })
  }
}
