import { found, type Probe } from '../probe.ts'

/** ISO 9660: the volume descriptor in sector 16 (ECMA-119 section 8.4); its size is blocks × block size. */
export function* isoProbe(): Probe {
  const descriptor = yield { at: 32768, length: 2048 }
  if (descriptor.byteLength < 132 || descriptor.subarray(1, 6).toString('latin1') !== 'CD001')
    return undefined
  return found(descriptor.readUInt32LE(80) * descriptor.readUInt16LE(128))
}
