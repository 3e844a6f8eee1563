/**
 * SCSI Data-Out, opcode 05: RFC 7143 section 11.7.
 *
 *   1 F   8-15 LUN   16-19 ITT   20-23 TTT (ffffffff: unsolicited)   28-31 ExpStatSN   36-39 DataSN
 *   40-43 buffer offset
 */
import { FINAL, Opcode, startHeader } from './header.ts'
import { readLun, writeLun } from './lun.ts'

export interface DataOut {
  /** Last PDU of a sequence. */
  readonly final: boolean
  readonly lun: number
  readonly initiatorTaskTag: number
  /** That of the R2T it answers, or NO_TAG for unsolicited data. */
  readonly targetTransferTag: number
  readonly expStatSn: number
  /** From 0 in each sequence. */
  readonly dataSn: number
  readonly bufferOffset: number
  readonly dataLength: number
}

export function encodeDataOut(pdu: DataOut, into: Buffer, at = 0): void {
  startHeader(into, at, Opcode.dataOut, pdu.final ? FINAL : 0, pdu.dataLength, pdu.initiatorTaskTag)
  writeLun(pdu.lun, into, at + 8)
  into.writeUInt32BE(pdu.targetTransferTag, at + 20)
  into.writeUInt32BE(pdu.expStatSn, at + 28)
  into.writeUInt32BE(pdu.dataSn, at + 36)
  into.writeUInt32BE(pdu.bufferOffset, at + 40)
}

export function decodeDataOut(from: Buffer, at = 0): DataOut {
  return {
    final: (from.readUInt8(at + 1) & FINAL) !== 0,
    lun: readLun(from, at + 8),
    initiatorTaskTag: from.readUInt32BE(at + 16),
    targetTransferTag: from.readUInt32BE(at + 20),
    expStatSn: from.readUInt32BE(at + 28),
    dataSn: from.readUInt32BE(at + 36),
    bufferOffset: from.readUInt32BE(at + 40),
    dataLength: from.readUInt32BE(at + 4) & 0xffffff,
  }
}
