/**
 * Login Request, opcode 43 (03, always immediate): RFC 7143 section 11.12.
 *
 *   1 T C . . CSG NSG   2 version max   3 version min   8-13 ISID   14-15 TSIH   16-19 ITT   20-21 CID
 *   24-27 CmdSN   28-31 ExpStatSN   data segment: text keys
 */
import { IMMEDIATE, Opcode, startHeader } from './header.ts'

/** CSG and NSG: current and next stage. */
export const LoginStage = { security: 0, operational: 1, fullFeature: 3 } as const

export interface LoginRequest {
  /** T: ready to go on to `nextStage`. */
  readonly transit: boolean
  /** C: the text goes on in the next PDU. */
  readonly continued: boolean
  readonly currentStage: number
  readonly nextStage: number
  readonly versionMax: number
  readonly versionMin: number
  /** 6 bytes. */
  readonly isid: Buffer
  /** 0 for a new session. */
  readonly tsih: number
  readonly initiatorTaskTag: number
  readonly cid: number
  readonly cmdSn: number
  readonly expStatSn: number
  readonly dataLength: number
}

export function encodeLoginRequest(pdu: LoginRequest, into: Buffer, at = 0): void {
  const flags =
    (pdu.transit ? 0x80 : 0) |
    (pdu.continued ? 0x40 : 0) |
    (pdu.currentStage << 2) |
    (pdu.transit ? pdu.nextStage : 0)
  startHeader(into, at, Opcode.loginRequest | IMMEDIATE, flags, pdu.dataLength, pdu.initiatorTaskTag)
  into.writeUInt8(pdu.versionMax, at + 2)
  into.writeUInt8(pdu.versionMin, at + 3)
  pdu.isid.copy(into, at + 8, 0, 6)
  into.writeUInt16BE(pdu.tsih, at + 14)
  into.writeUInt16BE(pdu.cid, at + 20)
  into.writeUInt32BE(pdu.cmdSn, at + 24)
  into.writeUInt32BE(pdu.expStatSn, at + 28)
}

/** The ISID is a copy: the header's buffer may be reused. */
export function decodeLoginRequest(from: Buffer, at = 0): LoginRequest {
  const flags = from.readUInt8(at + 1)
  return {
    transit: (flags & 0x80) !== 0,
    continued: (flags & 0x40) !== 0,
    currentStage: (flags >> 2) & 3,
    nextStage: flags & 3,
    versionMax: from.readUInt8(at + 2),
    versionMin: from.readUInt8(at + 3),
    isid: Buffer.from(from.subarray(at + 8, at + 14)),
    tsih: from.readUInt16BE(at + 14),
    initiatorTaskTag: from.readUInt32BE(at + 16),
    cid: from.readUInt16BE(at + 20),
    cmdSn: from.readUInt32BE(at + 24),
    expStatSn: from.readUInt32BE(at + 28),
    dataLength: from.readUInt32BE(at + 4) & 0xffffff,
  }
}
