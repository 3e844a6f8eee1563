import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { MemoryDevice } from '../block-device.ts'
import { copyDevice } from '../copy.ts'
import { readStream, writeStream } from '../copy-stream.ts'
import { IscsiError } from '../errors.ts'
import type { Chap } from '../login/chap.ts'
import { startCuttingProxy } from './cutting-proxy.fixture.ts'
import { discoverTargets } from './discover.ts'
import { type IscsiDisk, type IscsiDiskOptions, openIscsiDisk } from './disk.ts'

/** A real target with one disk of 64 MiB, which reads as zeroes, and no authentication. */
export interface RealTarget extends AsyncDisposable {
  readonly port: number
  readonly targetName: string
  readonly lun: number
}

export interface RealTargetOptions {
  readonly chap?: Chap
  /** The target takes both digests. */
  readonly digests?: boolean
}

export interface RealTargetKind {
  readonly name: string
  /** A sentence when this kind cannot be had here. */
  readonly skip: string | undefined
  /** Digests are settled for certain when both sides want them. */
  readonly digests: boolean
  /** Unmapped blocks are given back and can be asked for. */
  readonly thin: boolean
  /**
   * Whether a nexus that comes back hears of a nexus loss, and not of a power on, which a target uses that cannot
   * tell the two apart.
   */
  readonly remembersNexus: boolean
  start(options: RealTargetOptions): Promise<RealTarget>
}

const cancel = { signal: new AbortController().signal }
const MiB = 1024 * 1024
export const REAL_DISK_BYTES = 64 * MiB

const initiatorName = 'iqn.2026-01.test:initiator'

function open(target: RealTarget, options: Partial<IscsiDiskOptions> = {}): Promise<IscsiDisk> {
  const { port, targetName, lun } = target
  const portals = [{ host: '127.0.0.1', port }]
  return openIscsiDisk({ portals, targetName, lun, initiatorName, timeoutMs: 60_000, ...options }, cancel)
}

function pattern(length: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(length)
  for (let at = 0; at + 4 <= length; at += 4) bytes.writeUInt32LE((at * 2654435761 + seed) >>> 0, at)
  return bytes
}

async function bytesOf(disk: IscsiDisk, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length)
  await disk.read(offset, bytes, cancel)
  return bytes
}

/** What the initiator does with any target that keeps to the standards. */
export function diskConformance(kind: RealTargetKind): void {
  describe(`the initiator with ${kind.name}`, { skip: kind.skip ?? false }, () => {
    test('finds the target, logs in, writes and reads back, flushes', async () => {
      await using target = await kind.start({})
      const portal = { host: '127.0.0.1', port: target.port }
      const found = await discoverTargets(portal, { initiatorName }, cancel)
      assert.ok(found.some(({ name }) => name === target.targetName))

      await using disk = await open(target)
      assert.equal(disk.sizeBytes, REAL_DISK_BYTES)
      for (const [offset, length] of [
        [0, 512],
        [512, 4096],
        [MiB, 3 * MiB + 512],
        [63 * MiB, MiB],
      ] as const) {
        const data = pattern(length, offset)
        await disk.write(offset, data, cancel)
        assert.ok((await bytesOf(disk, offset, length)).equals(data), `${length} bytes at ${offset}`)
      }
      await disk.flush(cancel)
      await assert.rejects(disk.read(64 * MiB, Buffer.alloc(512), cancel), RangeError)
    })

    test('keeps many small commands under way at once, and their data apart', async () => {
      await using target = await kind.start({})
      await using disk = await open(target)
      const blocks = Array.from({ length: 600 }, (_, index) => index)
      await Promise.all(blocks.map((index) => disk.write(index * 4096, pattern(4096, index), cancel)))
      const read = await Promise.all(blocks.map((index) => bytesOf(disk, index * 4096, 4096)))
      for (const [index, bytes] of read.entries())
        assert.ok(bytes.equals(pattern(4096, index)), `block ${index}`)
    })

    test('writes zeroes', async () => {
      await using target = await kind.start({})
      await using disk = await open(target)
      await disk.write(0, pattern(4 * MiB), cancel)
      await disk.writeZeroes(MiB, 2 * MiB, cancel)
      const bytes = await bytesOf(disk, 0, 4 * MiB)
      assert.ok(bytes.subarray(MiB, 3 * MiB).every((byte) => byte === 0))
      assert.ok(bytes.subarray(0, MiB).equals(pattern(4 * MiB).subarray(0, MiB)))
      assert.ok(bytes.subarray(3 * MiB).equals(pattern(4 * MiB).subarray(3 * MiB)))
    })

    test('gives space back and sees it', { skip: !kind.thin && 'this target is not thin' }, async () => {
      await using target = await kind.start({})
      await using disk = await open(target)
      await disk.write(8 * MiB, pattern(4 * MiB), cancel)
      await disk.unmap?.(9 * MiB, MiB, cancel)
      assert.ok((await bytesOf(disk, 9 * MiB, MiB)).every((byte) => byte === 0))
      const extents = (await disk.extents?.(0, disk.sizeBytes, cancel)) ?? []
      const data = extents.filter(({ state }) => state === 'data')
      assert.deepEqual(
        data.map(({ offset, length }) => [offset, length]),
        [
          [8 * MiB, MiB],
          [10 * MiB, 2 * MiB],
        ],
      )
      assert.equal(
        extents.reduce((sum, { length }) => sum + length, 0),
        disk.sizeBytes,
      )
    })

    test('proves who it is, and sees that the target does', async () => {
      const chap = { username: 'user', password: 'a secret of 16 b' }
      const mutual = { ...chap, mutual: { username: 'disk', password: 'another 16 bytes' } }
      await using target = await kind.start({ chap: mutual })
      for (const good of [chap, mutual]) {
        await using disk = await open(target, { chap: good })
        assert.equal(disk.sizeBytes, REAL_DISK_BYTES)
      }
      const refused = (error: unknown) => error instanceof IscsiError && error.code === 'authentication'
      await assert.rejects(
        open(target),
        (error: unknown) => error instanceof IscsiError && error.statusClass === 2,
      )
      await assert.rejects(open(target, { chap: { ...chap, password: 'the wrong secret' } }), refused)
      const impostor = { ...chap, mutual: { username: 'disk', password: 'some other secret' } }
      await assert.rejects(open(target, { chap: impostor }), refused)
    })

    test('moves the same bytes with digests', { skip: !kind.digests && 'no digests here' }, async () => {
      await using target = await kind.start({ digests: true })
      for (const [headerDigest, dataDigest] of [
        [true, false],
        [false, true],
        [true, true],
      ] as const) {
        await using disk = await open(target, { headerDigest, dataDigest })
        const data = pattern(2 * MiB + 512, headerDigest ? 3 : 4)
        await disk.write(512, data, cancel)
        assert.ok((await bytesOf(disk, 512, data.byteLength)).equals(data))
      }
    })

    test('survives connections that are cut in the middle of reads and writes', async () => {
      await using target = await kind.start({})
      await using proxy = await startCuttingProxy(target.port, 5 * MiB + 12345, 4)
      await using disk = await open({ ...target, port: proxy.port })
      const data = pattern(32 * MiB)
      const writes = Array.from({ length: 32 }, (_, index) =>
        disk.write(index * MiB, data.subarray(index * MiB, (index + 1) * MiB), cancel),
      )
      if (!kind.remembersNexus) {
        // What was acknowledged and not flushed might be gone, for all that this target says.
        const results = await Promise.allSettled(writes)
        const failures = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []))
        assert.ok(failures.length > 0)
        for (const failure of failures) assert.match(String(failure), /not flushed may be lost/)
        return
      }
      await Promise.all(writes)
      assert.ok((await bytesOf(disk, 0, 32 * MiB)).equals(data))
      assert.equal(proxy.cuts, 4)
      assert.equal(disk.reconnects, 4)
    })

    test('survives connections that are cut in the middle of reads', async () => {
      await using target = await kind.start({})
      const data = pattern(32 * MiB)
      {
        await using disk = await open(target)
        await disk.write(0, data, cancel)
        await disk.flush(cancel)
      }
      await using proxy = await startCuttingProxy(target.port, 5 * MiB + 12345, 4)
      await using disk = await open({ ...target, port: proxy.port })
      assert.ok((await bytesOf(disk, 0, 32 * MiB)).equals(data))
      assert.equal(disk.reconnects, proxy.cuts)
    })

    test('is a source and a target for copies and streams', async () => {
      await using target = await kind.start({})
      await using disk = await open(target)
      const image = new MemoryDevice(24 * MiB)
      await image.write(2 * MiB, pattern(5 * MiB), cancel)
      await image.write(20 * MiB, pattern(512), cancel)
      const options = { skipZeroes: true, targetIsZeroed: true }
      const copied = await copyDevice(image, disk, options, cancel)
      assert.equal(copied.copiedBytes + copied.skippedBytes, 24 * MiB)
      assert.ok(copied.copiedBytes < 6 * MiB)
      const back = new MemoryDevice(24 * MiB)
      await copyDevice(disk, back, { sizeBytes: 24 * MiB, skipZeroes: true, targetIsZeroed: true }, cancel)
      const whole = Buffer.alloc(24 * MiB)
      const original = Buffer.alloc(24 * MiB)
      await back.read(0, whole, cancel)
      await image.read(0, original, cancel)
      assert.ok(whole.equals(original))

      const bytes = pattern(7 * MiB + 99, 5)
      const chunks = [bytes.subarray(0, 1000), bytes.subarray(1000, 3 * MiB), bytes.subarray(3 * MiB)]
      async function* stream(): AsyncGenerator<Uint8Array> {
        yield* chunks
      }
      await writeStream(stream(), disk, { skipZeroes: false, offset: 32 * MiB }, cancel)
      const read: Uint8Array[] = []
      for await (const chunk of readStream(disk, 32 * MiB, bytes.byteLength, {}, cancel)) read.push(chunk)
      assert.ok(Buffer.concat(read).equals(bytes))
    })
  })
}
