/**
 * Text Response, opcode 24: RFC 7143 section 11.11.
 *
 *   1 F C   8-15 LUN   16-19 ITT   20-23 TTT (set when F=0)   24-27 StatSN   28-31 ExpCmdSN   32-35 MaxCmdSN
 *   data segment: text keys
 */
import { FINAL, Opcode, startHeader } from './header.ts'

export interface TextResponse {
  readonly final: boolean
  readonly continued: boolean
  /** 8 bytes, to be sent back in the request that continues. */
  readonly lunField: Buffer
  readonly initiatorTaskTag: number
  /** NO_TAG when final. */
  readonly targetTransferTag: number
  readonly statSn: number
  readonly expCmdSn: number
  readonly maxCmdSn: number
  readonly dataLength: number
}

export function encodeTextResponse(pdu: TextResponse, into: Buffer, at = 0): void {
  const flags = (pdu.final ? FINAL : 0) | (pdu.continued ? 0x40 : 0)
  startHeader(into, at, Opcode.textResponse, flags, pdu.dataLength, pdu.initiatorTaskTag)
  pdu.lunField.copy(into, at + 8, 0, 8)
  into.writeUInt32BE(pdu.targetTransferTag, at + 20)
  into.writeUInt32BE(pdu.statSn, at + 24)
  into.writeUInt32BE(pdu.expCmdSn, at + 28)
  into.writeUInt32BE(pdu.maxCmdSn, at + 32)
}

export function decodeTextResponse(from: Buffer, at = 0): TextResponse {
  const flags = from.readUInt8(at + 1)
  return {
    final: (flags & FINAL) !== 0,
    continued: (flags & 0x40) !== 0,
    lunField: Buffer.from(from.subarray(at + 8, at + 16)),
    initiatorTaskTag: from.readUInt32BE(at + 16),
    targetTransferTag: from.readUInt32BE(at + 20),
    statSn: from.readUInt32BE(at + 24),
    expCmdSn: from.readUInt32BE(at + 28),
    maxCmdSn: from.readUInt32BE(at + 32),
    dataLength: from.readUInt32BE(at + 4) & 0xffffff,
  }
}
