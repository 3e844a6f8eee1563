import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, before, test } from 'node:test'
import { readBytes } from '@emberglass/iscsi/device'
import { MiB } from '../kernel/bytes.ts'
import { uncancelled } from '../kernel/call.ts'
import { BackendError, Conflict, NotFound } from '../kernel/errors.ts'
import { CephCluster } from './cluster.ts'
import { RbdDevice } from './device.ts'
import type { RbdPool } from './pool.ts'
import { type TestCeph, testCeph } from './testing.ts'

const call = uncancelled()
let ceph: TestCeph
let cluster: CephCluster
let pool: RbdPool
const stack = new AsyncDisposableStack()

before(async () => {
  ceph = await testCeph()
  const { name } = stack.use(await ceph.pool())
  cluster = stack.use(await CephCluster.connect(ceph.settings, call))
  pool = await cluster.pool(name, call)
})
after(() => stack.disposeAsync())

async function deviceOf(name: string, readOnly = false): Promise<RbdDevice> {
  return new RbdDevice(await pool.open(name, { readOnly }, call))
}

test('the cluster says who it is, where its monitors are, and what a pool holds', async () => {
  assert.equal(cluster.fsid, (await ceph.ceph('fsid')).trim())
  const [monitor] = await cluster.monitorAddresses(call)
  assert.equal(monitor?.host, '127.0.0.1')
  assert.match(String(monitor?.port), /^\d+$/)
  const usage = await cluster.usage(pool.name, call)
  assert.ok(usage.freeBytes > 0)
})

test('what is written to an image is what the rbd program exports', async () => {
  await pool.create('written', 64 * MiB, {}, call)
  const data = randomBytes(9 * MiB)
  {
    await using device = await deviceOf('written')
    assert.equal(device.sizeBytes, 64 * MiB)
    // overlapping in time, at depth
    await Promise.all(
      Array.from({ length: 9 }, (_, index) =>
        device.write((3 + index) * MiB, data.subarray(index * MiB, (index + 1) * MiB), call),
      ),
    )
    await device.flush(call)
    assert.ok(
      (await readBytes(device, 3 * MiB, data.byteLength, call)).every((byte, at) => byte === data[at]),
    )
  }
  const size = 64 * MiB
  const exported = await import('node:child_process').then(({ execFileSync }) =>
    execFileSync('rbd', ['-c', ceph.settings.configurationFile, 'export', `${pool.name}/written`, '-'], {
      maxBuffer: 2 * size,
      stdio: ['ignore', 'pipe', 'ignore'],
    }),
  )
  assert.equal(exported.byteLength, size)
  assert.equal(Buffer.compare(exported.subarray(3 * MiB, 12 * MiB), data), 0)
})

test('zeroes and holes: small ranges read as zeroes, extents tell what is data', async () => {
  await pool.create('sparse', 32 * MiB, {}, call)
  await using device = await deviceOf('sparse')
  await device.write(8 * MiB, new Uint8Array(4 * MiB).fill(7), call)
  await device.unmap(8 * MiB + 4096, 4096, call)
  const bytes = await readBytes(device, 8 * MiB, 16_384, call)
  assert.deepEqual([bytes[0], bytes[4096], bytes[8191], bytes[8192]], [7, 0, 0, 7])
  assert.deepEqual(await device.extents(0, 32 * MiB, call), [
    { offset: 0, length: 8 * MiB, state: 'hole' },
    { offset: 8 * MiB, length: 4 * MiB, state: 'data' },
    { offset: 12 * MiB, length: 20 * MiB, state: 'hole' },
  ])
})

test('snapshots, clones that outlive their parents, and the trash', async () => {
  await pool.create('parent', 16 * MiB, {}, call)
  await using image = await pool.open('parent', { readOnly: false }, call)
  const device = new RbdDevice(image)
  await device.write(0, new Uint8Array(MiB).fill(1), call)
  await image.createSnapshot('first', call)
  await image.createSnapshot('first', call) // again: fine
  await device.write(0, new Uint8Array(MiB).fill(2), call)
  await device.flush(call)
  assert.deepEqual(await image.snapshots(call), [{ name: 'first', sizeBytes: 16 * MiB }])
  const changed = await image.extents(
    { offset: 0, length: 16 * MiB },
    { since: 'first', granularity: 'exact' },
    call,
  )
  assert.deepEqual(changed, [
    { offset: 0, length: MiB, state: 'data' },
    { offset: MiB, length: 15 * MiB, state: 'hole' },
  ])
  await pool.clone({ pool, image: 'parent', snapshot: 'first' }, 'child', { cloneFormat: 2 }, call)
  await image.removeSnapshot('first', call)
  assert.deepEqual(await image.snapshots(call), [])
  await device[Symbol.asyncDispose]()
  await assert.rejects(pool.remove('parent', call), Conflict)
  await pool.discard('parent', call)
  assert.equal(await pool.exists('parent', call), false)
  {
    await using child = await deviceOf('child', true)
    assert.equal((await readBytes(child, 0, 512, call))[0], 1)
    await assert.rejects(child.write(0, new Uint8Array(512), call), BackendError)
  }
  await pool.sweepTrash(call) // the child still needs it
  await pool.remove('child', call)
  await pool.sweepTrash(call)
  assert.equal((await ceph.rbd('trash', 'ls', '--all', pool.name)).trim(), '')
})

test('a removal that was cut short is ended by the next', async () => {
  await pool.create('cut', MiB, {}, call)
  const { id } = JSON.parse(await ceph.rbd('info', '--format', 'json', `${pool.name}/cut`))
  // What a client leaves that dies there: Ceph takes the name out of its list last.
  await ceph.rados('-p', pool.name, 'rm', `rbd_header.${id}`, 'rbd_id.cut')
  await assert.rejects(pool.open('cut', { readOnly: true }, call), NotFound)
  assert.ok((await pool.names(call)).includes('cut'))
  await pool.remove('cut', call)
  assert.ok(!(await pool.names(call)).includes('cut'))
})

test('failures are kernel errors, and repeating is fine', async () => {
  await assert.rejects(pool.open('nothing', { readOnly: true }, call), NotFound)
  await pool.remove('nothing', call)
  await pool.create('twice', MiB, {}, call)
  await assert.rejects(pool.create('twice', MiB, {}, call), Conflict)
  await pool.rename('twice', 'renamed', call)
  await pool.rename('twice', 'renamed', call)
  assert.ok((await pool.names(call)).includes('renamed'))
  await assert.rejects(cluster.pool('no-such-pool', call), NotFound)
  await assert.rejects(pool.create('late', MiB, {}, { ...call, signal: AbortSignal.abort() }), /abort/i)
})

test('a cluster that cannot be reached is an error that says so', async () => {
  await assert.rejects(
    CephCluster.connect({ ...ceph.settings, configurationFile: '/nonexistent/ceph.conf' }, call),
    /cannot be reached/,
  )
  await assert.rejects(
    CephCluster.connect({ ...ceph.settings, user: 'nobody', timeoutSeconds: 3 }, call),
    BackendError,
  )
})
