import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { MemoryDevice, readBytes } from '@emberglass/iscsi/device'
import { KiB, MiB } from '../../kernel/bytes.ts'
import { uncancelled } from '../../kernel/call.ts'
import { Invalid, Misconfigured } from '../../kernel/errors.ts'
import {
  backupDriverCases,
  backupDriverConformance,
  runBackupDriverCase,
} from '../backup-driver.conformance.ts'
import type { StoredBackup } from '../backup-driver.ts'
import { chunkedBackupDriver } from './chunked/chunked.ts'
import type { ChunkedSettings } from './chunked/options.ts'
import { MemoryBlobStore } from './memory.ts'
import { PosixBlobStore } from './posix-store.ts'

const call = { ...uncancelled(), onProgress: () => {} }
const plain: ChunkedSettings = { compression: 'zlib', encryptionKeyFile: undefined }

function memoryFixture(settings: ChunkedSettings) {
  return async () => {
    const store = new MemoryBlobStore({ chunkBytes: 2 * MiB, blockBytes: 32 * KiB })
    return {
      driver: chunkedBackupDriver(store, settings),
      reopen: async () => chunkedBackupDriver(store, settings),
      leftovers: async () => [...store.blobs.keys()],
      objects: async ({ prefix }: StoredBackup) =>
        [...store.blobs.keys()].flatMap((key) => key.split('/').filter((name) => name.startsWith(prefix))),
      async flip({ container }: StoredBackup, name: string) {
        const blob = store.blobs.get(`${container}/${name}`)
        assert.ok(blob !== undefined)
        const at = Math.floor(blob.byteLength / 2)
        blob[at] = (blob[at] ?? 0) ^ 4
      },
      [Symbol.asyncDispose]: async () => {},
    }
  }
}

backupDriverConformance('memory', memoryFixture(plain))

for (const compression of ['none', 'zstd', 'bz2'] as const) {
  const cases = backupDriverCases.filter(({ name }) => /^(a full backup|a flipped bit)/.test(name))
  for (const one of cases) {
    test(`memory, ${compression}: ${one.name}`, async () => {
      await runBackupDriverCase(one, memoryFixture({ ...plain, compression }))
    })
  }
}

backupDriverConformance('memory, encrypted', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'emberglass-key-'))
  const encryptionKeyFile = join(directory, 'key')
  await writeFile(encryptionKeyFile, randomBytes(32).toString('hex'))
  const fixture = await memoryFixture({ compression: 'zlib', encryptionKeyFile })()
  return { ...fixture, [Symbol.asyncDispose]: () => rm(directory, { recursive: true }) }
})

async function posixFixture() {
  const root = await mkdtemp(join(tmpdir(), 'emberglass-posix-'))
  const store = () =>
    new PosixBlobStore({
      directory: async () => root,
      chunkBytes: 2 * MiB,
      blockBytes: 32 * KiB,
      container: undefined,
      mayCreate: true,
    })
  return {
    root,
    driver: chunkedBackupDriver(store(), plain),
    reopen: async () => chunkedBackupDriver(store(), plain),
    leftovers: async () => await readdir(root, { recursive: true }),
    objects: async ({ container }: StoredBackup) => await readdir(join(root, container)),
    async flip({ container }: StoredBackup, name: string) {
      const bytes = await readFile(join(root, container, name))
      const at = Math.floor(bytes.byteLength / 2)
      bytes[at] = (bytes[at] ?? 0) ^ 4
      await writeFile(join(root, container, name), bytes)
    },
    [Symbol.asyncDispose]: () => rm(root, { recursive: true }),
  }
}

backupDriverConformance('posix', posixFixture)

function planOf(sizeBytes: number, container?: string) {
  return {
    id: randomUUID(),
    name: undefined,
    description: undefined,
    volumeId: randomUUID(),
    sizeBytes,
    createdAt: '2026-11-29T01:02:03.456Z',
    container,
  }
}

test('a directory of backups lies as Cinder would put it, and no container leads out of it', async () => {
  await using fixture = await posixFixture()
  await fixture.driver.start(call)
  const plan = planOf(MiB)
  const { container, prefix } = fixture.driver.place(plan)
  assert.equal(container, `${plan.id.slice(0, 2)}/${plan.id.slice(2, 4)}/${plan.id}`)
  assert.equal(prefix, `volume_${plan.volumeId}_20261129010203_backup_${plan.id}`)
  for (const bad of ['../x', '/etc', 'a/../../b', '.', '..']) {
    assert.throws(() => fixture.driver.place(planOf(MiB, bad)), Invalid, bad)
  }
})

test('what is encrypted shows nothing, and another key is told apart from damage', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'emberglass-key-'))
  const keyFile = async (name: string) => {
    await writeFile(join(directory, name), randomBytes(32))
    return join(directory, name)
  }
  const store = new MemoryBlobStore({ chunkBytes: MiB, blockBytes: 32 * KiB })
  const open = async (encryptionKeyFile: string | undefined) => {
    const driver = chunkedBackupDriver(store, { compression: 'none', encryptionKeyFile })
    await driver.start(call)
    return driver
  }
  const driver = await open(await keyFile('one'))
  const device = new MemoryDevice(2 * MiB + 512)
  const secret = Buffer.from('a word that must not be found'.padEnd(512, '.'))
  device.write(0, secret, call)
  const plan = planOf(device.sizeBytes)
  const backup = { ...plan, ...driver.place(plan), metadataSha256: undefined }
  const source = { device }
  const made = await driver.backup({ ...backup, parent: undefined, volumeMetadata: '{}' }, source, call)
  for (const blob of store.blobs.values()) {
    for (const text of ['must not be found', plan.volumeId]) assert.ok(!Buffer.from(blob).includes(text))
  }
  const stored = { ...backup, ...made }
  await assert.rejects((await open(await keyFile('other'))).verify([stored], call), Misconfigured)
  await assert.rejects((await open(undefined)).verify([stored], call), Misconfigured)
  // a blob in another one's place, or cut short between two frames, is not taken
  const [one, two] = [...store.blobs.keys()].filter((key) => /-0000[12]$/.test(key))
  assert.ok(one !== undefined && two !== undefined)
  const [first, second] = [store.blobs.get(one), store.blobs.get(two)]
  assert.ok(first !== undefined && second !== undefined)
  store.blobs.set(one, second)
  await assert.rejects(driver.verify([stored], call), /cannot be decrypted/)
  store.blobs.set(one, first.subarray(0, 32 + 512 * KiB))
  await assert.rejects(driver.verify([stored], call), /cannot be decrypted/)
  await rm(directory, { recursive: true })
})

test('a sha256file of any form is read, and one with another chunk size refuses increments', async () => {
  const store = new MemoryBlobStore({ chunkBytes: MiB, blockBytes: 32 * KiB })
  const coarse = new MemoryBlobStore({ chunkBytes: 16 * KiB, blockBytes: 16 * KiB })
  const device = new MemoryDevice(MiB)
  const driver = chunkedBackupDriver(store, plain)
  const plan = planOf(MiB)
  const full = { ...plan, ...driver.place(plan), metadataSha256: undefined }
  await driver.backup({ ...full, parent: undefined, volumeMetadata: '{}' }, { device }, call)
  for (const [name, blob] of store.blobs) coarse.blobs.set(name, blob)
  const other = chunkedBackupDriver(coarse, plain)
  const next = planOf(MiB)
  const increment = { ...next, ...other.place(next), metadataSha256: undefined, volumeMetadata: '{}' }
  await assert.rejects(
    other.backup({ ...increment, parent: full }, { device }, call),
    /Hash block size has changed.*Do a full backup/,
  )
  assert.equal((await readBytes(device, 0, 512, call)).byteLength, 512)
})
