import assert from 'node:assert/strict'
import { randomFillSync } from 'node:crypto'
import { test } from 'node:test'
import { crc32 } from 'node:zlib'
import { jointSum } from './joint-sum.ts'
import { sumsOf } from './layer-sums.ts'
import { BLOCK_BYTES } from './map-page.ts'

test('checksums of blocks come to the checksum of all of them', () => {
  const blocks = 40
  const data = randomFillSync(Buffer.alloc(blocks * BLOCK_BYTES))
  data.fill(0, 5 * BLOCK_BYTES, 9 * BLOCK_BYTES)
  const sums = sumsOf(data)
  for (const [first, count] of [
    [0, 1],
    [0, 2],
    [3, 7],
    [0, blocks],
    [39, 1],
  ] as const) {
    const bytes = data.subarray(first * BLOCK_BYTES, (first + count) * BLOCK_BYTES)
    assert.equal(jointSum(sums, first, count), crc32(bytes), `${count} blocks from ${first}`)
  }
  const exchanged = Uint32Array.from(sums)
  exchanged[12] = sums[13] ?? 0
  exchanged[13] = sums[12] ?? 0
  assert.notEqual(jointSum(exchanged, 0, blocks), crc32(data))
})
