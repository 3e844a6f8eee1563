/**
 * The eight-byte LUN field (SAM-5 section 4.7): single level, peripheral (00b) or flat space (01b) addressing.
 *
 *   byte 0   address method in the top two bits, then the top six bits of the number
 *   byte 1   the low eight bits
 *   2-7      zeroes: no further level
 */

/** Highest number that flat space addressing can carry. */
export const MAX_LUN = 16383

/** The number in a LUN field, or -1 when it uses an addressing this package does not know. */
export function readLun(from: Buffer, at: number): number {
  const first = from.readUInt16BE(at)
  if (from.readUInt16BE(at + 2) !== 0 || from.readUInt32BE(at + 4) !== 0) return -1
  const method = first >> 14
  if (method === 0) return first <= 0xff ? first : -1
  if (method === 1) return first & 0x3fff
  return -1
}

/** @throws RangeError when the number does not fit */
export function writeLun(lun: number, into: Buffer, at: number): void {
  if (!Number.isInteger(lun) || lun < 0 || lun > MAX_LUN)
    throw new RangeError(`LUN ${lun} is not 0..${MAX_LUN}`)
  into.writeUInt16BE(lun < 256 ? lun : 0x4000 | lun, at)
  into.writeUInt16BE(0, at + 2)
  into.writeUInt32BE(0, at + 4)
}
