/**
 * Ready To Transfer (R2T), opcode 31: RFC 7143 section 11.8.
 *
 *   8-15 LUN   16-19 ITT   20-23 TTT   24-27 StatSN (next, not consumed)   28-31 ExpCmdSN   32-35 MaxCmdSN
 *   36-39 R2TSN   40-43 buffer offset   44-47 desired data transfer length
 */
import { FINAL, Opcode, startHeader } from './header.ts'
import { readLun, writeLun } from './lun.ts'

export interface ReadyToTransfer {
  readonly lun: number
  readonly initiatorTaskTag: number
  readonly targetTransferTag: number
  readonly statSn: number
  readonly expCmdSn: number
  readonly maxCmdSn: number
  readonly r2tSn: number
  readonly bufferOffset: number
  /** Bytes wanted by this request. */
  readonly desiredDataTransferLength: number
}

export function encodeReadyToTransfer(pdu: ReadyToTransfer, into: Buffer, at = 0): void {
  startHeader(into, at, Opcode.readyToTransfer, FINAL, 0, pdu.initiatorTaskTag)
  writeLun(pdu.lun, into, at + 8)
  into.writeUInt32BE(pdu.targetTransferTag, at + 20)
  into.writeUInt32BE(pdu.statSn, at + 24)
  into.writeUInt32BE(pdu.expCmdSn, at + 28)
  into.writeUInt32BE(pdu.maxCmdSn, at + 32)
  into.writeUInt32BE(pdu.r2tSn, at + 36)
  into.writeUInt32BE(pdu.bufferOffset, at + 40)
  into.writeUInt32BE(pdu.desiredDataTransferLength, at + 44)
}

export function decodeReadyToTransfer(from: Buffer, at = 0): ReadyToTransfer {
  return {
    lun: readLun(from, at + 8),
    initiatorTaskTag: from.readUInt32BE(at + 16),
    targetTransferTag: from.readUInt32BE(at + 20),
    statSn: from.readUInt32BE(at + 24),
    expCmdSn: from.readUInt32BE(at + 28),
    maxCmdSn: from.readUInt32BE(at + 32),
    r2tSn: from.readUInt32BE(at + 36),
    bufferOffset: from.readUInt32BE(at + 40),
    desiredDataTransferLength: from.readUInt32BE(at + 44),
  }
}
