/**
 * SCSI Command, opcode 01: RFC 7143 section 11.3.
 *
 *   0 opcode | I     1 F R W . . attributes     4 AHS, data length     8-15 LUN
 *   16-19 ITT   20-23 expected data transfer length   24-27 CmdSN   28-31 ExpStatSN   32-47 command block
 */
import { FINAL, HEADER_BYTES, IMMEDIATE, Opcode, startHeader } from './header.ts'
import { readLun, writeLun } from './lun.ts'

export const TaskAttribute = {
  untagged: 0,
  simple: 1,
  ordered: 2,
  headOfQueue: 3,
  autoContingentAllegiance: 4,
} as const

export interface ScsiCommand {
  readonly immediate: boolean
  /** No unsolicited Data-Out PDU follows. */
  readonly final: boolean
  readonly read: boolean
  readonly write: boolean
  readonly attribute: number
  /** -1: an addressing that is not understood. */
  readonly lun: number
  readonly initiatorTaskTag: number
  /** Bytes the initiator expects to move. */
  readonly expectedDataTransferLength: number
  readonly cmdSn: number
  readonly expStatSn: number
  /** 16 bytes; shorter command blocks are padded with zeroes. */
  readonly commandBlock: Buffer
  /** Bytes of immediate data. */
  readonly dataLength: number
}

export function encodeScsiCommand(pdu: ScsiCommand, into: Buffer, at = 0): void {
  const flags = (pdu.final ? FINAL : 0) | (pdu.read ? 0x40 : 0) | (pdu.write ? 0x20 : 0) | (pdu.attribute & 7)
  const opcode = Opcode.scsiCommand | (pdu.immediate ? IMMEDIATE : 0)
  startHeader(into, at, opcode, flags, pdu.dataLength, pdu.initiatorTaskTag)
  writeLun(pdu.lun, into, at + 8)
  into.writeUInt32BE(pdu.expectedDataTransferLength, at + 20)
  into.writeUInt32BE(pdu.cmdSn, at + 24)
  into.writeUInt32BE(pdu.expStatSn, at + 28)
  pdu.commandBlock.copy(into, at + 32, 0, 16)
}

/** The command block is a copy: the header's buffer may be reused. */
export function decodeScsiCommand(from: Buffer, at = 0): ScsiCommand {
  const flags = from.readUInt8(at + 1)
  return {
    immediate: (from.readUInt8(at) & IMMEDIATE) !== 0,
    final: (flags & FINAL) !== 0,
    read: (flags & 0x40) !== 0,
    write: (flags & 0x20) !== 0,
    attribute: flags & 7,
    lun: readLun(from, at + 8),
    initiatorTaskTag: from.readUInt32BE(at + 16),
    expectedDataTransferLength: from.readUInt32BE(at + 20),
    cmdSn: from.readUInt32BE(at + 24),
    expStatSn: from.readUInt32BE(at + 28),
    commandBlock: Buffer.from(from.subarray(at + 32, at + HEADER_BYTES)),
    dataLength: from.readUInt32BE(at + 4) & 0xffffff,
  }
}
