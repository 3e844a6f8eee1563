import assert from 'node:assert/strict'
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import { deflateSync, inflateSync } from 'node:zlib'
import { MemoryDevice, readBytes } from '@emberglass/iscsi'
import { MiB } from '../../../kernel/bytes.ts'
import { uncancelled } from '../../../kernel/call.ts'
import { BackendError } from '../../../kernel/errors.ts'
import type { NewBackup, StoredBackup } from '../../backup-driver.ts'
import { chunkedBackupDriver } from '../chunked/chunked.ts'
import { BackupArray, initiatorName } from './datera.test-support.ts'
import { DateraBlobStore } from './store.ts'

const call = { ...uncancelled(), onProgress: () => {} }
let started: Promise<BackupArray> | undefined

after(async () => await (await started)?.[Symbol.asyncDispose]())

async function onArray() {
  started ??= BackupArray.start()
  const array = await started
  const tenant = array.nextTenant()
  const settings = array.settings({ tenant })
  const driver = chunkedBackupDriver(new DateraBlobStore(settings, { initiatorName }), settings)
  await driver.start(call)
  return { array, tenant, driver, [Symbol.asyncDispose]: () => driver[Symbol.asyncDispose]() }
}

const md5 = (bytes: Uint8Array) => createHash('md5').update(bytes).digest('hex')

/** An object as version 1 of Datera's driver writes it. @see datera-drivers specification 5.1 */
function objectOfVersionOne(number: number, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(50)
  head.writeInt32LE(number, 0)
  head.writeBigUInt64LE(BigInt(payload.byteLength), 8)
  head.write(md5(payload), 16, 'latin1')
  const padding = payload.byteLength <= 1024 ? [Buffer.alloc(8), randomBytes(5120)] : []
  return Buffer.concat([head, payload, ...padding])
}

/** Bytes of a volume in one object of version 1: as with its GiB less fifty bytes, no multiple of a block. */
const chunkBytes = 100_000 - 50
const volumeBytes = 294_912

/** Writes what version 1 would write of some chunks of a volume, in its order and without uuids. */
async function writeVersionOne(
  { array, tenant }: { array: BackupArray; tenant: string },
  bytes: Uint8Array,
  changes: { parentId?: string; only?: readonly number[]; numberOf?: (index: number) => number } = {},
): Promise<StoredBackup> {
  const id = randomUUID()
  const { client } = await array.connected()
  const volumes = [
    { name: 'volume-1', size: 1, placement_mode: 'hybrid' as const, replica_count: 1, snapshot_policies: [] },
  ]
  const container = await client.in(tenant).appInstances.create(
    {
      create_mode: 'openstack',
      name: `BACKUP-${id}`,
      access_control_mode: 'deny_all',
      storage_instances: [{ name: 'storage-1', volumes }],
    },
    call,
  )
  const facts = {
    version: '1.0.0',
    backup_id: id,
    volume_id: randomUUID(),
    backup_name: 'old',
    backup_description: null,
    created_at: '2018-05-01 00:00:00+00:00',
  }
  const chunks = Array.from({ length: Math.ceil(bytes.byteLength / chunkBytes) }, (_, chunk) =>
    bytes.subarray(chunk * chunkBytes, (chunk + 1) * chunkBytes),
  )
  const objects: object[] = []
  for (const [chunk, data] of chunks.entries()) {
    if (changes.only?.includes(chunk) === false) continue
    const number = objects.length + 1
    const deflated = deflateSync(data)
    const shrinks = deflated.byteLength < data.byteLength
    const stored = objectOfVersionOne(changes.numberOf?.(number) ?? number, shrinks ? deflated : data)
    await array.freeze(tenant, container, stored)
    const compression = shrinks ? 'zlib' : 'none'
    const entry = { offset: chunk * chunkBytes, length: data.byteLength, compression, md5: md5(data) }
    objects.push({ [`DAT-${String(number).padStart(5, '0')}`]: entry })
  }
  const sha256s = chunks.map((data) => createHash('sha256').update(data).digest('hex'))
  const digests = { ...facts, chunk_size: chunkBytes, sha256s }
  await array.freeze(tenant, container, objectOfVersionOne(-2, Buffer.from(JSON.stringify(digests))))
  const volume_meta = JSON.stringify({ version: 2, 'volume-metadata': {} })
  const metadata = { ...facts, objects, parent_id: changes.parentId ?? null, volume_meta }
  await array.freeze(tenant, container, objectOfVersionOne(-1, Buffer.from(JSON.stringify(metadata))))
  return {
    id,
    name: facts.backup_name,
    description: undefined,
    volumeId: facts.volume_id,
    sizeBytes: bytes.byteLength,
    createdAt: '2018-05-01T00:00:00.000Z',
    container: `BACKUP-${id}`,
    prefix: 'DAT',
    encrypted: false,
    metadataSha256: undefined,
  }
}

test('what version 1 has written is restored: a full backup and an increment of it', async () => {
  await using at = await onArray()
  const before = Buffer.concat([randomBytes(150_000), Buffer.alloc(volumeBytes - 150_000)])
  const bytes = Buffer.from(before)
  bytes.set(randomBytes(5_000), 120_000)
  const full = await writeVersionOne(at, before)
  const increment = await writeVersionOne(at, bytes, { parentId: full.id, only: [1] })
  await at.driver.find(increment, call)
  for (const [chain, expected] of [
    [[full], before],
    [[full, increment], bytes],
  ] as const) {
    const into = new MemoryDevice(volumeBytes)
    const facts = await at.driver.restore(chain, into, { targetIsZeroed: true }, call)
    assert.equal(facts.length, chain.length)
    assert.ok(expected.equals(await readBytes(into, 0, volumeBytes, call)))
  }
  await at.driver.delete(increment, call)
  await at.driver.delete(full, call)
  assert.deepEqual(await at.array.appInstances(at.tenant), [])
})

test('an object of version 1 in the place of another one is refused, and named', async () => {
  await using at = await onArray()
  const swapped = await writeVersionOne(at, randomBytes(volumeBytes), { numberOf: (number) => 4 - number })
  await assert.rejects(at.driver.verify([swapped], call), (error) => {
    assert.ok(error instanceof BackendError)
    assert.match(error.message, /^Object DAT-00001 .* is damaged: it is number 3, not 1/)
    return true
  })
  await at.driver.delete(swapped, call)
})

test('what we write is read by the rules of version 1: objects by order, header, payload, both documents', async () => {
  await using at = await onArray()
  const device = new MemoryDevice(MiB)
  device.write(0, randomBytes(64_000 & ~511), call)
  device.write(300_032, Buffer.alloc(100_352, 'text '), call)
  const bytes = Buffer.from(await readBytes(device, 0, MiB, call))
  const plan = {
    id: randomUUID(),
    name: 'new',
    description: undefined,
    volumeId: randomUUID(),
    sizeBytes: MiB,
    createdAt: '2026-11-29T01:02:03.456Z',
    container: undefined,
  }
  const stored: NewBackup = {
    ...plan,
    ...at.driver.place(plan),
    metadataSha256: undefined,
    parent: undefined,
    volumeMetadata: '{"version": 2}',
  }
  const { objectCount } = await at.driver.backup(stored, { device }, call)

  const container = await at.array.containerOf(at.tenant, stored)
  assert.equal(container.create_mode, 'openstack')
  assert.equal(container.admin_state, 'offline', 'nobody uses it')
  const [storageInstance] = container.storage_instances
  assert.equal(storageInstance?.name, 'storage-1')
  assert.deepEqual(storageInstance?.acl_policy?.initiators ?? [], [])
  assert.equal(storageInstance?.volumes[0]?.name, 'volume-1')
  assert.equal(storageInstance?.volumes[0]?.size, 1)

  const frozen = await at.array.frozen(at.tenant, container, 256 * 1024)
  assert.equal(frozen.length, objectCount + 2)
  const payloads = frozen.map((object, index) => {
    const number = index < objectCount ? index + 1 : index - frozen.length
    assert.equal(object.readInt32LE(0), number)
    const payload = object.subarray(50, 50 + Number(object.readBigUInt64LE(8)))
    assert.equal(object.toString('latin1', 16, 48), md5(payload))
    return payload
  })
  const metadata = JSON.parse(String(payloads.at(-1)))
  const digests = JSON.parse(String(payloads.at(-2)))
  for (const document of [metadata, digests]) {
    assert.equal(document.version, '1.0.0')
    assert.equal(document.backup_id, plan.id)
    assert.equal(document.volume_id, plan.volumeId)
    assert.equal(document.backup_name, 'new')
  }
  const restored = Buffer.alloc(MiB)
  for (const [index, entry] of metadata.objects.entries()) {
    const { offset, length, compression, md5: expected } = entry[`DAT-0000${index + 1}`]
    const payload = payloads[index] ?? Buffer.alloc(0)
    const plain = compression === 'zlib' ? inflateSync(payload) : payload
    assert.equal(plain.byteLength, length)
    assert.equal(md5(plain), expected)
    restored.set(plain, offset)
  }
  assert.ok(restored.equals(bytes))
  const sha256s = Array.from({ length: MiB / digests.chunk_size }, (_, block) =>
    createHash('sha256')
      .update(bytes.subarray(block * digests.chunk_size, (block + 1) * digests.chunk_size))
      .digest('hex'),
  )
  assert.deepEqual(digests.sha256s, sha256s)
  await at.driver.delete(stored, call)
})
