import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import { CephCluster } from '../../../ceph/cluster.ts'
import { RbdDevice } from '../../../ceph/device.ts'
import { readImageLocation } from '../../../ceph/image-location.ts'
import { testCeph } from '../../../ceph/testing.ts'
import { MiB } from '../../../kernel/bytes.ts'
import { uncancelled } from '../../../kernel/call.ts'
import { Invalid, NotFound } from '../../../kernel/errors.ts'
import { imageStoreConformance } from '../../image-store.conformance.ts'
import { RbdImageStore } from './store.ts'

const call = uncancelled()
/** One pool for all: making one takes seconds. Each test leaves it empty. */
let pool: ReturnType<Awaited<ReturnType<typeof testCeph>>['pool']> | undefined
after(async () => (await pool)?.[Symbol.asyncDispose]())

async function storeUnderTest(thinProvisioning = false) {
  const ceph = await testCeph()
  pool ??= ceph.pool()
  const { name } = await pool
  const start = async () => {
    const { configurationFile } = ceph.settings
    const store = new RbdImageStore({
      ...{ pool: name, user: undefined, configurationFile, chunkMib: 8, timeoutSeconds: -1 },
      thinProvisioning,
    })
    await store.start(call)
    return store
  }
  const store = await start()
  const others: RbdImageStore[] = []
  return {
    ceph,
    poolName: name,
    store,
    leftovers: async () => (await ceph.rbd('ls', name)).split('\n').filter((line) => line !== ''),
    restart: async () => {
      const other = await start()
      others.push(other)
      return other
    },
    [Symbol.asyncDispose]: async () => {
      for (const each of [store, ...others]) await each[Symbol.asyncDispose]()
    },
  }
}

imageStoreConformance('rbd', storeUnderTest)

async function* of(bytes: Uint8Array) {
  yield Buffer.from(bytes)
}

test('an image is laid out as Glance, Nova and Cinder expect it', async () => {
  await using at = await storeUnderTest()
  const id = randomUUID()
  const { location } = await at.store.put(id, of(randomBytes(MiB)), MiB, call)
  const fsid = (await at.ceph.ceph('fsid')).trim()
  assert.equal(location, `rbd://${fsid}/${at.poolName}/${id}/snap`)
  const info = await at.ceph.rbd('info', `${at.poolName}/${id}@snap`)
  assert.match(info, /protected: True/)
  assert.match(info, /order 23/)
  await at.store.delete(location, call)
})

test('an image that clones need goes at once, its bytes when the last clone does', async () => {
  await using at = await storeUnderTest()
  const id = randomUUID()
  const { location } = await at.store.put(id, of(new Uint8Array(MiB).fill(5)), MiB, call)
  await using cluster = await CephCluster.connect(at.ceph.settings, call)
  const images = await cluster.pool(at.poolName, call)
  await images.clone({ pool: images, image: id, snapshot: 'snap' }, 'volume', {}, call)
  await at.store.delete(location, call)
  await assert.rejects(at.store.size(location, call), NotFound)
  {
    await using device = new RbdDevice(await images.open('volume', { readOnly: true }, call))
    const byte = new Uint8Array(512)
    await device.read(0, byte, call)
    assert.equal(byte[0], 5)
  }
  await images.remove('volume', call)
  await images.sweepTrash(call)
  assert.equal((await at.ceph.rbd('trash', 'ls', '--all', at.poolName)).trim(), '')
})

test('thin provisioning leaves zeroes out', async () => {
  await using at = await storeUnderTest(true)
  const data = new Uint8Array(64 * MiB)
  data.fill(1, 0, MiB)
  const { location } = await at.store.put(randomUUID(), of(data), data.byteLength, call)
  const device = await at.store.blocks.open(location, call)
  const extents = (await device.extents?.(0, data.byteLength, call)) ?? []
  await device[Symbol.asyncDispose]()
  const written = extents.filter(({ state }) => state === 'data').reduce((sum, { length }) => sum + length, 0)
  assert.ok(written <= 16 * MiB, `${written} bytes are taken`)
  await at.store.delete(location, call)
})

test('what a crash left is swept, what others keep in the pool is not', async () => {
  await using at = await storeUnderTest()
  await using cluster = await CephCluster.connect(at.ceph.settings, call)
  const images = await cluster.pool(at.poolName, call)
  const [left, foreign] = [randomUUID(), randomUUID()]
  for (const name of [left, foreign]) await images.create(name, MiB, {}, call)
  const note = { readOnly: false }
  await images.withImage(left, note, (image) => image.setNote('emberglass.image', 'arriving', call), call)
  await at.store.sweep(async () => false, call)
  assert.deepEqual(await at.leftovers(), [foreign])
  await images.remove(foreign, call)
})

test('locations of other clusters and other forms are refused', async () => {
  await using at = await storeUnderTest()
  await assert.rejects(at.store.size('rbd://other/images/x/snap', call), Invalid)
  await assert.rejects(at.store.size('file:///x', call), Invalid)
  await assert.rejects(at.store.size(`rbd://${randomUUID()}`, call), NotFound)
  assert.equal(readImageLocation('rbd://only'), undefined)
})
