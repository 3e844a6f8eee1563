import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { type Bytes, KiB, MiB } from '../../kernel/bytes.ts'
import { uncancelled } from '../../kernel/call.ts'
import { BackendError, Invalid, Misconfigured, NoCapacity } from '../../kernel/errors.ts'
import { imageStoreConformance } from '../image-store.conformance.ts'
import { FileStore } from './file.ts'

async function directoryStore(options: { thinProvisioning: boolean } = { thinProvisioning: false }) {
  const directory = await mkdtemp(join(tmpdir(), 'file-store-'))
  const open = async () => {
    const store = new FileStore({
      directories: [{ path: directory, priority: 0 }],
      chunkBytes: 65_536,
      fileMode: undefined,
      ...options,
    })
    await store.start()
    return store
  }
  return {
    directory,
    store: await open(),
    restart: open,
    leftovers: () => readdir(directory),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  }
}

imageStoreConformance('file store', directoryStore)
imageStoreConformance('file store, thin', () => directoryStore({ thinProvisioning: true }))

async function* repeated(chunk: Uint8Array, times: number): Bytes {
  for (let index = 0; index < times; index += 1) yield new Uint8Array(chunk)
}

test('a thin file takes no space for zeroes and has the right length', async () => {
  await using subject = await directoryStore({ thinProvisioning: true })
  const { location, sizeBytes } = await subject.store.put(
    randomUUID(),
    repeated(new Uint8Array(MiB), 32),
    undefined,
    uncancelled(),
  )
  assert.equal(sizeBytes, 32 * MiB)
  const { size, blocks } = await stat(new URL(location))
  assert.equal(size, 32 * MiB)
  assert.ok(blocks * 512 < MiB, `${blocks} blocks are allocated`)
})

test('a thin file has its data where it was, whatever pieces it came in', async () => {
  await using subject = await directoryStore({ thinProvisioning: true })
  const image = Buffer.alloc(3 * MiB + 100)
  for (const [start, end] of [
    [0, 10],
    [200 * KiB, 201 * KiB],
    [MiB - 1, MiB + 1],
    [2 * MiB, 2 * MiB + 512 * KiB],
    [3 * MiB + 99, 3 * MiB + 100],
  ] as const) {
    image.fill(7, start, end)
  }
  for (const pieceBytes of [MiB, 64 * KiB, 100_000, 5 * MiB]) {
    const pieces = async function* () {
      for (let at = 0; at < image.byteLength; at += pieceBytes)
        yield Buffer.from(image.subarray(at, at + pieceBytes))
    }
    const { location } = await subject.store.put(randomUUID(), pieces(), undefined, uncancelled())
    assert.ok((await readFile(new URL(location))).equals(image), `in pieces of ${pieceBytes} bytes`)
    const { blocks } = await stat(new URL(location))
    assert.ok(blocks * 512 < 2 * MiB, `${blocks} blocks are allocated in pieces of ${pieceBytes} bytes`)
  }
})

test('a location outside the directory is refused, also through a link', async () => {
  await using subject = await directoryStore()
  await using other = await directoryStore()
  const secret = join(other.directory, 'secret')
  await writeFile(secret, 'secret')
  await symlink(secret, join(subject.directory, 'link'))
  const read = async (path: string) => {
    for await (const _ of subject.store.get(pathToFileURL(path).href, undefined, uncancelled())) return
  }
  await assert.rejects(read(secret), Invalid)
  await assert.rejects(read(join(subject.directory, '..', 'x')), Invalid)
  await assert.rejects(read(join(subject.directory, 'link')), BackendError)
})

test('a full disk is NoCapacity and leaves nothing', async (t) => {
  const full = await stat('/dev/full').catch(() => undefined)
  if (full === undefined) {
    t.skip('the machine has no /dev/full')
    return
  }
  await using subject = await directoryStore()
  const { writeFile: writeStream } = await import('./file-writer.ts')
  const { open } = await import('node:fs/promises')
  await using device = await open('/dev/full', 'r+')
  await assert.rejects(
    writeStream(device, repeated(new Uint8Array(MiB), 4), uncancelled(), { zeroChunkBytes: undefined }),
    { code: 'ENOSPC' },
  )
  async function* noSpace(): Bytes {
    yield new Uint8Array(10)
    throw new NoCapacity('full')
  }
  await assert.rejects(subject.store.put(randomUUID(), noSpace(), undefined, uncancelled()), NoCapacity)
  assert.deepEqual(await subject.leftovers(), [])
})

test('a directory that cannot be made is a clear misconfiguration', async () => {
  const store = new FileStore({
    directories: [{ path: '/dev/null/images', priority: 0 }],
    thinProvisioning: false,
    chunkBytes: 65_536,
    fileMode: undefined,
  })
  await assert.rejects(store.start(), Misconfigured)
})

test('several directories fill by priority', async () => {
  await using low = await directoryStore()
  await using high = await directoryStore()
  const store = new FileStore({
    directories: [
      { path: low.directory, priority: 1 },
      { path: high.directory, priority: 200 },
    ],
    thinProvisioning: false,
    chunkBytes: 65_536,
    fileMode: 0o640,
  })
  await store.start()
  const { location } = await store.put(randomUUID(), repeated(new Uint8Array(10), 1), 10, uncancelled())
  assert.ok(location.startsWith(pathToFileURL(high.directory).href))
  assert.equal((await stat(new URL(location))).mode & 0o777, 0o640)
})
