/**
 * Text Request, opcode 04: RFC 7143 section 11.10.
 *
 *   1 F C   8-15 LUN   16-19 ITT   20-23 TTT   24-27 CmdSN   28-31 ExpStatSN   data segment: text keys
 */
import { FINAL, IMMEDIATE, Opcode, startHeader } from './header.ts'

export interface TextRequest {
  readonly immediate: boolean
  readonly final: boolean
  readonly continued: boolean
  /** 8 bytes, as received with the response that is being continued. */
  readonly lunField: Buffer
  readonly initiatorTaskTag: number
  /** NO_TAG in the first request of a negotiation. */
  readonly targetTransferTag: number
  readonly cmdSn: number
  readonly expStatSn: number
  readonly dataLength: number
}

export function encodeTextRequest(pdu: TextRequest, into: Buffer, at = 0): void {
  const flags = (pdu.final ? FINAL : 0) | (pdu.continued ? 0x40 : 0)
  const opcode = Opcode.textRequest | (pdu.immediate ? IMMEDIATE : 0)
  startHeader(into, at, opcode, flags, pdu.dataLength, pdu.initiatorTaskTag)
  pdu.lunField.copy(into, at + 8, 0, 8)
  into.writeUInt32BE(pdu.targetTransferTag, at + 20)
  into.writeUInt32BE(pdu.cmdSn, at + 24)
  into.writeUInt32BE(pdu.expStatSn, at + 28)
}

export function decodeTextRequest(from: Buffer, at = 0): TextRequest {
  const flags = from.readUInt8(at + 1)
  return {
    immediate: (from.readUInt8(at) & IMMEDIATE) !== 0,
    final: (flags & FINAL) !== 0,
    continued: (flags & 0x40) !== 0,
    lunField: Buffer.from(from.subarray(at + 8, at + 16)),
    initiatorTaskTag: from.readUInt32BE(at + 16),
    targetTransferTag: from.readUInt32BE(at + 20),
    cmdSn: from.readUInt32BE(at + 24),
    expStatSn: from.readUInt32BE(at + 28),
    dataLength: from.readUInt32BE(at + 4) & 0xffffff,
  }
}
