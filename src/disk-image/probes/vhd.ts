import { found, type Probe } from '../probe.ts'

/** VHD with the copy of its footer in front (dynamic and differencing disks); the size stands at byte 40. */
export function* vhdProbe(): Probe {
  const footer = yield { at: 0, length: 512 }
  if (footer.subarray(0, 8).toString('latin1') !== 'conectix' || footer.byteLength < 48) return undefined
  return found(Number(footer.readBigUInt64BE(40)))
}
