/**
 * Logout Request, opcode 06: RFC 7143 section 11.14.
 *
 *   1 F reason   16-19 ITT   20-21 CID   24-27 CmdSN   28-31 ExpStatSN
 */
import { FINAL, IMMEDIATE, Opcode, startHeader } from './header.ts'

export const LogoutReason = { closeSession: 0, closeConnection: 1, removeForRecovery: 2 } as const

export interface LogoutRequest {
  readonly immediate: boolean
  readonly reason: number
  readonly initiatorTaskTag: number
  readonly cid: number
  readonly cmdSn: number
  readonly expStatSn: number
}

export function encodeLogoutRequest(pdu: LogoutRequest, into: Buffer, at = 0): void {
  const opcode = Opcode.logoutRequest | (pdu.immediate ? IMMEDIATE : 0)
  startHeader(into, at, opcode, FINAL | pdu.reason, 0, pdu.initiatorTaskTag)
  into.writeUInt16BE(pdu.cid, at + 20)
  into.writeUInt32BE(pdu.cmdSn, at + 24)
  into.writeUInt32BE(pdu.expStatSn, at + 28)
}

export function decodeLogoutRequest(from: Buffer, at = 0): LogoutRequest {
  return {
    immediate: (from.readUInt8(at) & IMMEDIATE) !== 0,
    reason: from.readUInt8(at + 1) & 0x7f,
    initiatorTaskTag: from.readUInt32BE(at + 16),
    cid: from.readUInt16BE(at + 20),
    cmdSn: from.readUInt32BE(at + 24),
    expStatSn: from.readUInt32BE(at + 28),
  }
}
