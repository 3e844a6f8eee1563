import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { readBytes } from '@emberglass/iscsi/device'
import { NoSpaceError } from './errors.ts'
import { smallDisk } from './testing-disk.ts'
import { ThinStore } from './thin-store.ts'

const CALL = { signal: new AbortController().signal }
const BLOCK = 4096
const block = (value: number) => new Uint8Array(BLOCK).fill(value)

test('a disk without a byte left refuses changes of the catalog, writes and flushes; with room again the store goes on', async (t) => {
  const disk = smallDisk(t)
  if (disk === undefined) return
  const options = { directory: join(disk.path, 'store'), reserveBytes: 0 }
  {
    await using store = await ThinStore.open(options)
    await store.create('a', 1024 * BLOCK)
    await store.create('idle', 1024 * BLOCK)
    await using volume = await store.open('a')
    await volume.write(0, block(1), CALL)
    await volume.flush(CALL)
    await store.snapshot('a', 'before')
    // Acknowledged, and not durable yet: it has to outlive all that follows.
    await volume.write(BLOCK, block(2), CALL)
    disk.fill()
    const listed = store.list()
    for (const refused of [
      () => store.create('b', BLOCK),
      () => store.snapshot('a', 'never'),
      () => store.snapshot('idle', 'never'),
      () => store.clone('before', 'never'),
      () => store.revert('a', 'before'),
      () => store.resize('a', 2048 * BLOCK),
      () => store.delete('before'),
      () => store.delete('a'),
      async () => volume.write(500 * BLOCK, block(3), CALL),
      async () => volume.flush(CALL),
    ]) {
      await assert.rejects(refused, NoSpaceError, String(refused))
    }
    assert.deepEqual(store.list(), listed)
    assert.equal((await readBytes(volume, BLOCK, BLOCK, CALL))[0], 2)

    disk.empty()
    await store.snapshot('a', 'after')
    await volume.write(2 * BLOCK, block(4), CALL)
    await volume.flush(CALL)
    await store.clone('before', 'clone')
    await store.delete('before')
    await store.settled()
    const { errors, warnings } = await store.check({ data: true })
    assert.deepEqual([errors, warnings], [[], []])
  }
  await using store = await ThinStore.open(options)
  const contents = async (id: string) => {
    await using volume = await store.open(id)
    const bytes = await readBytes(volume, 0, 3 * BLOCK, CALL)
    return [bytes[0], bytes[BLOCK], bytes[2 * BLOCK]]
  }
  assert.deepEqual(await contents('a'), [1, 2, 4])
  assert.deepEqual(await contents('after'), [1, 2, 0])
  assert.deepEqual(await contents('clone'), [1, 0, 0])
})

test('what was acknowledged on a disk that is full when the store ends is there at the next start', async (t) => {
  const disk = smallDisk(t)
  if (disk === undefined) return
  const options = { directory: join(disk.path, 'store'), reserveBytes: 0 }
  const store = await ThinStore.open(options)
  await store.create('a', 1024 * BLOCK)
  const volume = await store.open('a')
  await volume.write(0, block(1), CALL)
  disk.fill()
  await assert.rejects(volume[Symbol.asyncDispose](), NoSpaceError)
  // Somebody who opens it meanwhile finds it as it was.
  const again = await store.open('a')
  assert.equal((await readBytes(again, 0, BLOCK, CALL))[0], 1)
  await assert.rejects(store[Symbol.asyncDispose]())
  disk.empty()
  await using next = await ThinStore.open(options)
  await using reopened = await next.open('a')
  assert.equal((await readBytes(reopened, 0, BLOCK, CALL))[0], 1)
})
