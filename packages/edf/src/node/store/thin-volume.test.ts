import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { readBytes } from '@emberglass/iscsi/device'
import { NoSpaceError, VolumeFailedError } from './errors.ts'
import { LayerFiles } from './layer-files.ts'
import { ThinStore, type ThinStoreOptions } from './thin-store.ts'
import type { ThinVolume } from './thin-volume.ts'

const CALL = { signal: new AbortController().signal }
const KIB = 1024

/** A volume of 1 MiB in a store of its own. */
async function volumeOf(
  t: TestContext,
  options: Omit<ThinStoreOptions, 'directory'> = {},
): Promise<ThinVolume> {
  const directory = await mkdtemp(join(tmpdir(), 'thin-volume-'))
  t.after(() => rm(directory, { recursive: true }))
  const store = await ThinStore.open({ directory, ...options })
  t.after(() => store[Symbol.asyncDispose]().catch(() => undefined))
  await store.create('a', 1024 * KIB)
  return await store.open('a')
}

/** Notes the calls that reach the disk, in order. */
function callsOf(t: TestContext): string[] {
  const calls: string[] = []
  for (const name of ['write', 'syncData', 'writePage', 'syncMap'] as const) {
    const original: (this: LayerFiles, ...parameters: never[]) => unknown = LayerFiles.prototype[name]
    t.mock.method(LayerFiles.prototype, name, function (this: LayerFiles, ...parameters: never[]) {
      calls.push(name)
      return original.apply(this, parameters)
    })
  }
  return calls
}

function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: made up`), { code })
}

test('a flush makes data durable before the map tells of it, and leaves the map alone when it tells already', async (t) => {
  const volume = await volumeOf(t)
  const calls = callsOf(t)
  await volume.write(0, new Uint8Array(4 * KIB), CALL)
  await volume.flush(CALL)
  assert.deepEqual(calls.splice(0), ['write', 'syncData', 'writePage', 'syncMap'])
  await volume.write(512, new Uint8Array(512), CALL)
  await volume.flush(CALL)
  assert.deepEqual(calls.splice(0), ['write', 'syncData'])
  await volume.flush(CALL)
  assert.deepEqual(calls, [])
})

test('flushes that come while one runs share the next', async (t) => {
  const volume = await volumeOf(t)
  const calls = callsOf(t)
  const flushes: Promise<void>[] = []
  for (let at = 0; at < 50; at++) {
    await volume.write(at * 512, new Uint8Array(512), CALL)
    flushes.push(volume.flush(CALL))
  }
  await Promise.all(flushes)
  const syncs = calls.filter((call) => call === 'syncData').length
  assert.ok(syncs >= 1 && syncs < 25, `${syncs} syncs for 50 flushes`)
})

test('neighbours in one block, written at once through the thread pool, both stay', async (t) => {
  const volume = await volumeOf(t, { inlineWriteBytes: 0, inlineReadBytes: 0 })
  const writes = []
  for (let at = 0; at < 64; at++) writes.push(volume.write(at * 512, new Uint8Array(512).fill(at + 1), CALL))
  writes.push(volume.write(64 * 512 - 512 + 512, new Uint8Array(3 * KIB + 512).fill(99), CALL))
  await Promise.all(writes)
  const bytes = await readBytes(volume, 0, 36 * KIB, CALL)
  for (let at = 0; at < 64; at++) assert.equal(bytes[at * 512 + 511], at + 1)
  assert.equal(bytes[64 * 512], 99)
})

test('a volume that could not be made durable accepts nothing more until it is opened again', async (t) => {
  const volume = await volumeOf(t)
  await volume.write(0, new Uint8Array(4 * KIB).fill(1), CALL)
  const failing = t.mock.method(LayerFiles.prototype, 'syncData', async () => {
    throw systemError('EIO')
  })
  await assert.rejects(volume.flush(CALL), VolumeFailedError)
  failing.mock.restore()
  await assert.rejects(volume.flush(CALL), VolumeFailedError)
  await assert.rejects(async () => volume.write(0, new Uint8Array(512), CALL), VolumeFailedError)
})

test('a filesystem that is full after all refuses the write, and the volume goes on', async (t) => {
  for (const inlineWriteBytes of [0, 64 * KIB]) {
    const volume = await volumeOf(t, { inlineWriteBytes })
    await volume.write(0, new Uint8Array(4 * KIB).fill(1), CALL)
    const full = t.mock.method(LayerFiles.prototype, inlineWriteBytes === 0 ? 'writeLater' : 'write', () => {
      throw systemError('ENOSPC')
    })
    await assert.rejects(async () => volume.write(0, new Uint8Array(8 * KIB).fill(2), CALL), NoSpaceError)
    full.mock.restore()
    assert.deepEqual(await readBytes(volume, 4 * KIB, 4 * KIB, CALL), new Uint8Array(4 * KIB))
    await volume.write(4 * KIB, new Uint8Array(512).fill(3), CALL)
    await volume.flush(CALL)
    assert.deepEqual((await readBytes(volume, 4 * KIB, 1 * KIB, CALL))[600], 0)
  }
})
