/**
 * Asynchronous Message, opcode 32: RFC 7143 section 11.9.
 *
 *   8-15 LUN   16-19 ffffffff   24-27 StatSN   28-31 ExpCmdSN   32-35 MaxCmdSN   36 event   37 vendor code
 *   38-39 parameter 1   40-41 parameter 2   42-43 parameter 3   data segment: sense data, for event 0
 */
import { FINAL, NO_TAG, Opcode, startHeader } from './header.ts'

export const AsyncEvent = {
  scsi: 0,
  logoutRequested: 1,
  connectionDropped: 2,
  sessionDropped: 3,
  negotiationRequested: 4,
  tasksTerminated: 5,
} as const

export interface AsyncMessage {
  readonly statSn: number
  readonly expCmdSn: number
  readonly maxCmdSn: number
  readonly event: number
  readonly parameter1: number
  readonly parameter2: number
  /** Seconds, for logoutRequested. */
  readonly parameter3: number
  readonly dataLength: number
}

export function encodeAsyncMessage(pdu: AsyncMessage, into: Buffer, at = 0): void {
  startHeader(into, at, Opcode.asyncMessage, FINAL, pdu.dataLength, NO_TAG)
  into.writeUInt32BE(pdu.statSn, at + 24)
  into.writeUInt32BE(pdu.expCmdSn, at + 28)
  into.writeUInt32BE(pdu.maxCmdSn, at + 32)
  into.writeUInt8(pdu.event, at + 36)
  into.writeUInt16BE(pdu.parameter1, at + 38)
  into.writeUInt16BE(pdu.parameter2, at + 40)
  into.writeUInt16BE(pdu.parameter3, at + 42)
}

export function decodeAsyncMessage(from: Buffer, at = 0): AsyncMessage {
  return {
    statSn: from.readUInt32BE(at + 24),
    expCmdSn: from.readUInt32BE(at + 28),
    maxCmdSn: from.readUInt32BE(at + 32),
    event: from.readUInt8(at + 36),
    parameter1: from.readUInt16BE(at + 38),
    parameter2: from.readUInt16BE(at + 40),
    parameter3: from.readUInt16BE(at + 42),
    dataLength: from.readUInt32BE(at + 4) & 0xffffff,
  }
}
