/**
 * Reject, opcode 3f: RFC 7143 section 11.17.
 *
 *   2 reason   16-19 ffffffff   24-27 StatSN   28-31 ExpCmdSN   32-35 MaxCmdSN   36-39 DataSN or R2TSN
 *   data segment: the header that was rejected
 */
import { FINAL, NO_TAG, Opcode, startHeader } from './header.ts'

export const RejectReason = {
  dataDigestError: 0x02,
  snackRejected: 0x03,
  protocolError: 0x04,
  commandNotSupported: 0x05,
  tooManyImmediateCommands: 0x06,
  taskInProgress: 0x07,
  invalidDataAck: 0x08,
  invalidField: 0x09,
  longOperationRejected: 0x0a,
  waitingForLogout: 0x0c,
} as const

export interface Reject {
  readonly reason: number
  readonly statSn: number
  readonly expCmdSn: number
  readonly maxCmdSn: number
  readonly dataLength: number
}

export function encodeReject(pdu: Reject, into: Buffer, at = 0): void {
  startHeader(into, at, Opcode.reject, FINAL, pdu.dataLength, NO_TAG)
  into.writeUInt8(pdu.reason, at + 2)
  into.writeUInt32BE(pdu.statSn, at + 24)
  into.writeUInt32BE(pdu.expCmdSn, at + 28)
  into.writeUInt32BE(pdu.maxCmdSn, at + 32)
}

export function decodeReject(from: Buffer, at = 0): Reject {
  return {
    reason: from.readUInt8(at + 2),
    statSn: from.readUInt32BE(at + 24),
    expCmdSn: from.readUInt32BE(at + 28),
    maxCmdSn: from.readUInt32BE(at + 32),
    dataLength: from.readUInt32BE(at + 4) & 0xffffff,
  }
}
