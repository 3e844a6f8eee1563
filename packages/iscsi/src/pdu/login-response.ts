/**
 * Login Response, opcode 23: RFC 7143 section 11.13.
 *
 *   1 T C . . CSG NSG   2 version max   3 version active   8-13 ISID   14-15 TSIH   16-19 ITT   24-27 StatSN
 *   28-31 ExpCmdSN   32-35 MaxCmdSN   36 status class   37 status detail   data segment: text keys
 */
import { Opcode, startHeader } from './header.ts'

/** Status-Class in the high byte, Status-Detail in the low one: RFC 7143 section 11.13.5. */
export const LoginStatus = {
  success: 0x0000,
  movedTemporarily: 0x0101,
  movedPermanently: 0x0102,
  initiatorError: 0x0200,
  authenticationFailed: 0x0201,
  authorizationFailed: 0x0202,
  notFound: 0x0203,
  targetRemoved: 0x0204,
  unsupportedVersion: 0x0205,
  tooManyConnections: 0x0206,
  missingParameter: 0x0207,
  cannotIncludeInSession: 0x0208,
  sessionTypeUnsupported: 0x0209,
  sessionDoesNotExist: 0x020a,
  invalidDuringLogin: 0x020b,
  targetError: 0x0300,
  serviceUnavailable: 0x0301,
  outOfResources: 0x0302,
} as const

export interface LoginResponse {
  readonly transit: boolean
  readonly continued: boolean
  readonly currentStage: number
  readonly nextStage: number
  readonly versionMax: number
  readonly versionActive: number
  readonly isid: Buffer
  readonly tsih: number
  readonly initiatorTaskTag: number
  readonly statSn: number
  readonly expCmdSn: number
  readonly maxCmdSn: number
  /** One of LoginStatus. */
  readonly status: number
  readonly dataLength: number
}

export function encodeLoginResponse(pdu: LoginResponse, into: Buffer, at = 0): void {
  const flags =
    (pdu.transit ? 0x80 : 0) |
    (pdu.continued ? 0x40 : 0) |
    (pdu.currentStage << 2) |
    (pdu.transit ? pdu.nextStage : 0)
  startHeader(into, at, Opcode.loginResponse, flags, pdu.dataLength, pdu.initiatorTaskTag)
  into.writeUInt8(pdu.versionMax, at + 2)
  into.writeUInt8(pdu.versionActive, at + 3)
  pdu.isid.copy(into, at + 8, 0, 6)
  into.writeUInt16BE(pdu.tsih, at + 14)
  into.writeUInt32BE(pdu.statSn, at + 24)
  into.writeUInt32BE(pdu.expCmdSn, at + 28)
  into.writeUInt32BE(pdu.maxCmdSn, at + 32)
  into.writeUInt16BE(pdu.status, at + 36)
}

export function decodeLoginResponse(from: Buffer, at = 0): LoginResponse {
  const flags = from.readUInt8(at + 1)
  return {
    transit: (flags & 0x80) !== 0,
    continued: (flags & 0x40) !== 0,
    currentStage: (flags >> 2) & 3,
    nextStage: flags & 3,
    versionMax: from.readUInt8(at + 2),
    versionActive: from.readUInt8(at + 3),
    isid: Buffer.from(from.subarray(at + 8, at + 14)),
    tsih: from.readUInt16BE(at + 14),
    initiatorTaskTag: from.readUInt32BE(at + 16),
    statSn: from.readUInt32BE(at + 24),
    expCmdSn: from.readUInt32BE(at + 28),
    maxCmdSn: from.readUInt32BE(at + 32),
    status: from.readUInt16BE(at + 36),
    dataLength: from.readUInt32BE(at + 4) & 0xffffff,
  }
}
