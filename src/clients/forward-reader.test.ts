import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Bytes } from '../kernel/bytes.ts'
import { flowOfBytes } from './byte-flow.ts'
import { ForwardReader } from './forward-reader.ts'

const never = new AbortController().signal
const chunkBytes = 64 * 1024

async function* streamOf(chunks: readonly Uint8Array[]): Bytes {
  yield* chunks
}

test('the memory of a chunk is given back when all of it was read, and not before', async () => {
  const chunks = [1, 2, 3].map((value) => new Uint8Array(chunkBytes).fill(value))
  const reader = new ForwardReader(0, (receiver) => flowOfBytes(streamOf(chunks), receiver))
  const first = new Uint8Array(chunkBytes + 10)
  await reader.read(0, first, never)
  assert.equal(first[chunkBytes - 1], 1)
  assert.equal(first[chunkBytes + 9], 2)
  assert.deepEqual(
    chunks.map((chunk) => chunk.byteLength),
    [0, chunkBytes, chunkBytes],
  )
  const second = new Uint8Array(chunkBytes)
  await reader.read(chunkBytes + 10, second, never)
  assert.equal(second[chunkBytes - 11], 2)
  assert.equal(second[chunkBytes - 10], 3)
  assert.deepEqual(
    chunks.map((chunk) => chunk.byteLength),
    [0, 0, chunkBytes],
  )
  reader.close()
})

test('chunks that share their memory with others, and small ones, keep it', async () => {
  const shared = new Uint8Array(2 * chunkBytes).fill(7)
  const small = new Uint8Array(100).fill(8)
  const chunks = [shared.subarray(0, chunkBytes), small, shared.subarray(chunkBytes)]
  const reader = new ForwardReader(0, (receiver) => flowOfBytes(streamOf(chunks), receiver))
  const into = new Uint8Array(2 * chunkBytes + 100)
  await reader.read(0, into, never)
  assert.equal(into[chunkBytes], 8)
  assert.equal(into.at(-1), 7)
  assert.equal(shared.byteLength, 2 * chunkBytes)
  assert.equal(small.byteLength, 100)
})

test('what lies between two reads is passed over, and its memory given back', async () => {
  const chunks = [1, 2, 3, 4].map((value) => new Uint8Array(chunkBytes).fill(value))
  const reader = new ForwardReader(0, (receiver) => flowOfBytes(streamOf(chunks), receiver))
  const into = new Uint8Array(10)
  await reader.read(2 * chunkBytes + 5, into, never)
  assert.deepEqual(
    [...into],
    Array.from({ length: 10 }, () => 3),
  )
  assert.deepEqual(
    chunks.map((chunk) => chunk.byteLength),
    [0, 0, chunkBytes, chunkBytes],
  )
  reader.close()
})
