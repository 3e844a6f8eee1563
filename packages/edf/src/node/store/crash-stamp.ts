/*
 * What the crash test writes: sectors that say which volume, sector and version they are in every one of their
 * bytes, so that a mixed or misplaced one is found.
 */

/** Bytes of a stamped sector. */
export const SECTOR_BYTES = 512
/** The stretches of a volume that are written, in sectors: its start, and across the border of the first map page. */
export const STRETCHES = [
  { first: 0, count: 96 },
  { first: 129024 - 50, count: 96 },
] as const
/** Size of the volumes, in bytes. */
export const VOLUME_BYTES = (129024 + 4096) * SECTOR_BYTES

/** Who wrote a sector, and when. */
export interface Stamp {
  readonly volume: number
  readonly sector: number
  readonly version: number
}

/** Fills one sector. */
export function stamp(into: Uint8Array, { volume, sector, version }: Stamp): void {
  const words = new Uint32Array(SECTOR_BYTES / 4)
  words.set([volume, sector, version])
  for (let at = 3; at < words.length; at++) words[at] = noise(words[at - 1] ?? 0, words[at - 3] ?? 0, at)
  into.set(new Uint8Array(words.buffer))
}

/** @returns the stamp of a sector, `'zero'`, or undefined when it is neither */
export function readStamp(bytes: Uint8Array): Stamp | 'zero' | undefined {
  if (bytes.every((byte) => byte === 0)) return 'zero'
  const [volume = 0, sector = 0, version = 0] = new Uint32Array(Uint8Array.from(bytes.subarray(0, 12)).buffer)
  const expected = new Uint8Array(SECTOR_BYTES)
  stamp(expected, { volume, sector, version })
  return Buffer.from(expected).equals(bytes) ? { volume, sector, version } : undefined
}

function noise(a: number, b: number, c: number): number {
  return (Math.imul(a ^ (b >>> 7), 0x9e3779b1) + Math.imul(b, 0x85ebca6b) + c) >>> 0
}
