/** READ CAPACITY(16) parameter data: SBC-3 section 5.16. Both ends use it. */
import { readUInt64, writeUInt64 } from './command-block.ts'

export interface Capacity {
  /** Number of logical blocks (the wire has the address of the last one). */
  readonly blocks: number
  /** Bytes of a logical block. */
  readonly blockSize: number
  /** Logical blocks of a physical one, as a power of two. */
  readonly physicalBlockExponent: number
  /** LBPME: blocks can be unmapped. */
  readonly thin: boolean
  /** LBPRZ: unmapped blocks read as zeroes. */
  readonly unmappedReadsZeroes: boolean
}

export const CAPACITY_16_BYTES = 32

export function encodeCapacity16(capacity: Capacity): Buffer {
  const data = Buffer.alloc(CAPACITY_16_BYTES)
  writeUInt64(capacity.blocks - 1, data, 0)
  data.writeUInt32BE(capacity.blockSize, 8)
  data.writeUInt8(capacity.physicalBlockExponent & 0x0f, 13)
  data.writeUInt8((capacity.thin ? 0x80 : 0) | (capacity.unmappedReadsZeroes ? 0x40 : 0), 14)
  return data
}

/** @throws RangeError when the data is too short */
export function decodeCapacity16(data: Buffer): Capacity {
  return {
    blocks: readUInt64(data, 0) + 1,
    blockSize: data.readUInt32BE(8),
    physicalBlockExponent: data.readUInt8(13) & 0x0f,
    thin: (data.readUInt8(14) & 0x80) !== 0,
    unmappedReadsZeroes: (data.readUInt8(14) & 0x40) !== 0,
  }
}
