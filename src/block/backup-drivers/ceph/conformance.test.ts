import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import { MemoryDevice, readBytes } from '@emberglass/iscsi/device'
import { CephCluster } from '../../../ceph/cluster.ts'
import { RbdDevice } from '../../../ceph/device.ts'
import { RadosObjects } from '../../../ceph/objects.ts'
import type { RbdPool } from '../../../ceph/pool.ts'
import { testCeph } from '../../../ceph/testing.ts'
import { type Bytes, MiB } from '../../../kernel/bytes.ts'
import { uncancelled } from '../../../kernel/call.ts'
import { defaultsOf } from '../../../kernel/config/options.ts'
import { type BackupDriverFixture, backupDriverConformance } from '../../backup-driver.conformance.ts'
import type { NewBackup, StoredBackup } from '../../backup-driver.ts'
import { unitBytes } from './blocks.ts'
import { digestsName } from './documents.ts'
import { CephBackupDriver } from './driver.ts'
import { baseIn, factsName, snapshotName } from './naming.ts'
import { type CephBackupSettings, cephBackupOptions } from './options.ts'

const call = uncancelled()
const stack = new AsyncDisposableStack()
after(() => stack.disposeAsync())

/** Making a pool takes seconds: every test leaves these empty. */
const shared = (async () => {
  const ceph = await testCeph()
  const own = stack.use(await ceph.pool())
  const asked = stack.use(await ceph.pool())
  const cluster = stack.use(await CephCluster.connect(ceph.settings, call))
  const pools = await Promise.all([own, asked].map(({ name }) => cluster.pool(name, call)))
  return { ceph, own, asked, pools }
})()
shared.catch(() => {}) // each test awaits it

function driverOn(configurationFile: string, pool: string, changes: Partial<CephBackupSettings> = {}) {
  const where = { configurationFile, user: 'admin', pool }
  return new CephBackupDriver({ ...defaultsOf(cephBackupOptions), ...where, ...changes })
}

async function onCeph(): Promise<BackupDriverFixture> {
  const { ceph, own, asked, pools } = await shared
  const { configurationFile } = ceph.settings
  const open = () => driverOn(configurationFile, own.name, { discardExcessBytes: false })
  const driver = open()
  const poolOf = ({ container }: StoredBackup) => {
    const pool = pools.find(({ name }) => name === container)
    assert.ok(pool !== undefined)
    return pool
  }
  return {
    driver,
    reopen: async () => open(),
    container: asked.name,
    async leftovers() {
      const names = await Promise.all(pools.map(async (pool) => [...(await pool.names(call))]))
      const objects = await Promise.all(pools.map(({ name }) => ceph.rados('-p', name, 'ls')))
      const documents = objects.flatMap((list) => list.split('\n')).filter((name) => /^backup\./.test(name))
      return [...names.flat(), ...documents]
    },
    objects: async (backup) => [
      `0 of ${backup.container}/${baseIn(backup.prefix)}`,
      `1 of ${backup.container}/${baseIn(backup.prefix)}`,
      factsName(backup.id),
      digestsName(backup.id),
    ],
    async flip(backup, name) {
      const unit = /^(\d) of /.exec(name)?.[1]
      if (unit === undefined) await flipObject(poolOf(backup), name)
      else await flipImage(poolOf(backup), backup, Number(unit))
    },
    [Symbol.asyncDispose]: () => driver[Symbol.asyncDispose](),
  }
}

async function flipObject(pool: RbdPool, name: string): Promise<void> {
  const objects = new RadosObjects(pool)
  const parts: Uint8Array[] = []
  for await (const part of objects.read(name, call)) parts.push(part)
  const bytes = Buffer.concat(parts)
  bytes[bytes.byteLength >> 1] = (bytes[bytes.byteLength >> 1] ?? 0) ^ 1
  async function* once(): Bytes {
    yield bytes
  }
  await objects.write(name, once(), call)
}

/** A snapshot cannot be written to: it is taken again, of an image with the bit flipped. */
async function flipImage(pool: RbdPool, backup: StoredBackup, unit: number): Promise<void> {
  const base = baseIn(backup.prefix)
  assert.ok(base !== undefined)
  await using image = await pool.open(base, { readOnly: false }, call)
  const snapshot = snapshotName(backup.id, backup.createdAt)
  await image.removeSnapshot(snapshot, call)
  const device = new RbdDevice(image)
  const offset = unit === 0 ? 0 : Math.min(backup.sizeBytes, (unit + 1) * unitBytes) - 512
  const block = await readBytes(device, offset, 512, call)
  block[7] = (block[7] ?? 0) ^ 1
  await device.write(offset, block, call)
  await device.flush(call)
  await image.createSnapshot(snapshot, call)
}

backupDriverConformance('ceph', onCeph)

const sizeBytes = 6 * MiB
const progress = { ...call, onProgress: () => {} }

function planOf(driver: CephBackupDriver, volumeId: string, parent?: StoredBackup): NewBackup {
  const facts = { name: undefined, description: undefined, container: undefined }
  const plan = { id: randomUUID(), volumeId, sizeBytes, createdAt: new Date().toISOString(), ...facts }
  const volumeMetadata = JSON.stringify({ version: 2 })
  return { ...plan, ...driver.place(plan, parent), metadataSha256: undefined, parent, volumeMetadata }
}

async function bytesOf(driver: CephBackupDriver, backup: StoredBackup): Promise<Uint8Array> {
  const into = new MemoryDevice(sizeBytes)
  await driver.restore([backup], into, { targetIsZeroed: true }, progress)
  return await readBytes(into, 0, sizeBytes, call)
}

test('ceph: increments lie as snapshots of one image, as Cinder has them, and one that was removed leaves no trace', async () => {
  const { ceph, own } = await shared
  await using driver = driverOn(ceph.settings.configurationFile, own.name, {
    ...{ imageJournals: true, stripeUnitBytes: 65_536, stripeCount: 4 },
  })
  await driver.start(call)
  const volumeId = randomUUID()
  const device = new MemoryDevice(sizeBytes)
  device.write(0, randomBytes(MiB), call)
  const keep = async (parent?: StoredBackup, changed?: { offset: number; length: number }[]) => {
    const plan = planOf(driver, volumeId, parent)
    return { ...plan, ...(await driver.backup(plan, { device, changed }, progress)) }
  }
  const full = await keep()
  const image = `${own.name}/volume-${volumeId}.backup.${full.id}`
  assert.equal(full.prefix, JSON.stringify({ base: `volume-${volumeId}.backup.${full.id}` }))
  const info = JSON.parse(await ceph.rbd('info', '--format', 'json', image))
  assert.ok(info.features.includes('journaling'))
  assert.deepEqual([info.stripe_unit, info.stripe_count], [65_536, 4])

  const before = await readBytes(device, 0, sizeBytes, call)
  device.write(4 * MiB, randomBytes(4096), call)
  const removed = await keep(full)
  device.write(4 * MiB, before.subarray(4 * MiB, 4 * MiB + 4096), call) // as it was before
  device.write(5 * MiB, randomBytes(4096), call)
  await driver.delete(removed, call)
  const next = await keep(full, [{ offset: 5 * MiB, length: 4096 }])
  assert.ok(Buffer.compare(await bytesOf(driver, next), await readBytes(device, 0, sizeBytes, call)) === 0)
  assert.ok(Buffer.compare(await bytesOf(driver, full), before) === 0)
  const snapshots: { name: string }[] = JSON.parse(await ceph.rbd('snap', 'ls', '--format', 'json', image))
  assert.deepEqual(
    snapshots.map(({ name }) => name.replace(/\.snap\.\d+\.\d\d$/, '')),
    [full, next].map(({ id }) => `backup.${id}`),
  )
  await driver.delete(next, call)
  await driver.delete(full, call)
})

test("ceph: what Cinder's driver has made is restored, and is a parent for increments", async () => {
  const { ceph, own, pools } = await shared
  const [pool] = pools
  assert.ok(pool !== undefined)
  await using driver = driverOn(ceph.settings.configurationFile, own.name)
  await driver.start(call)
  const device = new MemoryDevice(sizeBytes)
  device.write(MiB, randomBytes(MiB), call)
  const bytes = await readBytes(device, 0, sizeBytes, call)
  const volumeId = randomUUID()
  const theirs = planOf(driver, volumeId)
  const base = `volume-${volumeId}.backup.base`
  await pool.create(base, sizeBytes, {}, call)
  {
    await using image = await pool.open(base, { readOnly: false }, call)
    const target = new RbdDevice(image)
    await target.write(0, bytes, call)
    await target.flush(call)
    await image.createSnapshot(`backup.${theirs.id}.snap.1700000000.12`, call)
  }
  const record = { ...theirs, prefix: '' } // an old record names no image
  await driver.find(record, call)
  assert.ok(Buffer.compare(await bytesOf(driver, record), bytes) === 0)
  const onTheirs = { ...record, prefix: JSON.stringify({ base }) }
  const plan = planOf(driver, volumeId, onTheirs)
  device.write(0, randomBytes(512), call)
  const { objectCount, metadataSha256 } = await driver.backup(plan, { device }, progress)
  assert.equal(objectCount, 1)
  const increment = { ...plan, metadataSha256 }
  assert.ok(
    Buffer.compare(await bytesOf(driver, increment), await readBytes(device, 0, sizeBytes, call)) === 0,
  )
  await driver.delete(increment, call)
  await driver.delete(record, call)
  assert.deepEqual(await pool.names(call), [])
})

test('ceph: a deletion that was cut short is ended by the next', async () => {
  const { ceph, own, pools } = await shared
  await using driver = driverOn(ceph.settings.configurationFile, own.name)
  await driver.start(call)
  const plan = planOf(driver, randomUUID())
  const source = { device: new MemoryDevice(sizeBytes), changed: undefined }
  await driver.backup(plan, source, progress)
  const [base, snapshot] = [baseIn(plan.prefix) ?? '', snapshotName(plan.id, plan.createdAt)]
  const { id } = JSON.parse(await ceph.rbd('info', '--format', 'json', `${own.name}/${base}`))
  await ceph.rbd('snap', 'rm', `${own.name}/${base}@${snapshot}`)
  await ceph.rados('-p', own.name, 'rm', `rbd_header.${id}`, `rbd_id.${base}`)
  const listed = async () => (await pools[0]?.names(call))?.includes(base)
  assert.equal(await listed(), true, 'Ceph takes the name out of its list last')
  await driver.delete(plan, call)
  assert.equal(await listed(), false)
})

test('ceph: a larger volume is zeroed behind the restored bytes unless told otherwise; encryption is refused', async () => {
  const { ceph, own } = await shared
  await using driver = driverOn(ceph.settings.configurationFile, own.name)
  await driver.start(call)
  const device = new MemoryDevice(sizeBytes)
  device.write(0, randomBytes(MiB), call)
  const plan = planOf(driver, randomUUID())
  const stored = { ...plan, ...(await driver.backup(plan, { device }, progress)) }
  const into = new MemoryDevice(sizeBytes + MiB)
  into.write(0, new Uint8Array(sizeBytes + MiB).fill(1), call)
  await driver.restore([stored], into, { targetIsZeroed: false }, progress)
  assert.ok((await readBytes(into, sizeBytes, MiB, call)).every((byte) => byte === 0))
  await driver.delete(stored, call)
  const encrypted = driverOn(ceph.settings.configurationFile, own.name, { encryptionKeyFile: '/key' })
  await assert.rejects(encrypted.start(call), /cannot be encrypted/)
})
