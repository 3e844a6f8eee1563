/**
 * SCSI Data-In, opcode 25: RFC 7143 section 11.7.
 *
 *   1 F A . . . O U S   3 status, valid when S   8-15 LUN, when a target transfer tag is set   16-19 ITT   20-23 TTT
 *   24-27 StatSN, when S   28-31 ExpCmdSN   32-35 MaxCmdSN   36-39 DataSN   40-43 buffer offset   44-47 residual
 */
import { FINAL, Opcode, startHeader } from './header.ts'

export interface DataIn {
  /** Last PDU of a sequence. */
  readonly final: boolean
  /** The command's status rides along: `status`, `statSn` and the residuals hold. */
  readonly hasStatus: boolean
  readonly status: number
  readonly initiatorTaskTag: number
  readonly targetTransferTag: number
  readonly statSn: number
  readonly expCmdSn: number
  readonly maxCmdSn: number
  readonly dataSn: number
  /** Bytes from the start of the command's data. */
  readonly bufferOffset: number
  readonly overflow: boolean
  readonly underflow: boolean
  readonly residualCount: number
  readonly dataLength: number
}

export function encodeDataIn(pdu: DataIn, into: Buffer, at = 0): void {
  const flags =
    (pdu.final ? FINAL : 0) |
    (pdu.overflow ? 0x04 : 0) |
    (pdu.underflow ? 0x02 : 0) |
    (pdu.hasStatus ? 0x01 : 0)
  startHeader(into, at, Opcode.dataIn, flags, pdu.dataLength, pdu.initiatorTaskTag)
  into.writeUInt8(pdu.hasStatus ? pdu.status : 0, at + 3)
  into.writeUInt32BE(pdu.targetTransferTag, at + 20)
  into.writeUInt32BE(pdu.hasStatus ? pdu.statSn : 0, at + 24)
  into.writeUInt32BE(pdu.expCmdSn, at + 28)
  into.writeUInt32BE(pdu.maxCmdSn, at + 32)
  into.writeUInt32BE(pdu.dataSn, at + 36)
  into.writeUInt32BE(pdu.bufferOffset, at + 40)
  into.writeUInt32BE(pdu.residualCount, at + 44)
}

export function decodeDataIn(from: Buffer, at = 0): DataIn {
  const flags = from.readUInt8(at + 1)
  return {
    final: (flags & FINAL) !== 0,
    hasStatus: (flags & 0x01) !== 0,
    status: from.readUInt8(at + 3),
    initiatorTaskTag: from.readUInt32BE(at + 16),
    targetTransferTag: from.readUInt32BE(at + 20),
    statSn: from.readUInt32BE(at + 24),
    expCmdSn: from.readUInt32BE(at + 28),
    maxCmdSn: from.readUInt32BE(at + 32),
    dataSn: from.readUInt32BE(at + 36),
    bufferOffset: from.readUInt32BE(at + 40),
    overflow: (flags & 0x04) !== 0,
    underflow: (flags & 0x02) !== 0,
    residualCount: from.readUInt32BE(at + 44),
    dataLength: from.readUInt32BE(at + 4) & 0xffffff,
  }
}
