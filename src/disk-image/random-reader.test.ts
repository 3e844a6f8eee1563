import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryDevice } from '@emberglass/iscsi/device'
import { readerOfDevice, readerOfRanges } from './random-reader.ts'

const cancel = { signal: new AbortController().signal }
const bytes = Buffer.from(Array.from({ length: 4096 }, (_, index) => (index * 7) % 251))

test('a device is read at any byte, up to the length of the image', async () => {
  const device = new MemoryDevice(4096)
  await device.write(0, bytes, cancel)
  const reader = readerOfDevice(device, 3000)
  assert.equal(reader.sizeBytes, 3000)
  for (const [offset, length] of [
    [0, 512],
    [1, 1],
    [500, 100],
    [511, 2000],
    [1024, 1536],
    [2999, 1],
  ] as const) {
    const into = Buffer.alloc(length)
    await reader.read(offset, into, cancel)
    assert.deepEqual(into, bytes.subarray(offset, offset + length))
  }
})

test('a source of ranges that sends too little, too much, or is asked for too much is an error', async () => {
  const source = (...parts: readonly Uint8Array[]) =>
    readerOfRanges(100, async function* () {
      yield* parts
    })
  const into = Buffer.alloc(10)
  await source(bytes.subarray(0, 4), bytes.subarray(4, 10)).read(0, into, cancel)
  assert.deepEqual(into, bytes.subarray(0, 10))
  await assert.rejects(async () => source(bytes.subarray(0, 9)).read(0, into, cancel), /ended at byte 9/)
  await assert.rejects(async () => source(bytes.subarray(0, 11)).read(0, into, cancel), /more than/)
  await assert.rejects(async () => source().read(95, into, cancel), RangeError)
})
