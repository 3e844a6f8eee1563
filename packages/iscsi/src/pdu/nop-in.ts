/**
 * NOP-In, opcode 20: RFC 7143 section 11.19.
 *
 *   8-15 LUN   16-19 ITT (ffffffff: the target asks)   20-23 TTT (ffffffff: no answer wanted)   24-27 StatSN
 *   28-31 ExpCmdSN   32-35 MaxCmdSN   data segment: ping data
 */
import { FINAL, Opcode, startHeader } from './header.ts'

export interface NopIn {
  /** 8 bytes, to be sent back in the answer. */
  readonly lunField: Buffer
  readonly initiatorTaskTag: number
  readonly targetTransferTag: number
  /** The next one, not consumed, when the target asks. */
  readonly statSn: number
  readonly expCmdSn: number
  readonly maxCmdSn: number
  readonly dataLength: number
}

export function encodeNopIn(pdu: NopIn, into: Buffer, at = 0): void {
  startHeader(into, at, Opcode.nopIn, FINAL, pdu.dataLength, pdu.initiatorTaskTag)
  pdu.lunField.copy(into, at + 8, 0, 8)
  into.writeUInt32BE(pdu.targetTransferTag, at + 20)
  into.writeUInt32BE(pdu.statSn, at + 24)
  into.writeUInt32BE(pdu.expCmdSn, at + 28)
  into.writeUInt32BE(pdu.maxCmdSn, at + 32)
}

export function decodeNopIn(from: Buffer, at = 0): NopIn {
  return {
    lunField: Buffer.from(from.subarray(at + 8, at + 16)),
    initiatorTaskTag: from.readUInt32BE(at + 16),
    targetTransferTag: from.readUInt32BE(at + 20),
    statSn: from.readUInt32BE(at + 24),
    expCmdSn: from.readUInt32BE(at + 28),
    maxCmdSn: from.readUInt32BE(at + 32),
    dataLength: from.readUInt32BE(at + 4) & 0xffffff,
  }
}
