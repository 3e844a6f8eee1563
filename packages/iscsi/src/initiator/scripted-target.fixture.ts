import { createServer, type Server, type Socket } from 'node:net'
import { PREFERRED, type SessionPreferences, TargetNegotiation } from '../login/negotiate.ts'
import { encodeText, type KeyValue, parseText } from '../login/text.ts'
import { encodeAsyncMessage } from '../pdu/async-message.ts'
import { encodeDataIn } from '../pdu/data-in.ts'
import { decodeDataOut } from '../pdu/data-out.ts'
import { HEADER_BYTES, NO_TAG, Opcode, opcodeOf } from '../pdu/header.ts'
import { decodeLoginRequest } from '../pdu/login-request.ts'
import { encodeLoginResponse } from '../pdu/login-response.ts'
import { encodeLogoutResponse } from '../pdu/logout-response.ts'
import { encodeNopIn } from '../pdu/nop-in.ts'
import { decodeNopOut, type NopOut } from '../pdu/nop-out.ts'
import { encodeReadyToTransfer } from '../pdu/ready-to-transfer.ts'
import { encodeReject } from '../pdu/reject.ts'
import { decodeScsiCommand, type ScsiCommand } from '../pdu/scsi-command.ts'
import { encodeScsiResponse, encodeSenseSegment } from '../pdu/scsi-response.ts'
import { decodeTaskManagementRequest } from '../pdu/task-management-request.ts'
import { encodeTaskManagementResponse } from '../pdu/task-management-response.ts'
import { decodeTextRequest } from '../pdu/text-request.ts'
import { encodeTextResponse } from '../pdu/text-response.ts'
import { encodeCapacity16 } from '../scsi/capacity.ts'
import { logicalBlockAddress, OperationCode, transferBlocks } from '../scsi/command-block.ts'
import { encodeSense, type Sense } from '../scsi/sense.ts'
import { framePdu, PduReceiver } from './pdu-receiver.ts'

/**
 * A target that does as a test tells it, so that everything a strange or broken target may do can be tried. It
 * is a disk of 8 MiB in memory as long as the script does not say otherwise.
 */
export interface Script {
  readonly preferences?: Partial<SessionPreferences>
  /** Login status to refuse with; 0 lets the login go on. */
  readonly loginStatus?: () => number
  /** Keys to send with the login response, besides the answers. */
  readonly loginKeys?: readonly KeyValue[]
  /** Takes a command; true when the script has dealt with it. */
  readonly onCommand?: (command: ScsiCommand, peer: Peer) => boolean
  /** Answers task management requests when it is the script that does. */
  readonly onTaskManagement?: (tag: number, referencedTag: number, peer: Peer) => boolean
  readonly onNop?: (nop: NopOut, peer: Peer) => void
  /** Parts of the answer to SendTargets, one PDU each. */
  readonly targets?: readonly string[]
  /** Size of the command window. */
  readonly window?: number
}

export class ScriptedTarget implements AsyncDisposable {
  readonly disk = Buffer.alloc(8 * 1024 * 1024)
  readonly peers: Peer[] = []
  readonly commands: ScsiCommand[] = []
  readonly script: Script
  readonly #server: Server

  private constructor(script: Script) {
    this.script = script
    this.#server = createServer((socket) => this.peers.push(new Peer(socket, this)))
  }

  static async start(script: Script = {}): Promise<ScriptedTarget> {
    const target = new ScriptedTarget(script)
    await new Promise<void>((resolve) => target.#server.listen(0, '127.0.0.1', resolve))
    return target
  }

  get port(): number {
    const address = this.#server.address()
    return typeof address === 'object' && address !== null ? address.port : 0
  }

  /** How many commands with this operation code have come. */
  count(operationCode: number): number {
    return this.commands.filter((command) => command.commandBlock[0] === operationCode).length
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const peer of this.peers) peer.hangUp()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}

interface Incoming {
  readonly command: ScsiCommand
  readonly data: Buffer
  /** Data that comes without having been asked for ends here. */
  unsolicitedOver: boolean
  have: number
}

/** The target's end of one connection. */
export class Peer {
  cmdSn = 0
  statSn = 1000
  /** Commands that came outside the window that was announced last. */
  overruns = 0
  #announced = 0
  negotiation: TargetNegotiation
  /** Data-Out PDUs in the order in which they came: length and whether they were asked for. */
  readonly dataOuts: { bytes: number; solicited: boolean }[] = []
  readonly #socket: Socket
  readonly #target: ScriptedTarget
  readonly #receiver: PduReceiver
  readonly #incoming = new Map<number, Incoming>()
  #textPart = 0

  constructor(socket: Socket, target: ScriptedTarget) {
    this.#socket = socket
    this.#target = target
    this.negotiation = new TargetNegotiation({ ...PREFERRED, ...target.script.preferences })
    this.#receiver = new PduReceiver({
      destination: () => undefined,
      received: (header, data) => this.#received(header, Buffer.from(data)),
    })
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => {
      this.#receiver.push(chunk, chunk.byteLength)
    })
  }

  hangUp(): void {
    this.#socket.destroy()
  }

  /** What stands in every answer: how far commands have come, and how many more may come. */
  get serials(): { statSn: number; expCmdSn: number; maxCmdSn: number } {
    const window = this.#target.script.window ?? 128
    this.#announced = (this.cmdSn + window - 1) >>> 0
    return { statSn: this.statSn, expCmdSn: this.cmdSn, maxCmdSn: this.#announced }
  }

  send(header: Buffer, data?: Uint8Array): void {
    const { headerDigest, dataDigest } = this.#receiver
    this.#socket.write(Buffer.concat(framePdu(header, data, headerDigest, dataDigest)))
  }

  sendRaw(bytes: Uint8Array): void {
    this.#socket.write(bytes)
  }

  respond(command: Pick<ScsiCommand, 'initiatorTaskTag'>, status: number, sense?: Sense): void {
    const data = sense === undefined ? Buffer.alloc(0) : encodeSenseSegment(encodeSense(sense))
    const header = Buffer.alloc(HEADER_BYTES)
    const fields = {
      response: 0,
      status,
      initiatorTaskTag: command.initiatorTaskTag,
      expDataSn: 0,
      overflow: false,
      underflow: false,
      residualCount: 0,
      dataLength: data.byteLength,
    }
    encodeScsiResponse({ ...fields, ...this.serials }, header)
    this.statSn += 1
    this.send(header, data)
  }

  /** @param withStatus GOOD rides along in the last PDU, else it follows in a response of its own */
  sendData(
    command: ScsiCommand,
    data: Buffer,
    options: { segment?: number; withStatus?: boolean } = {},
  ): void {
    const segment = options.segment ?? this.negotiation.parameters.peerMaxRecvDataSegmentLength
    const withStatus = options.withStatus ?? true
    const missing = Math.max(0, command.expectedDataTransferLength - data.byteLength)
    let dataSn = 0
    for (let at = 0; at < data.byteLength; at += segment) {
      const part = data.subarray(at, at + segment)
      const last = at + part.byteLength === data.byteLength
      const header = Buffer.alloc(HEADER_BYTES)
      encodeDataIn(
        {
          final: last,
          hasStatus: last && withStatus,
          status: 0,
          initiatorTaskTag: command.initiatorTaskTag,
          targetTransferTag: NO_TAG,
          ...this.serials,
          dataSn,
          bufferOffset: at,
          overflow: false,
          underflow: last && withStatus && missing > 0,
          residualCount: last && withStatus ? missing : 0,
          dataLength: part.byteLength,
        },
        header,
      )
      this.send(header, part)
      dataSn += 1
    }
    if (withStatus) this.statSn += 1
    else this.respond(command, 0)
  }

  askFor(command: ScsiCommand, bufferOffset: number, desiredDataTransferLength: number, r2tSn = 0): void {
    const header = Buffer.alloc(HEADER_BYTES)
    const { lun, initiatorTaskTag } = command
    const fields = {
      lun,
      initiatorTaskTag,
      targetTransferTag: 7,
      r2tSn,
      bufferOffset,
      desiredDataTransferLength,
    }
    encodeReadyToTransfer({ ...fields, ...this.serials }, header)
    this.send(header)
  }

  asyncMessage(event: number): void {
    const header = Buffer.alloc(HEADER_BYTES)
    const fields = { event, parameter1: 0, parameter2: 0, parameter3: 1, dataLength: 0 }
    encodeAsyncMessage({ ...fields, ...this.serials }, header)
    this.statSn += 1
    this.send(header)
  }

  ping(targetTransferTag: number): void {
    const header = Buffer.alloc(HEADER_BYTES)
    const fields = { lunField: Buffer.alloc(8), initiatorTaskTag: NO_TAG, targetTransferTag, dataLength: 0 }
    encodeNopIn({ ...fields, ...this.serials }, header)
    this.send(header)
  }

  reject(rejected: Buffer, reason: number): void {
    const header = Buffer.alloc(HEADER_BYTES)
    encodeReject({ reason, ...this.serials, dataLength: HEADER_BYTES }, header)
    this.statSn += 1
    this.send(header, rejected)
  }

  #received(header: Buffer, data: Buffer): void {
    const { script } = this.#target
    const immediate = (header.readUInt8(0) & 0x40) !== 0
    switch (opcodeOf(header)) {
      case Opcode.loginRequest:
        this.#login(header, data)
        break
      case Opcode.scsiCommand: {
        const command = decodeScsiCommand(header)
        if (command.cmdSn > this.#announced) this.overruns += 1
        if (!immediate) this.cmdSn = (this.cmdSn + 1) >>> 0
        this.#target.commands.push(command)
        if (script.onCommand?.(command, this) !== true) this.#command(command, data)
        break
      }
      case Opcode.dataOut:
        this.#dataOut(header, data)
        break
      case Opcode.taskManagementRequest: {
        const request = decodeTaskManagementRequest(header)
        const { initiatorTaskTag, referencedTaskTag } = request
        if (script.onTaskManagement?.(initiatorTaskTag, referencedTaskTag, this) === true) break
        this.answerTaskManagement(initiatorTaskTag, 0)
        break
      }
      case Opcode.nopOut: {
        const nop = decodeNopOut(header)
        if (script.onNop !== undefined) script.onNop(nop, this)
        break
      }
      case Opcode.textRequest:
        this.#text(header)
        break
      case Opcode.logoutRequest: {
        const answer = Buffer.alloc(HEADER_BYTES)
        const tags = { initiatorTaskTag: header.readUInt32BE(16), timeToWait: 0, timeToRetain: 0 }
        encodeLogoutResponse({ response: 0, ...tags, ...this.serials }, answer)
        this.send(answer)
        break
      }
    }
  }

  answerTaskManagement(initiatorTaskTag: number, response: number): void {
    const header = Buffer.alloc(HEADER_BYTES)
    encodeTaskManagementResponse({ response, initiatorTaskTag, ...this.serials }, header)
    this.statSn += 1
    this.send(header)
  }

  #login(header: Buffer, data: Buffer): void {
    const { script } = this.#target
    const request = decodeLoginRequest(header)
    this.cmdSn = request.cmdSn
    const keys: KeyValue[] = [...(script.loginKeys ?? [])]
    const names = new Set(['InitiatorName', 'TargetName', 'SessionType', 'AuthMethod'])
    for (const [key, value] of parseText(data)) {
      const answer = names.has(key) ? undefined : this.negotiation.answer(key, value)
      if (answer !== undefined) keys.push([key, answer])
    }
    keys.push(['MaxRecvDataSegmentLength', String(this.negotiation.parameters.maxRecvDataSegmentLength)])
    const text = encodeText(keys)
    const answer = Buffer.alloc(HEADER_BYTES)
    encodeLoginResponse(
      {
        transit: request.transit,
        continued: false,
        currentStage: request.currentStage,
        nextStage: request.nextStage,
        versionMax: 0,
        versionActive: 0,
        isid: request.isid,
        tsih: 1,
        initiatorTaskTag: request.initiatorTaskTag,
        ...this.serials,
        status: script.loginStatus?.() ?? 0,
        dataLength: text.byteLength,
      },
      answer,
    )
    this.statSn += 1
    this.send(answer, text)
    this.#receiver.headerDigest = this.negotiation.parameters.headerDigest
    this.#receiver.dataDigest = this.negotiation.parameters.dataDigest
    this.#receiver.maxDataBytes = this.negotiation.parameters.maxRecvDataSegmentLength
  }

  #command(command: ScsiCommand, immediate: Buffer): void {
    const cdb = command.commandBlock
    const { disk } = this.#target
    const at = logicalBlockAddress(cdb) * 512
    switch (cdb.readUInt8(0)) {
      case OperationCode.inquiry:
        if ((cdb.readUInt8(1) & 1) !== 0) this.respond(command, 2, { key: 5, asc: 0x24, ascq: 0 })
        else this.sendData(command, Buffer.from('00'.repeat(96), 'hex'))
        break
      case OperationCode.serviceActionIn16: {
        const facts = { physicalBlockExponent: 0, thin: false, unmappedReadsZeroes: false }
        const capacity = encodeCapacity16({ blocks: disk.byteLength / 512, blockSize: 512, ...facts })
        this.sendData(command, capacity)
        break
      }
      case OperationCode.modeSense6:
        this.sendData(command, Buffer.from([3, 0, 0, 0]))
        break
      case OperationCode.read10:
        this.sendData(command, disk.subarray(at, at + transferBlocks(cdb) * 512))
        break
      case OperationCode.write10:
        this.#startWrite(command, immediate)
        break
      case OperationCode.testUnitReady:
      case OperationCode.synchronizeCache10:
        this.respond(command, 0)
        break
      default:
        this.respond(command, 2, { key: 5, asc: 0x20, ascq: 0 })
    }
  }

  #startWrite(command: ScsiCommand, immediate: Buffer): void {
    const data = Buffer.alloc(command.expectedDataTransferLength)
    immediate.copy(data)
    const have = immediate.byteLength
    const incoming = { command, data, unsolicitedOver: command.final, have }
    this.#incoming.set(command.initiatorTaskTag, incoming)
    this.#continueWrite(incoming)
  }

  #dataOut(header: Buffer, data: Buffer): void {
    const pdu = decodeDataOut(header)
    const incoming = this.#incoming.get(pdu.initiatorTaskTag)
    this.dataOuts.push({ bytes: data.byteLength, solicited: pdu.targetTransferTag !== NO_TAG })
    if (incoming === undefined) return
    data.copy(incoming.data, pdu.bufferOffset)
    incoming.have += data.byteLength
    if (!pdu.final) return
    incoming.unsolicitedOver = true
    this.#continueWrite(incoming)
  }

  #continueWrite(incoming: Incoming): void {
    const { command, data, have } = incoming
    if (!incoming.unsolicitedOver) return
    if (have < data.byteLength) {
      this.askFor(command, have, Math.min(data.byteLength - have, this.negotiation.parameters.maxBurstLength))
      return
    }
    this.#incoming.delete(command.initiatorTaskTag)
    data.copy(this.#target.disk, logicalBlockAddress(command.commandBlock) * 512)
    this.respond(command, 0)
  }

  #text(header: Buffer): void {
    const request = decodeTextRequest(header)
    const parts = this.#target.script.targets ?? ['']
    const part = Buffer.from(parts[this.#textPart] ?? '')
    this.#textPart += 1
    const final = this.#textPart >= parts.length
    const answer = Buffer.alloc(HEADER_BYTES)
    encodeTextResponse(
      {
        final,
        continued: !final,
        lunField: Buffer.alloc(8),
        initiatorTaskTag: request.initiatorTaskTag,
        targetTransferTag: final ? NO_TAG : 9,
        ...this.serials,
        dataLength: part.byteLength,
      },
      answer,
    )
    this.statSn += 1
    this.send(answer, part)
  }
}
