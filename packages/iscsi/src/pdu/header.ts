/**
 * What all PDUs share: RFC 7143 sections 11.1 and 11.2.1.
 *
 *   byte 0      . I opcode        I: immediate delivery, 0x40
 *   byte 1      F …               F: final, 0x80; the rest belongs to the opcode
 *   byte 4      TotalAHSLength    in words of 4 bytes
 *   bytes 5-7   DataSegmentLength in bytes, padding not counted
 *   bytes 8-15  LUN, or the opcode's own
 *   bytes 16-19 Initiator Task Tag
 *   bytes 20-47 the opcode's own
 */

/** Bytes of the basic header segment. */
export const HEADER_BYTES = 48

export const Opcode = {
  nopOut: 0x00,
  scsiCommand: 0x01,
  taskManagementRequest: 0x02,
  loginRequest: 0x03,
  textRequest: 0x04,
  dataOut: 0x05,
  logoutRequest: 0x06,
  snack: 0x10,
  nopIn: 0x20,
  scsiResponse: 0x21,
  taskManagementResponse: 0x22,
  loginResponse: 0x23,
  textResponse: 0x24,
  dataIn: 0x25,
  logoutResponse: 0x26,
  readyToTransfer: 0x31,
  asyncMessage: 0x32,
  reject: 0x3f,
} as const

/** A task tag that names no task (ffffffff). */
export const NO_TAG = 0xffffffff
export const IMMEDIATE = 0x40
export const FINAL = 0x80

export function opcodeOf(header: Buffer, at = 0): number {
  return header.readUInt8(at) & 0x3f
}

export function isImmediate(header: Buffer, at = 0): boolean {
  return (header.readUInt8(at) & IMMEDIATE) !== 0
}

export function isFinal(header: Buffer, at = 0): boolean {
  return (header.readUInt8(at + 1) & FINAL) !== 0
}

/** Bytes of the additional header segments that follow the basic one. */
export function additionalHeaderBytes(header: Buffer, at = 0): number {
  return header.readUInt8(at + 4) * 4
}

/** Bytes of the data segment, without its padding. */
export function dataSegmentLength(header: Buffer, at = 0): number {
  return header.readUInt32BE(at + 4) & 0xffffff
}

/** Sets the data segment length; additional header segments are set to none. */
export function setDataSegmentLength(header: Buffer, length: number, at = 0): void {
  header.writeUInt32BE(length, at + 4)
}

export function initiatorTaskTag(header: Buffer, at = 0): number {
  return header.readUInt32BE(at + 16)
}

/** Rounds up to the 4 bytes at which every segment ends. */
export function padded(length: number): number {
  return (length + 3) & ~3
}

/** Clears a header and sets the fields that all have. */
export function startHeader(
  into: Buffer,
  at: number,
  opcode: number,
  flags: number,
  dataLength: number,
  taskTag: number,
): void {
  into.fill(0, at, at + HEADER_BYTES)
  into.writeUInt8(opcode, at)
  into.writeUInt8(flags, at + 1)
  into.writeUInt32BE(dataLength, at + 4)
  into.writeUInt32BE(taskTag >>> 0, at + 16)
}
