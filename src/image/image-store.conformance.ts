import assert from 'node:assert/strict'
import { createHash, randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { readBytes } from '@emberglass/iscsi/device'
import { type ByteRange, type Bytes, MiB } from '../kernel/bytes.ts'
import { type Call, uncancelled } from '../kernel/call.ts'
import { Conflict, NotFound, StorageError } from '../kernel/errors.ts'
import { silentLogger } from '../kernel/log.ts'
import type { ImageStore } from './image-store.ts'

/** A store on storage of its own, for one test. */
export interface StoreUnderTest extends AsyncDisposable {
  /** Started. */
  readonly store: ImageStore
  /** Names of whatever the storage holds, finished or not: the suite proves that nothing is left behind. */
  leftovers(): Promise<readonly string[]>
  /** Opens the same storage again, started, as the next process would. Absent for a store that is ephemeral. */
  restart?(): Promise<ImageStore>
}

export interface StoreCase {
  readonly name: string
  /** Why the store need not pass it: a feature it does not have. */
  skip?(subject: StoreUnderTest): string | undefined
  run(subject: StoreUnderTest): Promise<void>
}

/**
 * Proves that a store keeps the contract.
 * @param factory makes the store, on storage that is empty
 */
export function imageStoreConformance(name: string, factory: () => Promise<StoreUnderTest>): void {
  for (const each of imageStoreCases) {
    test(`${name}: ${each.name}`, async (t) => {
      await using subject = await factory()
      const reason = each.skip?.(subject)
      if (reason !== undefined) {
        t.skip(reason)
        return
      }
      await each.run(subject)
      assert.deepEqual(await subject.leftovers(), [], 'the storage must be empty after the test')
    })
  }
}

/** Bytes that repeat at no power of two, and differ for each length, so that a misplaced block is noticed. */
function pattern(length: number): Uint8Array {
  const bytes = Buffer.allocUnsafe(length)
  let word = 0x9e3779b9 ^ length
  let index = 0
  for (; index + 4 <= length; index += 4) {
    word = (Math.imul(word, 1664525) + 1013904223) >>> 0
    bytes.writeUInt32LE(word, index)
  }
  for (; index < length; index += 1) bytes[index] = (word + index) & 0xff
  return bytes
}

/** Pieces of irregular length, none of them shared with another. */
async function* pieces(bytes: Uint8Array): Bytes {
  const lengths = [1, 65_536, 511, 1_048_576, 70_001, 4_096]
  let position = 0
  for (let index = 0; position < bytes.byteLength; index += 1) {
    const length = lengths[index % lengths.length] ?? 1
    yield Buffer.from(bytes.subarray(position, position + length))
    position += length
  }
}

async function collect(bytes: Bytes): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of bytes) chunks.push(Buffer.from(chunk)) // the store may use its memory again
  return Buffer.concat(chunks)
}

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

async function assertHolds(
  store: ImageStore,
  location: string,
  expected: Uint8Array,
  range?: ByteRange,
): Promise<void> {
  const got = await collect(store.get(location, range, uncancelled()))
  assert.equal(got.byteLength, expected.byteLength)
  assert.equal(digest(got), digest(expected), 'the bytes must be those that were put')
}

function cancellable(): { call: Call; abort: (reason: Error) => void } {
  const controller = new AbortController()
  return {
    call: { signal: controller.signal, log: silentLogger() },
    abort: (reason) => controller.abort(reason),
  }
}

/** Puts one image, runs the body, deletes the image. */
async function withImage(
  store: ImageStore,
  bytes: Uint8Array,
  body: (location: string, imageId: string) => Promise<void>,
): Promise<void> {
  const imageId = randomUUID()
  const stored = await store.put(imageId, pieces(bytes), bytes.byteLength, uncancelled())
  assert.equal(stored.sizeBytes, bytes.byteLength)
  await body(stored.location, imageId)
  await store.delete(stored.location, uncancelled())
}

function roundTrip(length: number, sizeKnown: boolean): StoreCase {
  return {
    name: `gives ${length} bytes back as they were put, size ${sizeKnown ? 'known' : 'unknown'} beforehand`,
    async run({ store }) {
      const bytes = pattern(length)
      const stored = await store.put(
        randomUUID(),
        pieces(bytes),
        sizeKnown ? length : undefined,
        uncancelled(),
      )
      assert.equal(stored.sizeBytes, length)
      assert.equal(await store.size(stored.location, uncancelled()), length)
      await assertHolds(store, stored.location, bytes)
      await store.delete(stored.location, uncancelled())
    },
  }
}

const ranges: readonly (readonly [number, number])[] = [
  [0, 1],
  [0, 512],
  [511, 513],
  [1, 3_000_000],
  [1_048_575, 1_048_577],
  [2_999_999, 3_000_001],
  [3_000_000, 3_000_001],
]

/** Every promise of the contract, one by one. */
export const imageStoreCases: readonly StoreCase[] = [
  roundTrip(0, true),
  roundTrip(0, false),
  roundTrip(1, true),
  roundTrip(511, false),
  roundTrip(513, true),
  roundTrip(3 * MiB + 7, false),
  roundTrip(40 * MiB, true),
  roundTrip(40 * MiB + 1, false),
  {
    name: 'serves any range of the bytes',
    async run({ store }) {
      const bytes = pattern(3_000_001)
      await withImage(store, bytes, async (location) => {
        for (const [start, end] of ranges) {
          await assertHolds(store, location, bytes.subarray(start, end), { start, end })
        }
        await assertHolds(store, location, new Uint8Array(0), { start: 7, end: 7 })
      })
    },
  },
  {
    name: 'serves several readers at once',
    async run({ store }) {
      const bytes = pattern(2 * MiB + 3)
      await withImage(store, bytes, async (location) => {
        await Promise.all(Array.from({ length: 4 }, () => assertHolds(store, location, bytes)))
      })
    },
  },
  {
    name: 'lets a reader leave in the middle',
    async run({ store }) {
      await withImage(store, pattern(8 * MiB), async (location) => {
        for await (const chunk of store.get(location, undefined, uncancelled())) {
          assert.ok(chunk.byteLength > 0)
          break
        }
      })
    },
  },
  {
    name: 'says NotFound on the first pull when there is no such image',
    async run({ store }) {
      const { location } = await store.put(randomUUID(), pieces(pattern(10)), 10, uncancelled())
      await store.delete(location, uncancelled())
      const bytes = store.get(location, undefined, uncancelled())
      await assert.rejects(async () => void (await bytes[Symbol.asyncIterator]().next()), NotFound)
      await assert.rejects(store.size(location, uncancelled()), NotFound)
    },
  },
  {
    name: 'deletes what is gone already without complaint',
    async run({ store }) {
      const { location } = await store.put(randomUUID(), pieces(pattern(10)), 10, uncancelled())
      await store.delete(location, uncancelled())
      await store.delete(location, uncancelled())
    },
  },
  {
    name: 'leaves nothing of a put whose source fails, throws its error, and takes the image afterwards',
    async run({ store, leftovers }) {
      const imageId = randomUUID()
      const broken = new Error('the client hung up')
      async function* source(): Bytes {
        yield pattern(2 * MiB + 11)
        throw broken
      }
      for (const sizeBytes of [5 * MiB, undefined]) {
        await assert.rejects(
          store.put(imageId, source(), sizeBytes, uncancelled()),
          (error) => error === broken,
        )
        assert.deepEqual(await leftovers(), [])
      }
      const bytes = pattern(1000)
      const { location } = await store.put(imageId, pieces(bytes), 1000, uncancelled())
      await assertHolds(store, location, bytes)
      await store.delete(location, uncancelled())
    },
  },
  {
    name: 'stops a put that is aborted, with the reason, and leaves nothing',
    async run({ store, leftovers }) {
      const imageId = randomUUID()
      const { call, abort } = cancellable()
      const reason = new Error('enough')
      let pulled = 0
      async function* source(): Bytes {
        for (; pulled < 400; pulled += 1) {
          if (pulled === 20) abort(reason)
          yield pattern(65_536)
        }
      }
      await assert.rejects(store.put(imageId, source(), 400 * 65_536, call), (error) => error === reason)
      assert.ok(pulled < 400, 'an aborted put must not go on to the end')
      assert.deepEqual(await leftovers(), [])
      const again = await store.put(imageId, pieces(pattern(5)), 5, uncancelled())
      await store.delete(again.location, uncancelled())
    },
  },
  {
    name: 'refuses a put that is aborted beforehand',
    async run({ store }) {
      const { call, abort } = cancellable()
      const reason = new Error('too late')
      abort(reason)
      await assert.rejects(store.put(randomUUID(), pieces(pattern(5)), 5, call), (error) => error === reason)
    },
  },
  {
    name: 'stops a reader that is aborted, with the reason',
    async run({ store }) {
      await withImage(store, pattern(24 * MiB), async (location) => {
        const { call, abort } = cancellable()
        const reason = new Error('enough')
        let seen = 0
        await assert.rejects(
          async () => {
            for await (const chunk of store.get(location, undefined, call)) {
              seen += chunk.byteLength
              abort(reason)
            }
          },
          (error) => error === reason,
        )
        assert.ok(seen < 24 * MiB, 'an aborted get must not go on to the end')
      })
    },
  },
  {
    name: 'refuses to put an image twice, and keeps the first',
    async run({ store }) {
      const first = pattern(100_000)
      await withImage(store, first, async (location, imageId) => {
        await assert.rejects(store.put(imageId, pieces(pattern(10)), 10, uncancelled()), Conflict)
        await assertHolds(store, location, first)
      })
    },
  },
  {
    name: 'keeps one whole image when two puts of it race',
    async run({ store }) {
      const imageId = randomUUID()
      const images = [pattern(3 * MiB), pattern(2 * MiB)]
      const results = await Promise.allSettled(
        images.map((bytes) => store.put(imageId, pieces(bytes), bytes.byteLength, uncancelled())),
      )
      const won = results.flatMap((result, index) =>
        result.status === 'fulfilled' ? [{ stored: result.value, bytes: images[index] }] : [],
      )
      assert.equal(won.length, 1)
      const [winner] = won
      assert.ok(winner?.bytes !== undefined)
      await assertHolds(store, winner.stored.location, winner.bytes)
      await store.delete(winner.stored.location, uncancelled())
    },
  },
  {
    name: 'keeps twelve images that arrive at once apart',
    async run({ store }) {
      const images = Array.from({ length: 12 }, (_, index) => pattern(100_000 + index * 1_000))
      const stored = await Promise.all(
        images.map((bytes) => store.put(randomUUID(), pieces(bytes), bytes.byteLength, uncancelled())),
      )
      assert.equal(new Set(stored.map(({ location }) => location)).size, images.length)
      for (const [index, { location }] of stored.entries()) {
        await assertHolds(store, location, images[index] ?? new Uint8Array(0))
      }
      await Promise.all(stored.map(({ location }) => store.delete(location, uncancelled())))
    },
  },
  {
    name: 'answers a location that is not its own with an error of the kernel',
    async run({ store }) {
      for (const location of ['bogus://nowhere/at/all', 'file:///etc/passwd', 'no location at all']) {
        await assert.rejects(store.size(location, uncancelled()), StorageError)
        await assert.rejects(collect(store.get(location, undefined, uncancelled())), StorageError)
      }
    },
  },
  {
    name: 'keeps images over a restart',
    skip: ({ restart }) => (restart === undefined ? 'the store is ephemeral' : undefined),
    async run({ store, restart }) {
      const bytes = pattern(MiB + 5)
      const { location } = await store.put(randomUUID(), pieces(bytes), undefined, uncancelled())
      assert.ok(restart !== undefined)
      await using next = await restart()
      await assertHolds(next, location, bytes)
      await next.delete(location, uncancelled())
    },
  },
  {
    name: 'sweeps away what nobody knows, and nothing else',
    skip: ({ store }) => (store.sweep === undefined ? 'the store cannot sweep' : undefined),
    async run({ store, leftovers }) {
      const bytes = pattern(70_000)
      await withImage(store, bytes, async (location, known) => {
        await store.put(randomUUID(), pieces(pattern(10)), 10, uncancelled())
        const before = (await leftovers()).length
        await store.sweep?.(async (imageId) => imageId === known, uncancelled())
        assert.ok((await leftovers()).length < before)
        await assertHolds(store, location, bytes)
      })
    },
  },
  {
    name: 'opens an image as a device that reads the same bytes',
    skip: ({ store }) => (store.blocks === undefined ? 'the store is not made of block devices' : undefined),
    async run({ store }) {
      const bytes = pattern(2 * MiB + 1_000)
      await withImage(store, bytes, async (location) => {
        assert.ok(store.blocks !== undefined)
        await using device = await store.blocks.open(location, uncancelled())
        assert.ok(device.sizeBytes >= bytes.byteLength)
        const whole = bytes.byteLength - (bytes.byteLength % device.blockSize)
        const got = await readBytes(device, 0, whole, uncancelled())
        assert.equal(digest(got), digest(bytes.subarray(0, whole)))
      })
    },
  },
  {
    name: 'reports its capacity',
    skip: ({ store }) => (store.capacity === undefined ? 'the store cannot tell' : undefined),
    async run({ store }) {
      const capacity = await store.capacity?.(uncancelled())
      assert.ok(
        capacity !== undefined && capacity.freeBytes >= 0 && capacity.freeBytes <= capacity.totalBytes,
      )
    },
  },
]
