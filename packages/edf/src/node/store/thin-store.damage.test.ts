import assert from 'node:assert/strict'
import { mkdtemp, open, readdir, rm, unlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type TestContext, test } from 'node:test'
import { readBytes } from '@emberglass/iscsi/device'
import { BadBlockError } from './errors.ts'
import { BLOCK_BYTES } from './map-page.ts'
import { ThinStore } from './thin-store.ts'

const CALL = { signal: new AbortController().signal }
const VOLUME_BYTES = 1024 * 1024

async function directoryOf(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'thin-damage-'))
  t.after(() => rm(path, { recursive: true }))
  return path
}

/** A store with a volume of 64 blocks, the first of which begins with 1, and a snapshot of it. */
async function filled(directory: string): Promise<void> {
  await using store = await ThinStore.open({ directory })
  await store.create('a', VOLUME_BYTES)
  {
    await using volume = await store.open('a')
    for (let at = 0; at < 64; at++) {
      await volume.write(at * BLOCK_BYTES, new Uint8Array(BLOCK_BYTES).fill(at + 1), CALL)
    }
  }
  await store.snapshot('a', 's')
}

async function flip(directory: string, file: string, offset: number): Promise<void> {
  await using handle = await open(join(directory, 'layers', file), 'r+')
  const byte = Buffer.alloc(1)
  await handle.read(byte, 0, 1, offset)
  await handle.write(Buffer.from([(byte[0] ?? 0) ^ 4]), 0, 1, offset)
}

test('a flipped bit is found and never returned, by whatever way it is read', async (t) => {
  const directory = await directoryOf(t)
  await filled(directory)
  await flip(directory, '1.data', 5 * BLOCK_BYTES + 1000)
  for (const inlineReadBytes of [0, VOLUME_BYTES]) {
    await using store = await ThinStore.open({ directory, inlineReadBytes })
    for (const id of ['a', 's']) {
      await using volume = await store.open(id)
      const bad = { name: 'BadBlockError', id, offset: 5 * BLOCK_BYTES }
      await assert.rejects(readBytes(volume, 0, 64 * BLOCK_BYTES, CALL), bad)
      await assert.rejects(readBytes(volume, 5 * BLOCK_BYTES, 512, CALL), bad)
      assert.equal((await readBytes(volume, 4 * BLOCK_BYTES, 512, CALL))[511], 5)
    }
    const { errors } = await store.check({ data: true })
    assert.deepEqual(errors, ['block 5 of layer 1 does not have its checksum'])
  }
})

test('a write over a part of a damaged block is refused, one over all of it heals the volume', async (t) => {
  const directory = await directoryOf(t)
  await filled(directory)
  await flip(directory, '1.data', 5 * BLOCK_BYTES)
  await using store = await ThinStore.open({ directory })
  await using volume = await store.open('a')
  await assert.rejects(async () => volume.write(5 * BLOCK_BYTES, new Uint8Array(512), CALL), BadBlockError)
  await volume.write(5 * BLOCK_BYTES, new Uint8Array(BLOCK_BYTES).fill(9), CALL)
  assert.equal((await readBytes(volume, 5 * BLOCK_BYTES, 512, CALL))[0], 9)
})

test('a damaged block is put right by a copy that has its checksum, and by no other', async (t) => {
  const directory = await directoryOf(t)
  await filled(directory)
  await flip(directory, '1.data', 5 * BLOCK_BYTES)
  await using store = await ThinStore.open({ directory })
  await using snapshot = await store.open('s')
  assert.equal(await snapshot.repair(5 * BLOCK_BYTES, new Uint8Array(BLOCK_BYTES).fill(7)), false)
  assert.equal(await snapshot.repair(5 * BLOCK_BYTES, new Uint8Array(BLOCK_BYTES).fill(6)), true)
  assert.equal((await readBytes(snapshot, 5 * BLOCK_BYTES, 512, CALL))[0], 6)
  assert.deepEqual((await store.check({ data: true })).errors, [])
})

test('damage moves with the data when snapshots go, and does not become good', async (t) => {
  const directory = await directoryOf(t)
  await filled(directory)
  await flip(directory, '1.data', 5 * BLOCK_BYTES)
  await using store = await ThinStore.open({ directory, foldBytes: 0 })
  {
    await using volume = await store.open('a')
    for (let at = 6; at < 64; at++) await volume.write(at * BLOCK_BYTES, new Uint8Array(BLOCK_BYTES), CALL)
    for (let at = 70; at < 170; at++) await volume.write(at * BLOCK_BYTES, new Uint8Array(BLOCK_BYTES), CALL)
  }
  await store.delete('s')
  await store.settled()
  assert.equal((await readdir(join(directory, 'layers'))).filter((name) => name.endsWith('.data')).length, 1)
  await using volume = await store.open('a')
  await assert.rejects(readBytes(volume, 5 * BLOCK_BYTES, 512, CALL), BadBlockError)
  assert.equal((await readBytes(volume, 4 * BLOCK_BYTES, 512, CALL))[0], 5)
})

test('a checksum that is lost makes its block unreadable, not unchecked', async (t) => {
  const directory = await directoryOf(t)
  await filled(directory)
  await unlink(join(directory, 'layers', '1.sums'))
  await using store = await ThinStore.open({ directory })
  await using volume = await store.open('a')
  await assert.rejects(readBytes(volume, 0, 512, CALL), BadBlockError)
})

test('a store of the first format is taken over, and gets checksums as it is written', async (t) => {
  const directory = await directoryOf(t)
  await filled(directory)
  {
    using db = new DatabaseSync(join(directory, 'catalog.sqlite'))
    db.exec('ALTER TABLE layers DROP COLUMN summed; PRAGMA user_version = 1')
  }
  for (const name of await readdir(join(directory, 'layers'))) {
    if (/sums|marks/.test(name)) await unlink(join(directory, 'layers', name))
  }
  {
    await using store = await ThinStore.open({ directory })
    await using volume = await store.open('a')
    assert.equal((await readBytes(volume, 5 * BLOCK_BYTES, 512, CALL))[0], 6)
    await volume.write(5 * BLOCK_BYTES, new Uint8Array(512).fill(77), CALL)
    await volume.flush(CALL)
  }
  await using store = await ThinStore.open({ directory })
  await store.delete('s')
  await store.settled()
  await using volume = await store.open('a')
  const bytes = await readBytes(volume, 5 * BLOCK_BYTES, BLOCK_BYTES, CALL)
  assert.deepEqual([bytes[0], bytes[4095]], [77, 6])
  assert.equal((await readBytes(volume, 63 * BLOCK_BYTES, 512, CALL))[0], 64)
  assert.deepEqual((await store.check({ data: true })).errors, [])
})
