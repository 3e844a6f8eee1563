/** A client that sends exactly the bytes a test wants, right or wrong, and takes PDUs apart. No digests. */
import { connect, type Socket } from 'node:net'
import { encodeText, type KeyValue } from '../login/text.ts'
import { dataSegmentLength, HEADER_BYTES, Opcode, opcodeOf, padded } from '../pdu/header.ts'
import { encodeLoginRequest } from '../pdu/login-request.ts'
import { decodeLoginResponse, type LoginResponse } from '../pdu/login-response.ts'
import { encodeScsiCommand } from '../pdu/scsi-command.ts'
import { decodeScsiResponse, decodeSenseSegment } from '../pdu/scsi-response.ts'
import { decodeSense, type Sense } from '../scsi/sense.ts'

export interface Pdu {
  readonly opcode: number
  readonly header: Buffer
  readonly data: Buffer
}

export interface CommandResult {
  readonly status: number
  readonly sense: Sense | undefined
  readonly data: Buffer
}

const WAIT_MS = 5000

export class RawInitiator implements AsyncDisposable {
  readonly socket: Socket
  cmdSn = 1
  closed = false
  #received = Buffer.alloc(0)
  #nextTag = 1
  #wake: () => void = () => {}

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk])
      this.#wake()
    })
    socket.on('error', () => {})
    socket.on('close', () => {
      this.closed = true
      this.#wake()
    })
  }

  static async open(port: number): Promise<RawInitiator> {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true })
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve)
      socket.once('error', reject)
    })
    return new RawInitiator(socket)
  }

  send(header: Buffer, data: Buffer = Buffer.alloc(0)): void {
    this.socket.write(Buffer.concat([header, data, Buffer.alloc(padded(data.byteLength) - data.byteLength)]))
  }

  /** The next PDU; undefined when the target closed the connection. */
  async next(): Promise<Pdu | undefined> {
    const deadline = Date.now() + WAIT_MS
    for (;;) {
      if (this.#received.byteLength >= HEADER_BYTES) {
        const length = dataSegmentLength(this.#received)
        const end = HEADER_BYTES + padded(length)
        if (this.#received.byteLength >= end) {
          const header = this.#received.subarray(0, HEADER_BYTES)
          const data = this.#received.subarray(HEADER_BYTES, HEADER_BYTES + length)
          this.#received = this.#received.subarray(end)
          return { opcode: opcodeOf(header), header, data }
        }
      }
      if (this.closed) return undefined
      if (Date.now() > deadline) throw new Error('no PDU came')
      await this.#changed(deadline - Date.now())
    }
  }

  /** Resolves when the target has closed the connection. */
  async whenClosed(): Promise<void> {
    const deadline = Date.now() + WAIT_MS
    while (!this.closed) {
      if (Date.now() > deadline) throw new Error('the target did not close the connection')
      await this.#changed(deadline - Date.now())
    }
  }

  #changed(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, ms)
    this.#wake = () => {
      clearTimeout(timer)
      resolve()
    }
    return promise
  }

  /** One login request, straight to full feature phase unless told otherwise. */
  async login(
    keys: readonly KeyValue[],
    options: { isid?: string; versionMin?: number; currentStage?: number; tsih?: number } = {},
  ): Promise<LoginResponse & { readonly text: string }> {
    const text = encodeText(keys)
    const header = Buffer.alloc(HEADER_BYTES)
    encodeLoginRequest(
      {
        transit: true,
        continued: false,
        currentStage: options.currentStage ?? 1,
        nextStage: 3,
        versionMax: 0,
        versionMin: options.versionMin ?? 0,
        isid: Buffer.from(options.isid ?? '800000000001', 'hex'),
        tsih: options.tsih ?? 0,
        initiatorTaskTag: 0,
        cid: 0,
        cmdSn: this.cmdSn,
        expStatSn: 1,
        dataLength: text.byteLength,
      },
      header,
    )
    this.send(header, text)
    const pdu = await this.next()
    if (pdu?.opcode !== Opcode.loginResponse) throw new Error('no login response came')
    return { ...decodeLoginResponse(pdu.header), text: pdu.data.toString('utf8') }
  }

  /** Sends a command, all its data immediate. Returns its tag. */
  sendCommand(
    cdb: Buffer,
    options: { lun?: number; read?: number; write?: Buffer; expected?: number } = {},
  ): number {
    const tag = this.#nextTag++
    const write = options.write ?? Buffer.alloc(0)
    const header = Buffer.alloc(HEADER_BYTES)
    encodeScsiCommand(
      {
        immediate: false,
        final: true,
        read: options.read !== undefined,
        write: options.write !== undefined,
        attribute: 1,
        lun: options.lun ?? 0,
        initiatorTaskTag: tag,
        expectedDataTransferLength: options.expected ?? options.read ?? write.byteLength,
        cmdSn: this.cmdSn++,
        expStatSn: 1,
        commandBlock: cdb,
        dataLength: write.byteLength,
      },
      header,
    )
    this.send(header, write)
    return tag
  }

  /** Sends a command and collects what comes for it. */
  async command(...args: Parameters<RawInitiator['sendCommand']>): Promise<CommandResult> {
    const tag = this.sendCommand(...args)
    const pieces: Buffer[] = []
    for (;;) {
      const pdu = await this.next()
      if (!pdu) throw new Error('the connection was closed in the middle of a command')
      if (pdu.header.readUInt32BE(16) !== tag) continue
      if (pdu.opcode === Opcode.dataIn) {
        pieces.push(Buffer.from(pdu.data))
        if ((pdu.header.readUInt8(1) & 1) !== 0) {
          return { status: pdu.header.readUInt8(3), sense: undefined, data: Buffer.concat(pieces) }
        }
      } else if (pdu.opcode === Opcode.scsiResponse) {
        const { status } = decodeScsiResponse(pdu.header)
        return { status, sense: decodeSense(decodeSenseSegment(pdu.data)), data: Buffer.concat(pieces) }
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.destroy()
  }
}

/** Keys of a login to a target. */
export function loginKeys(
  initiatorName: string,
  targetName: string,
  more: readonly KeyValue[] = [],
): KeyValue[] {
  return [['InitiatorName', initiatorName], ['TargetName', targetName], ['SessionType', 'Normal'], ...more]
}
