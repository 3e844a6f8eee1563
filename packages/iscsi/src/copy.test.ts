import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type BlockDevice, type Cancel, type Extent, MemoryDevice } from './block-device.ts'
import { copyDevice } from './copy.ts'
import { readStream, writeStream } from './copy-stream.ts'
import { isZero } from './zeroes.ts'

const cancel = { signal: new AbortController().signal }
const KiB = 1024
const MiB = 1024 * KiB

/** A device that takes its time, remembers what was asked, and fails when told. */
class SlowDevice extends MemoryDevice {
  readonly calls: { verb: string; offset: number; length: number }[] = []
  underWay = 0
  most = 0
  failAt: number | undefined
  delayMs = 1
  map: readonly Extent[] | undefined
  /** Present only when a map was given, as with a device that can tell. */
  extents?: (offset: number, length: number) => Promise<readonly Extent[]>

  withMap(map: readonly Extent[]): this {
    this.extents = async (offset, length) =>
      map
        .map((extent) => {
          const start = Math.max(extent.offset, offset)
          const end = Math.min(extent.offset + extent.length, offset + length)
          return { offset: start, length: end - start, state: extent.state }
        })
        .filter((extent) => extent.length > 0)
    return this
  }

  async #slowly(verb: string, offset: number, length: number): Promise<void> {
    this.calls.push({ verb, offset, length })
    this.underWay += 1
    this.most = Math.max(this.most, this.underWay)
    await sleep(this.delayMs)
    this.underWay -= 1
    if (this.failAt !== undefined && offset <= this.failAt && this.failAt < offset + length) {
      throw new Error(`bad block in ${verb}`)
    }
  }

  override async read(offset: number, into: Uint8Array, within: Cancel): Promise<void> {
    await this.#slowly('read', offset, into.byteLength)
    await super.read(offset, into, within)
  }

  override async write(offset: number, data: Uint8Array, within: Cancel): Promise<void> {
    await this.#slowly('write', offset, data.byteLength)
    await super.write(offset, data, within)
  }

  override async writeZeroes(offset: number, length: number, within: Cancel): Promise<void> {
    await this.#slowly('writeZeroes', offset, length)
    await super.unmap(offset, length, within)
  }

  override async flush(within: Cancel): Promise<void> {
    await this.#slowly('flush', 0, 0)
    await super.flush(within)
  }

  bytes(verb: string): number {
    return this.calls.reduce((sum, call) => sum + (call.verb === verb ? call.length : 0), 0)
  }
}

function pattern(length: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let at = 0; at + 4 <= length; at += 4) bytes.writeUInt32LE((at * 2654435761 + 1) >>> 0, at)
  return bytes
}

async function contentOf(device: BlockDevice): Promise<Buffer> {
  const bytes = Buffer.alloc(device.sizeBytes)
  await device.read(0, bytes, cancel)
  return bytes
}

async function deviceHolding(bytes: Buffer, device = new SlowDevice(bytes.byteLength)): Promise<SlowDevice> {
  const delayMs = device.delayMs
  device.delayMs = 0
  await device.write(0, bytes, cancel)
  device.delayMs = delayMs
  device.calls.length = 0
  device.most = 0
  return device
}

test('a copy holds every byte, keeps to its depth, and is flushed last', async () => {
  const bytes = pattern(5 * MiB + 512)
  const source = await deviceHolding(bytes)
  const target = new SlowDevice(6 * MiB)
  const progress: number[] = []
  const onProgress = (done: number, total: number) => {
    assert.equal(total, bytes.byteLength)
    progress.push(done)
  }
  const options = { skipZeroes: true, chunkBytes: 256 * KiB, depth: 3, onProgress }
  const copied = await copyDevice(source, target, options, cancel)
  assert.deepEqual(copied, { copiedBytes: bytes.byteLength, skippedBytes: 0 })
  assert.ok((await contentOf(target)).subarray(0, bytes.byteLength).equals(bytes))
  assert.equal(source.most <= 3 && source.most > 1, true)
  assert.equal(progress.at(-1), bytes.byteLength)
  assert.equal(target.calls.filter((call) => call.verb !== 'read').at(-1)?.verb, 'flush')
})

test('zeroes are found and become writeZeroes, or nothing at all on a zeroed target', async () => {
  const bytes = pattern(4 * MiB)
  bytes.fill(0, MiB, 2 * MiB + 128 * KiB)
  for (const targetIsZeroed of [false, true]) {
    const target = new SlowDevice(4 * MiB)
    if (!targetIsZeroed) await target.write(0, Buffer.alloc(4 * MiB, 0xff), cancel)
    target.calls.length = 0
    const options = { skipZeroes: true, targetIsZeroed }
    const copied = await copyDevice(await deviceHolding(bytes), target, options, cancel)
    assert.equal(copied.skippedBytes, MiB + 128 * KiB)
    assert.equal(target.bytes('write'), 3 * MiB - 128 * KiB)
    assert.equal(target.bytes('writeZeroes'), targetIsZeroed ? 0 : MiB + 128 * KiB)
    assert.ok((await contentOf(target)).equals(bytes))
  }
})

test('without zero detection every byte is written, whatever the map says', async () => {
  const source = (await deviceHolding(Buffer.alloc(MiB))).withMap([{ offset: 0, length: MiB, state: 'hole' }])
  const target = new SlowDevice(MiB)
  const copied = await copyDevice(source, target, { skipZeroes: false }, cancel)
  assert.deepEqual(copied, { copiedBytes: MiB, skippedBytes: 0 })
  assert.equal(target.bytes('write'), MiB)
})

test('what the source knows to be zeroes is never read', async () => {
  const bytes = Buffer.alloc(8 * MiB)
  pattern(512).copy(bytes, 3 * MiB + 512)
  pattern(MiB).copy(bytes, 5 * MiB)
  const source = (await deviceHolding(bytes)).withMap([
    { offset: 0, length: 3 * MiB + 512, state: 'hole' },
    { offset: 3 * MiB + 512, length: 512, state: 'data' },
    { offset: 3 * MiB + 1024, length: 2 * MiB - 1024, state: 'zero' },
    { offset: 5 * MiB, length: MiB, state: 'data' },
    { offset: 6 * MiB, length: 2 * MiB, state: 'hole' },
  ])
  for (const blockSize of [512, 4096]) {
    source.calls.length = 0
    const target = new MemoryDevice(8 * MiB, blockSize)
    await target.write(0, Buffer.alloc(8 * MiB, 0xff), cancel)
    await copyDevice(source, target, { skipZeroes: true }, cancel)
    assert.equal(source.bytes('read'), MiB + blockSize)
    assert.ok((await contentOf(target)).equals(bytes))
  }
})

test('a map of many small stretches is copied exactly', async () => {
  const bytes = Buffer.alloc(4 * MiB)
  const map: Extent[] = []
  for (let at = 0; at < bytes.byteLength; at += 1536) {
    const length = Math.min(1536, bytes.byteLength - at)
    const state = (at / 1536) % 3 === 0 ? 'data' : 'hole'
    if (state === 'data') pattern(length).copy(bytes, at)
    map.push({ offset: at, length, state })
  }
  const source = (await deviceHolding(bytes)).withMap(map)
  source.delayMs = 0
  const target = new MemoryDevice(bytes.byteLength, 4096)
  await copyDevice(source, target, { skipZeroes: true, targetIsZeroed: true, chunkBytes: 64 * KiB }, cancel)
  assert.ok((await contentOf(target)).equals(bytes))
})

test('a tail that does not fill a block of the target is filled up with zeroes', async () => {
  const bytes = pattern(5 * 512)
  const target = new MemoryDevice(4096, 4096)
  await target.write(0, Buffer.alloc(4096, 0xff), cancel)
  await copyDevice(await deviceHolding(bytes), target, { skipZeroes: true }, cancel)
  assert.ok((await contentOf(target)).equals(Buffer.concat([bytes, Buffer.alloc(4096 - 5 * 512)])))
})

test('the first error is thrown when nothing is under way any more, and the target is not flushed', async () => {
  for (const failing of ['source', 'target']) {
    const source = await deviceHolding(pattern(8 * MiB))
    const target = new SlowDevice(8 * MiB)
    const device = failing === 'source' ? source : target
    device.failAt = 3 * MiB
    await assert.rejects(copyDevice(source, target, { skipZeroes: true, depth: 4 }, cancel), /bad block/)
    assert.equal(source.underWay + target.underWay, 0)
    assert.ok(!target.calls.some((call) => call.verb === 'flush'))
    assert.ok(source.bytes('read') < 8 * MiB)
  }
})

test('a cancelled copy rejects with the reason and leaves nothing under way', async () => {
  const source = await deviceHolding(pattern(8 * MiB))
  const target = new SlowDevice(8 * MiB)
  const stop = new AbortController()
  const onProgress = () => stop.abort(new Error('no longer wanted'))
  await assert.rejects(copyDevice(source, target, { skipZeroes: true, onProgress }, stop), /no longer wanted/)
  assert.equal(source.underWay + target.underWay, 0)
})

test('a target that is too small is refused before anything is written', async () => {
  const target = new SlowDevice(MiB)
  const source = new MemoryDevice(2 * MiB)
  await assert.rejects(copyDevice(source, target, { skipZeroes: true }, cancel), RangeError)
  assert.deepEqual(target.calls, [])
  await copyDevice(source, target, { skipZeroes: true, sizeBytes: MiB }, cancel)
})

async function* inPieces(bytes: Buffer, pieceBytes: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.byteLength; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes)
}

test('a stream of chunks of any size is written whole, the last block filled with zeroes', async () => {
  const bytes = pattern(3 * MiB + 700)
  bytes.fill(0, MiB, 2 * MiB)
  for (const pieceBytes of [777, 64 * KiB, 5 * MiB]) {
    const target = new SlowDevice(4 * MiB)
    const options = { skipZeroes: true, targetIsZeroed: true, offset: 4096, chunkBytes: 128 * KiB, depth: 3 }
    const written = await writeStream(inPieces(bytes, pieceBytes), target, options, cancel)
    assert.equal(written.totalBytes, bytes.byteLength)
    assert.ok(written.skippedBytes >= MiB - 128 * KiB && written.skippedBytes <= MiB)
    assert.ok((await contentOf(target)).subarray(4096, 4096 + bytes.byteLength).equals(bytes))
    assert.ok(target.most <= 2 * 3)
    assert.equal(target.underWay, 0)
  }
})

test('an empty stream writes nothing', async () => {
  const target = new SlowDevice(MiB)
  const written = await writeStream(inPieces(Buffer.alloc(0), 1), target, { skipZeroes: true }, cancel)
  assert.deepEqual(written, { totalBytes: 0, skippedBytes: 0 })
  assert.equal(target.bytes('write'), 0)
})

test('a stream that is too long is refused and its source is closed', async () => {
  let closed = false
  async function* endless(): AsyncGenerator<Buffer> {
    try {
      for (;;) yield Buffer.alloc(64 * KiB, 1)
    } finally {
      closed = true
    }
  }
  const target = new SlowDevice(MiB)
  await assert.rejects(writeStream(endless(), target, { skipZeroes: true }, cancel), RangeError)
  assert.equal(target.underWay, 0)
  await sleep(0)
  assert.ok(closed)
})

test('a failing write ends a stream whose source is still waiting for its next chunk', async () => {
  const target = new SlowDevice(MiB)
  target.failAt = 0
  async function* stuck(): AsyncGenerator<Buffer> {
    yield pattern(128 * KiB)
    await new Promise(() => {})
  }
  const options = { skipZeroes: true, chunkBytes: 64 * KiB }
  await assert.rejects(writeStream(stuck(), target, options, cancel), /bad block/)
  const stop = new AbortController()
  const writing = writeStream(stuck(), new SlowDevice(MiB), options, stop)
  setTimeout(() => stop.abort(new Error('stopped')), 5)
  await assert.rejects(writing, /stopped/)
})

test('a source that fails ends the writing with its own error', async () => {
  async function* failing(): AsyncGenerator<Buffer> {
    yield pattern(100)
    throw new Error('the upload broke off')
  }
  await assert.rejects(writeStream(failing(), new SlowDevice(MiB), { skipZeroes: true }, cancel), /broke off/)
})

test('any range of a device is read as a stream, ahead of the reader', async () => {
  const bytes = pattern(3 * MiB)
  const device = await deviceHolding(bytes)
  for (const [offset, length] of [
    [0, 3 * MiB],
    [1, 1],
    [511, 2],
    [700 * KiB + 3, 2 * MiB + 9],
    [MiB, 0],
  ] as const) {
    device.most = 0
    const chunks: Uint8Array[] = []
    for await (const chunk of readStream(device, offset, length, { chunkBytes: 256 * KiB }, cancel)) {
      chunks.push(chunk)
    }
    assert.ok(Buffer.concat(chunks).equals(bytes.subarray(offset, offset + length)))
    assert.ok(device.most <= 4)
  }
  await assert.rejects(readStream(device, 0, 4 * MiB, {}, cancel).next(), RangeError)
})

test('leaving a read stream early leaves nothing under way, and an error reaches the reader', async () => {
  const device = await deviceHolding(pattern(3 * MiB))
  for await (const _chunk of readStream(device, 0, 3 * MiB, { chunkBytes: 64 * KiB }, cancel)) break
  assert.equal(device.underWay, 0)
  device.failAt = MiB
  const reading = async () => {
    for await (const _chunk of readStream(device, 0, 3 * MiB, { chunkBytes: 64 * KiB }, cancel));
  }
  await assert.rejects(reading, /bad block/)
})

test('a read stream does not read what is known to be a hole', async () => {
  const device = new SlowDevice(2 * MiB).withMap([{ offset: 0, length: 2 * MiB, state: 'hole' }])
  let total = 0
  for await (const chunk of readStream(device, 0, 2 * MiB, {}, cancel))
    total += isZero(chunk) ? chunk.byteLength : 0
  assert.equal(total, 2 * MiB)
  assert.equal(device.bytes('read'), 0)
})

test('a read stream asks for the map once, not for every chunk', async () => {
  const bytes = pattern(4 * MiB)
  bytes.fill(0, MiB, 2 * MiB)
  const device = (await deviceHolding(bytes)).withMap([
    { offset: 0, length: MiB, state: 'data' },
    { offset: MiB, length: MiB, state: 'hole' },
    { offset: 2 * MiB, length: 2 * MiB, state: 'data' },
  ])
  const { extents } = device
  let asked = 0
  device.extents = async (offset, length) => {
    asked += 1
    return (await extents?.(offset, length)) ?? []
  }
  const chunks: Uint8Array[] = []
  for await (const chunk of readStream(device, 100, 4 * MiB - 200, { chunkBytes: 64 * KiB }, cancel))
    chunks.push(chunk)
  assert.ok(Buffer.concat(chunks).equals(bytes.subarray(100, 4 * MiB - 100)))
  assert.equal(asked, 1)
  assert.equal(device.bytes('read'), 3 * MiB)
})

test('a single byte anywhere makes a buffer non-zero', () => {
  for (const length of [1, 511, 65536, 200_000]) {
    const bytes = Buffer.alloc(length)
    assert.ok(isZero(bytes))
    for (const at of [0, length >> 1, length - 1]) {
      bytes[at] = 1
      assert.ok(!isZero(bytes))
      bytes[at] = 0
    }
  }
})
