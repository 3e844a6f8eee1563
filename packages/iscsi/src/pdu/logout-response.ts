/**
 * Logout Response, opcode 26: RFC 7143 section 11.15.
 *
 *   2 response   16-19 ITT   24-27 StatSN   28-31 ExpCmdSN   32-35 MaxCmdSN   40-41 Time2Wait   42-43 Time2Retain
 */
import { FINAL, Opcode, startHeader } from './header.ts'

export const LogoutResponseCode = {
  closed: 0,
  cidNotFound: 1,
  recoveryUnsupported: 2,
  cleanupFailed: 3,
} as const

export interface LogoutResponse {
  readonly response: number
  readonly initiatorTaskTag: number
  readonly statSn: number
  readonly expCmdSn: number
  readonly maxCmdSn: number
  /** Seconds. */
  readonly timeToWait: number
  /** Seconds. */
  readonly timeToRetain: number
}

export function encodeLogoutResponse(pdu: LogoutResponse, into: Buffer, at = 0): void {
  startHeader(into, at, Opcode.logoutResponse, FINAL, 0, pdu.initiatorTaskTag)
  into.writeUInt8(pdu.response, at + 2)
  into.writeUInt32BE(pdu.statSn, at + 24)
  into.writeUInt32BE(pdu.expCmdSn, at + 28)
  into.writeUInt32BE(pdu.maxCmdSn, at + 32)
  into.writeUInt16BE(pdu.timeToWait, at + 40)
  into.writeUInt16BE(pdu.timeToRetain, at + 42)
}

export function decodeLogoutResponse(from: Buffer, at = 0): LogoutResponse {
  return {
    response: from.readUInt8(at + 2),
    initiatorTaskTag: from.readUInt32BE(at + 16),
    statSn: from.readUInt32BE(at + 24),
    expCmdSn: from.readUInt32BE(at + 28),
    maxCmdSn: from.readUInt32BE(at + 32),
    timeToWait: from.readUInt16BE(at + 40),
    timeToRetain: from.readUInt16BE(at + 42),
  }
}
