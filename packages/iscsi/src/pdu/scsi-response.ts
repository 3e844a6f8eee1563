/**
 * SCSI Response, opcode 21: RFC 7143 section 11.4.
 *
 *   1 F . . o u O U .   2 response   3 status   16-19 ITT   20-23 SNACK tag   24-27 StatSN   28-31 ExpCmdSN
 *   32-35 MaxCmdSN   36-39 ExpDataSN   40-43 bidirectional residual   44-47 residual
 *   data segment: 2 bytes sense length, then the sense data
 */
import { FINAL, Opcode, startHeader } from './header.ts'

/** 0: the target completed the command; anything else: the status is not valid. */
export const ScsiResponseCode = { completed: 0, targetFailure: 1 } as const

export interface ScsiResponse {
  readonly response: number
  readonly status: number
  readonly initiatorTaskTag: number
  readonly statSn: number
  readonly expCmdSn: number
  readonly maxCmdSn: number
  /** How many R2T and Data-In PDUs the command has sent. */
  readonly expDataSn: number
  readonly overflow: boolean
  readonly underflow: boolean
  /** Bytes that were missing (underflow) or did not fit (overflow). */
  readonly residualCount: number
  readonly dataLength: number
}

export function encodeScsiResponse(pdu: ScsiResponse, into: Buffer, at = 0): void {
  const flags = FINAL | (pdu.overflow ? 0x04 : 0) | (pdu.underflow ? 0x02 : 0)
  startHeader(into, at, Opcode.scsiResponse, flags, pdu.dataLength, pdu.initiatorTaskTag)
  into.writeUInt8(pdu.response, at + 2)
  into.writeUInt8(pdu.status, at + 3)
  into.writeUInt32BE(pdu.statSn, at + 24)
  into.writeUInt32BE(pdu.expCmdSn, at + 28)
  into.writeUInt32BE(pdu.maxCmdSn, at + 32)
  into.writeUInt32BE(pdu.expDataSn, at + 36)
  into.writeUInt32BE(pdu.residualCount, at + 44)
}

export function decodeScsiResponse(from: Buffer, at = 0): ScsiResponse {
  const flags = from.readUInt8(at + 1)
  return {
    response: from.readUInt8(at + 2),
    status: from.readUInt8(at + 3),
    initiatorTaskTag: from.readUInt32BE(at + 16),
    statSn: from.readUInt32BE(at + 24),
    expCmdSn: from.readUInt32BE(at + 28),
    maxCmdSn: from.readUInt32BE(at + 32),
    expDataSn: from.readUInt32BE(at + 36),
    overflow: (flags & 0x04) !== 0,
    underflow: (flags & 0x02) !== 0,
    residualCount: from.readUInt32BE(at + 44),
    dataLength: from.readUInt32BE(at + 4) & 0xffffff,
  }
}

/** The data segment of a response with sense data. */
export function encodeSenseSegment(sense: Uint8Array): Buffer {
  const segment = Buffer.alloc(2 + sense.byteLength)
  segment.writeUInt16BE(sense.byteLength, 0)
  segment.set(sense, 2)
  return segment
}

/** The sense data inside the data segment of a response; empty when there is none. */
export function decodeSenseSegment(segment: Buffer): Buffer {
  if (segment.byteLength < 2) return segment.subarray(0, 0)
  return segment.subarray(2, 2 + segment.readUInt16BE(0))
}
