/** Vital product data page B0, block limits: SBC-3 section 6.6.4. Both ends use it. All counts are logical blocks. */
import { readUInt64, writeUInt64 } from './command-block.ts'

export interface BlockLimits {
  /** WRITE SAME with zero blocks is refused instead of meaning "to the end". */
  readonly writeSameNonZero: boolean
  readonly maximumCompareAndWriteLength: number
  readonly optimalTransferGranularity: number
  /** 0: no limit is reported. */
  readonly maximumTransferLength: number
  readonly optimalTransferLength: number
  readonly maximumPrefetchLength: number
  /** 0 where UNMAP is not supported. */
  readonly maximumUnmapBlocks: number
  readonly maximumUnmapDescriptors: number
  readonly optimalUnmapGranularity: number
  /** 0: no limit is reported. */
  readonly maximumWriteSameLength: number
}

export function encodeBlockLimits(limits: BlockLimits): Buffer {
  const page = Buffer.alloc(64)
  page.writeUInt8(0xb0, 1)
  page.writeUInt16BE(60, 2)
  page.writeUInt8(limits.writeSameNonZero ? 1 : 0, 4)
  page.writeUInt8(limits.maximumCompareAndWriteLength, 5)
  page.writeUInt16BE(limits.optimalTransferGranularity, 6)
  page.writeUInt32BE(limits.maximumTransferLength, 8)
  page.writeUInt32BE(limits.optimalTransferLength, 12)
  page.writeUInt32BE(limits.maximumPrefetchLength, 16)
  page.writeUInt32BE(limits.maximumUnmapBlocks, 20)
  page.writeUInt32BE(limits.maximumUnmapDescriptors, 24)
  page.writeUInt32BE(limits.optimalUnmapGranularity, 28)
  writeUInt64(limits.maximumWriteSameLength, page, 36)
  return page
}

/** Fields that a short page does not have are 0. */
export function decodeBlockLimits(page: Buffer): BlockLimits {
  const whole = Buffer.alloc(64)
  page.copy(whole)
  return {
    writeSameNonZero: (whole.readUInt8(4) & 1) !== 0,
    maximumCompareAndWriteLength: whole.readUInt8(5),
    optimalTransferGranularity: whole.readUInt16BE(6),
    maximumTransferLength: whole.readUInt32BE(8),
    optimalTransferLength: whole.readUInt32BE(12),
    maximumPrefetchLength: whole.readUInt32BE(16),
    maximumUnmapBlocks: whole.readUInt32BE(20),
    maximumUnmapDescriptors: whole.readUInt32BE(24),
    optimalUnmapGranularity: whole.readUInt32BE(28),
    maximumWriteSameLength: readUInt64(whole, 36),
  }
}
