import { found, type Probe } from '../probe.ts'

const signature = 0xbeda107f

/** VirtualBox disk image: signature at 0x40, size at 0x170, little-endian. */
export function* vdiProbe(): Probe {
  const header = yield { at: 0, length: 512 }
  if (header.byteLength < 0x178 || header.readUInt32LE(0x40) !== signature) return undefined
  return found(Number(header.readBigUInt64LE(0x170)))
}
