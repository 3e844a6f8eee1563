/** GET LBA STATUS parameter data: SBC-3 section 5.6. Both ends use it. */
import { readUInt64, writeUInt64 } from './command-block.ts'

/** 0 mapped, 1 deallocated (reads as zeroes when LBPRZ), 2 anchored. */
export const Provisioning = { mapped: 0, deallocated: 1, anchored: 2 } as const

export interface LbaStatus {
  readonly lba: number
  /** Logical blocks. */
  readonly blocks: number
  readonly provisioning: number
}

/** The first descriptors that fit in `allocationLength` bytes; the length field counts those. */
export function encodeLbaStatus(descriptors: readonly LbaStatus[], allocationLength: number): Buffer {
  const fitting = Math.max(1, Math.floor((allocationLength - 8) / 16))
  const kept = descriptors.slice(0, fitting)
  const data = Buffer.alloc(8 + 16 * kept.length)
  data.writeUInt32BE(data.byteLength - 4, 0)
  kept.forEach((descriptor, index) => {
    const at = 8 + 16 * index
    writeUInt64(descriptor.lba, data, at)
    data.writeUInt32BE(descriptor.blocks, at + 8)
    data.writeUInt8(descriptor.provisioning, at + 12)
  })
  return data
}

export function decodeLbaStatus(data: Buffer): LbaStatus[] {
  const descriptors: LbaStatus[] = []
  if (data.byteLength < 8) return descriptors
  const end = Math.min(data.byteLength, data.readUInt32BE(0) + 4)
  for (let at = 8; at + 16 <= end; at += 16) {
    descriptors.push({
      lba: readUInt64(data, at),
      blocks: data.readUInt32BE(at + 8),
      provisioning: data.readUInt8(at + 12) & 0x0f,
    })
  }
  return descriptors
}
