import assert from 'node:assert/strict'
import { mkdtemp, open, readdir, rm, stat, unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { readBytes } from '@emberglass/iscsi/device'
import {
  CorruptStoreError,
  EntryExistsError,
  EntryNotFoundError,
  NoSpaceError,
  ReadOnlyError,
  StoreLockedError,
} from './errors.ts'
import { SLOT_BYTES } from './map-page.ts'
import { ThinStore, type ThinStoreOptions } from './thin-store.ts'
import type { ThinVolume } from './thin-volume.ts'

const CALL = { signal: new AbortController().signal }
const KIB = 1024
const MIB = 1024 * KIB

async function directory(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'thin-store-'))
  t.after(() => rm(path, { recursive: true }))
  return path
}

async function fill(volume: ThinVolume, offset: number, length: number, value: number): Promise<void> {
  await volume.write(offset, new Uint8Array(length).fill(value), CALL)
}

async function write(
  store: ThinStore,
  id: string,
  offset: number,
  length: number,
  value: number,
): Promise<void> {
  await using volume = await store.open(id)
  await fill(volume, offset, length, value)
  await volume.flush(CALL)
}

/** The value that fills a stretch; fails when there is more than one. */
async function valueAt(store: ThinStore, id: string, offset: number, length = 4 * KIB): Promise<number> {
  await using volume = await store.open(id)
  const bytes = await readBytes(volume, offset, length, CALL)
  assert.ok(bytes.every((byte) => byte === bytes[0]))
  return bytes[0] ?? -1
}

async function damage(path: string, offset: number): Promise<void> {
  await using file = await open(path, 'r+')
  await file.write(Buffer.from('damaged'), 0, 7, offset)
}

test('a directory belongs to one store at a time', async (t) => {
  const options = { directory: await directory(t) }
  const first = await ThinStore.open(options)
  await assert.rejects(ThinStore.open(options), StoreLockedError)
  await first.create('a', MIB)
  await first[Symbol.asyncDispose]()
  await using second = await ThinStore.open(options)
  assert.deepEqual(second.list(), [{ id: 'a', kind: 'volume', sizeBytes: MIB, usedBytes: 0 }])
})

test('creating twice is fine, and an id that is taken otherwise is refused', async (t) => {
  await using store = await ThinStore.open({ directory: await directory(t) })
  await store.create('a', MIB)
  await store.create('a', MIB)
  await assert.rejects(store.create('a', 2 * MIB), EntryExistsError)
  await assert.rejects(store.create('b', 100), RangeError)
  await store.snapshot('a', 's')
  await assert.rejects(store.snapshot('a', 's'), EntryExistsError)
  await assert.rejects(store.clone('s', 'a'), EntryExistsError)
  await assert.rejects(store.create('s', MIB), EntryExistsError)
  await assert.rejects(store.snapshot('s', 't'), EntryNotFoundError)
  await assert.rejects(store.open('nothing'), EntryNotFoundError)
  await store.delete('nothing')
})

test('a volume grows while it is open, and does not shrink', async (t) => {
  await using store = await ThinStore.open({ directory: await directory(t) })
  await store.create('a', MIB)
  await using volume = await store.open('a')
  await fill(volume, MIB - 512, 512, 1)
  await assert.rejects(async () => fill(volume, MIB, 512, 1), RangeError)
  await store.resize('a', MIB + 4 * KIB)
  assert.equal(volume.sizeBytes, MIB + 4 * KIB)
  assert.equal(await valueAt(store, 'a', MIB), 0)
  await fill(volume, MIB, 512, 2)
  await assert.rejects(store.resize('a', MIB), RangeError)
})

test('a range that is not on blocks is refused', async (t) => {
  await using store = await ThinStore.open({ directory: await directory(t) })
  await store.create('a', MIB)
  await using volume = await store.open('a')
  await assert.rejects(async () => volume.read(1, new Uint8Array(512), CALL), RangeError)
  await assert.rejects(async () => volume.write(0, new Uint8Array(100), CALL), RangeError)
  await assert.rejects(volume.unmap(512, 513, CALL), RangeError)
})

test('snapshots only read, and clones go their own way, larger than their source and after it', async (t) => {
  const options = { directory: await directory(t) }
  {
    await using store = await ThinStore.open(options)
    await store.create('a', MIB)
    await write(store, 'a', 0, 8 * KIB, 1)
    await store.snapshot('a', 's')
    await write(store, 'a', 0, 4 * KIB, 2)
    await using snapshot = await store.open('s')
    assert.equal(snapshot.readOnly, true)
    await assert.rejects(async () => fill(snapshot, 0, 512, 3), ReadOnlyError)
    await assert.rejects(snapshot.unmap(0, 512, CALL), ReadOnlyError)
    await assert.rejects(store.clone('s', 'small', 512 * KIB), RangeError)
    await store.clone('s', 'c', 2 * MIB)
    await store.clone('a', 'd')
    await store.delete('s')
    await store.delete('a')
    await store.settled()
  }
  await using store = await ThinStore.open(options)
  assert.deepEqual([await valueAt(store, 'c', 0), await valueAt(store, 'c', 4 * KIB)], [1, 1])
  assert.equal(await valueAt(store, 'c', MIB, MIB), 0)
  assert.deepEqual([await valueAt(store, 'd', 0), await valueAt(store, 'd', 4 * KIB)], [2, 1])
})

test('a volume that is reverted holds what the snapshot does, also for those who have it open', async (t) => {
  await using store = await ThinStore.open({ directory: await directory(t) })
  await store.create('a', MIB)
  await using volume = await store.open('a')
  await fill(volume, 0, 8 * KIB, 1)
  await store.snapshot('a', 'old')
  await fill(volume, 4 * KIB, 8 * KIB, 2)
  await store.snapshot('a', 'new')
  await store.resize('a', 2 * MIB)
  await fill(volume, MIB, MIB, 3)
  await store.revert('a', 'old')
  assert.deepEqual([await valueAt(store, 'a', 0, 8 * KIB), await valueAt(store, 'a', 8 * KIB)], [1, 0])
  assert.equal(await valueAt(store, 'a', MIB, MIB), 0)
  await fill(volume, 0, 4 * KIB, 4)
  await store.revert('a', 'new')
  assert.deepEqual([await valueAt(store, 'a', 0), await valueAt(store, 'a', 4 * KIB, 8 * KIB)], [1, 2])
  await assert.rejects(store.revert('a', 'a'), EntryNotFoundError)
})

test('whoever has a volume open finds it gone when it is deleted', async (t) => {
  await using store = await ThinStore.open({ directory: await directory(t) })
  await store.create('a', MIB)
  await using volume = await store.open('a')
  await fill(volume, 0, 4 * KIB, 1)
  await store.delete('a')
  await assert.rejects(async () => volume.read(0, new Uint8Array(512), CALL), EntryNotFoundError)
  await assert.rejects(volume.flush(CALL), EntryNotFoundError)
  await store.create('a', MIB)
  assert.equal(await valueAt(store, 'a', 0), 0)
})

test('all who open a volume share it, and the last one to leave makes it durable', async (t) => {
  const options = { directory: await directory(t) }
  const store = await ThinStore.open(options)
  await store.create('a', MIB)
  const first = await store.open('a')
  const second = await store.open('a')
  assert.equal(first, second)
  await first[Symbol.asyncDispose]()
  await fill(second, 0, 4 * KIB, 1)
  await second[Symbol.asyncDispose]()
  await store[Symbol.asyncDispose]()
  await using again = await ThinStore.open(options)
  assert.equal(await valueAt(again, 'a', 0), 1)
})

test('an aborted call says why', async (t) => {
  await using store = await ThinStore.open({ directory: await directory(t) })
  await store.create('a', MIB)
  await using volume = await store.open('a')
  const reason = new Error('changed my mind')
  const aborted = { signal: AbortSignal.abort(reason) }
  for (const call of [
    async () => volume.read(0, new Uint8Array(512), aborted),
    async () => volume.write(0, new Uint8Array(512), aborted),
    async () => volume.flush(aborted),
    async () => volume.unmap(0, 512, aborted),
    async () => volume.extents(0, 512, aborted),
  ]) {
    await assert.rejects(call, reason)
  }
})

test('a full store refuses what is new, keeps what it has, and takes more after an unmap', async (t) => {
  await using store = await ThinStore.open({ directory: await directory(t), capacityBytes: 64 * KIB })
  await store.create('a', MIB)
  await using volume = await store.open('a')
  await fill(volume, 0, 60 * KIB, 1)
  await assert.rejects(async () => fill(volume, 56 * KIB, 16 * KIB, 2), NoSpaceError)
  await assert.rejects(async () => fill(volume, 512 * KIB, 300 * KIB, 2), NoSpaceError)
  assert.deepEqual(
    [await valueAt(store, 'a', 0, 60 * KIB), await valueAt(store, 'a', 60 * KIB, 400 * KIB)],
    [1, 0],
  )
  await fill(volume, 0, 32 * KIB, 3)
  assert.deepEqual([store.usage().usedBytes, store.usage().freeBytes], [60 * KIB, 4 * KIB])
  await volume.unmap(0, 16 * KIB, CALL)
  await fill(volume, 512 * KIB, 20 * KIB, 4)
  assert.deepEqual([store.usage().usedBytes, store.usage().freeBytes], [64 * KIB, 0])
  await volume.flush(CALL)
  assert.deepEqual(
    [await valueAt(store, 'a', 16 * KIB, 16 * KIB), await valueAt(store, 'a', 512 * KIB)],
    [3, 4],
  )
})

test('a filesystem that has only the reserve left refuses new blocks', async (t) => {
  await using store = await ThinStore.open({
    directory: await directory(t),
    reserveBytes: Number.MAX_SAFE_INTEGER,
  })
  await store.create('a', MIB)
  await using volume = await store.open('a')
  await assert.rejects(async () => fill(volume, 0, 4 * KIB, 1), NoSpaceError)
  assert.deepEqual([store.usage().freeBytes, store.usage().usedBytes], [0, 0])
})

test('a torn map slot falls back to the last flush before it', async (t) => {
  const options = { directory: await directory(t) }
  {
    await using store = await ThinStore.open(options)
    await store.create('a', MIB)
    await write(store, 'a', 0, 4 * KIB, 1)
    await write(store, 'a', 4 * KIB, 4 * KIB, 2)
  }
  // The first flush wrote slot 0, the second slot 1.
  await damage(join(options.directory, 'layers', '1.map'), SLOT_BYTES + 64)
  await using store = await ThinStore.open(options)
  assert.deepEqual([await valueAt(store, 'a', 0), await valueAt(store, 'a', 4 * KIB)], [1, 0])
  const report = await store.check()
  assert.deepEqual([report.errors.length, report.warnings.length], [0, 1])
  await write(store, 'a', 4 * KIB, 4 * KIB, 3)
  assert.deepEqual((await store.check()).warnings, [])
})

test('damage that no crash can do is reported, never read as zeroes', async (t) => {
  const options = { directory: await directory(t) }
  const layers = join(options.directory, 'layers')
  {
    await using store = await ThinStore.open(options)
    for (const id of ['map', 'short', 'lost']) {
      await store.create(id, MIB)
      await write(store, id, 0, 64 * KIB, 1)
      await write(store, id, 64 * KIB, 64 * KIB, 1)
    }
  }
  await damage(join(layers, '1.map'), 64)
  await damage(join(layers, '1.map'), SLOT_BYTES + 64)
  await (
    await open(join(layers, '2.data'), 'r+').then(async (file) => {
      await file.truncate(4 * KIB)
      return file
    })
  ).close()
  await unlink(join(layers, '3.data'))
  await using store = await ThinStore.open(options)
  assert.equal((await store.check()).errors.length, 3)
  for (const id of ['map', 'short', 'lost'])
    await assert.rejects(valueAt(store, id, 64 * KIB), CorruptStoreError)
})

test('files that a crash left half-made are gone after the next start', async (t) => {
  const options = { directory: await directory(t) }
  const layers = join(options.directory, 'layers')
  {
    await using store = await ThinStore.open(options)
    await store.create('a', MIB)
  }
  // Layer 1 was never flushed; layer 99 never reached the catalog.
  for (const name of ['1.data', '1.map', '99.data', '99.map']) await writeFile(join(layers, name), 'half')
  await using store = await ThinStore.open(options)
  assert.deepEqual(await readdir(layers), [])
  assert.equal(await valueAt(store, 'a', 0, MIB), 0)
})

test('two hundred snapshots in a chain each keep what was written before them', async (t) => {
  const options: ThinStoreOptions = { directory: await directory(t) }
  const count = 200
  {
    await using store = await ThinStore.open(options)
    await store.create('a', MIB)
    await using volume = await store.open('a')
    for (let at = 0; at < count; at++) {
      await fill(volume, (at % 20) * 4 * KIB, 4 * KIB, at + 1)
      await store.snapshot('a', `s${at}`)
    }
  }
  await using store = await ThinStore.open(options)
  const expected = new Uint8Array(80 * KIB)
  for (let at = 0; at < count; at++) {
    const block = (at % 20) * 4 * KIB
    expected.fill(at + 1, block, block + 4 * KIB)
    await using snapshot = await store.open(`s${at}`)
    assert.ok(Buffer.from(await readBytes(snapshot, 0, expected.byteLength, CALL)).equals(expected))
  }
  for (let at = 0; at < count; at += 1) if (at % 3 !== 0) await store.delete(`s${at}`)
  await store.settled()
  assert.equal(await valueAt(store, 's198', 18 * 4 * KIB), 199)
  assert.equal(await valueAt(store, 's0', 4 * KIB), 0)
  assert.deepEqual((await store.check()).warnings, [])
})

test('snapshots go in any order while the volume is written, and their space comes back', async (t) => {
  const options = { directory: await directory(t), foldBytes: 64 * KIB, inlineWriteBytes: 16 * KIB }
  await using store = await ThinStore.open(options)
  const size = 16 * MIB
  await store.create('a', size)
  await using volume = await store.open('a')
  const model = new Uint8Array(size)
  let step = 0
  const writeSome = async (): Promise<void> => {
    const offset = ((step * 7919) % 4000) * 4 * KIB + (step % 3) * 512
    const length = 512 + ((step * 104729) % 100) * 512
    const data = new Uint8Array(Math.min(length, size - offset)).fill(++step % 255)
    model.set(data, offset)
    await volume.write(offset, data, CALL)
  }
  for (let at = 0; at < 8; at++) {
    for (let count = 0; count < 100; count++) await writeSome()
    await store.snapshot('a', `s${at}`)
  }
  for (const at of [3, 0, 7, 4, 6, 1, 5]) {
    await store.delete(`s${at}`)
    for (let count = 0; count < 40; count++) {
      await writeSome()
      await new Promise(setImmediate)
    }
  }
  let settled = false
  const settling = store.settled().then(() => {
    settled = true
  })
  while (!settled) {
    await writeSome()
    await new Promise(setImmediate)
  }
  await settling
  await volume.flush(CALL)
  assert.ok(Buffer.from(await readBytes(volume, 0, size, CALL)).equals(model))
  await store.delete('s2')
  await store.settled()
  const { blocks, layers } = await store.check()
  assert.deepEqual([layers, store.usage().usedBytes], [1, blocks * 4 * KIB])
  assert.ok(store.usage().usedBytes <= size)
  assert.ok(Buffer.from(await readBytes(volume, 0, size, CALL)).equals(model))
})

test('extents tell data from holes over all layers', async (t) => {
  await using store = await ThinStore.open({ directory: await directory(t) })
  await store.create('a', 1024 * MIB)
  await write(store, 'a', 4 * KIB, 8 * KIB, 1)
  await store.snapshot('a', 's')
  await write(store, 'a', 12 * KIB, 4 * KIB, 2)
  await using volume = await store.open('a')
  await volume.unmap(4 * KIB, 4 * KIB, CALL)
  assert.deepEqual(await volume.extents(0, 1024 * MIB, CALL), [
    { offset: 0, length: 8 * KIB, state: 'hole' },
    { offset: 8 * KIB, length: 8 * KIB, state: 'data' },
    { offset: 16 * KIB, length: 1024 * MIB - 16 * KIB, state: 'hole' },
  ])
  assert.deepEqual(await volume.extents(8 * KIB + 512, 512, CALL), [
    { offset: 8 * KIB + 512, length: 512, state: 'data' },
  ])
})

test('what is unmapped goes back to the filesystem, and what is written there again stays', async (t) => {
  const options = { directory: await directory(t) }
  await using store = await ThinStore.open(options)
  const allocated = async (): Promise<number> =>
    (await stat(join(options.directory, 'layers', '1.data'))).blocks * 512
  await store.create('a', 64 * MIB)
  await using volume = await store.open('a')
  await fill(volume, 0, 32 * MIB, 1)
  await volume.flush(CALL)
  assert.ok((await allocated()) >= 32 * MIB)
  await volume.unmap(0, 24 * MIB, CALL)
  await fill(volume, 8 * MIB, MIB, 2)
  const flush = volume.flush(CALL)
  await fill(volume, 4 * MIB, 4 * MIB, 3)
  await flush
  const racing = Array.from({ length: 6 }, (_, at) => fill(volume, at * 3 * MIB, 4 * KIB, 4 + at))
  await Promise.all(racing)
  await store.settled()
  assert.ok((await allocated()) < 18 * MIB, `${await allocated()} bytes are still allocated`)
  for (let at = 0; at < 6; at++) assert.equal(await valueAt(store, 'a', at * 3 * MIB), 4 + at)
  assert.equal(await valueAt(store, 'a', 4 * MIB, 2 * MIB), 3)
  assert.equal(await valueAt(store, 'a', 8 * MIB, MIB), 2)
  assert.equal(await valueAt(store, 'a', 16 * MIB, 8 * MIB), 0)
  assert.equal(await valueAt(store, 'a', 24 * MIB, 8 * MIB), 1)
})

test('a terabyte costs nothing until it is written', async (t) => {
  const options = { directory: await directory(t) }
  await using store = await ThinStore.open(options)
  await store.create('a', 1024 * 1024 * MIB)
  await write(store, 'a', 1024 * 1024 * MIB - 4 * KIB, 4 * KIB, 1)
  await store.snapshot('a', 's')
  await store.clone('s', 'c')
  const data = await stat(join(options.directory, 'layers', '1.data'))
  assert.ok(data.blocks * 512 <= 64 * KIB, `${data.blocks * 512} bytes are allocated`)
  await using clone = await store.open('c')
  await clone.unmap(0, clone.sizeBytes, CALL)
  assert.deepEqual(await clone.extents(0, clone.sizeBytes, CALL), [
    { offset: 0, length: clone.sizeBytes, state: 'hole' },
  ])
  assert.equal(await valueAt(store, 's', 1024 * 1024 * MIB - 4 * KIB), 1)
})
