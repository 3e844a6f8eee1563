/*
 * The checksum of several blocks in a row, from their own: reading 1 MiB, one call of zlib over all of it is compared with
 * what 256 checksums come to, instead of 256 calls.
 *
 * CRC-32 is linear: that of A followed by a block B is that of A, moved on by as many zero bytes as B has, XOR that of B.
 * To move on is linear as well, so that four tables of 256 words do it, one for each byte of a checksum.
 */
import { crc32 } from 'node:zlib'
import { BLOCK_BYTES } from './map-page.ts'

let tables: readonly Uint32Array[] | undefined

/** @returns the CRC-32 of all blocks together whose CRC-32 these are, from `first` on */
export function jointSum(sums: Uint32Array, first: number, count: number): number {
  tables ??= makeTables()
  const [low, second, third, high] = tables
  if (low === undefined || second === undefined || third === undefined || high === undefined) return 0
  let joint = sums[first] ?? 0
  for (let at = first + 1; at < first + count; at++) {
    const moved =
      (low[joint & 0xff] ?? 0) ^
      (second[(joint >>> 8) & 0xff] ?? 0) ^
      (third[(joint >>> 16) & 0xff] ?? 0) ^
      (high[joint >>> 24] ?? 0)
    joint = (moved ^ (sums[at] ?? 0)) >>> 0
  }
  return joint
}

function makeTables(): Uint32Array[] {
  const zeroes = new Uint8Array(BLOCK_BYTES)
  // zlib inverts what it begins with and what it ends with.
  const moved = Array.from({ length: 32 }, (_, bit) => ~crc32(zeroes, ~(1 << bit) >>> 0) >>> 0)
  return Array.from({ length: 4 }, (_, byte) => {
    const table = new Uint32Array(256)
    for (let value = 1; value < 256; value++) {
      // One bit more than a value that is there already.
      const bit = 31 - Math.clz32(value)
      table[value] = (table[value ^ (1 << bit)] ?? 0) ^ (moved[byte * 8 + bit] ?? 0)
    }
    return table
  })
}
