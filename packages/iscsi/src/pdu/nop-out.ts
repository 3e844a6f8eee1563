/**
 * NOP-Out, opcode 00: RFC 7143 section 11.18.
 *
 *   8-15 LUN   16-19 ITT (ffffffff: no answer wanted)   20-23 TTT (of the NOP-In it answers)   24-27 CmdSN
 *   28-31 ExpStatSN   data segment: ping data
 */
import { FINAL, IMMEDIATE, Opcode, startHeader } from './header.ts'

export interface NopOut {
  readonly immediate: boolean
  /** 8 bytes, those of the NOP-In it answers. */
  readonly lunField: Buffer
  readonly initiatorTaskTag: number
  readonly targetTransferTag: number
  readonly cmdSn: number
  readonly expStatSn: number
  readonly dataLength: number
}

export function encodeNopOut(pdu: NopOut, into: Buffer, at = 0): void {
  const opcode = Opcode.nopOut | (pdu.immediate ? IMMEDIATE : 0)
  startHeader(into, at, opcode, FINAL, pdu.dataLength, pdu.initiatorTaskTag)
  pdu.lunField.copy(into, at + 8, 0, 8)
  into.writeUInt32BE(pdu.targetTransferTag, at + 20)
  into.writeUInt32BE(pdu.cmdSn, at + 24)
  into.writeUInt32BE(pdu.expStatSn, at + 28)
}

export function decodeNopOut(from: Buffer, at = 0): NopOut {
  return {
    immediate: (from.readUInt8(at) & IMMEDIATE) !== 0,
    lunField: Buffer.from(from.subarray(at + 8, at + 16)),
    initiatorTaskTag: from.readUInt32BE(at + 16),
    targetTransferTag: from.readUInt32BE(at + 20),
    cmdSn: from.readUInt32BE(at + 24),
    expStatSn: from.readUInt32BE(at + 28),
    dataLength: from.readUInt32BE(at + 4) & 0xffffff,
  }
}
