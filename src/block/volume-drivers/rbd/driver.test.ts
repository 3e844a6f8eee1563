import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import { readBytes } from '@emberglass/iscsi/device'
import { CephCluster } from '../../../ceph/cluster.ts'
import { RbdDevice } from '../../../ceph/device.ts'
import type { RbdImage } from '../../../ceph/image.ts'
import { readImageLocation } from '../../../ceph/image-location.ts'
import { testCeph } from '../../../ceph/testing.ts'
import { GiB, MiB } from '../../../kernel/bytes.ts'
import { uncancelled } from '../../../kernel/call.ts'
import { volumeDriverConformance } from '../../volume-driver.conformance.ts'
import type { CloneableImage } from '../../volume-driver.ts'
import type { VolumeDriverFixture } from '../../volume-driver-trial.conformance.ts'
import { RbdDriver } from './driver.ts'
import { type RbdSettings, rbdOptions } from './options.ts'

const call = uncancelled()

function settingsFor(configurationFile: string, pool: string, changes: Partial<RbdSettings> = {}) {
  const defaults = Object.entries(rbdOptions).map(([key, option]) => [key, option.default])
  // Sound: `rbdOptions` has exactly the properties of the settings, each with a default of its type.
  return { ...(Object.fromEntries(defaults) as RbdSettings), configurationFile, pool, ...changes }
}

/** One pool for all: making one takes seconds. Each test leaves it empty. */
let pool: ReturnType<Awaited<ReturnType<typeof testCeph>>['pool']> | undefined
after(async () => (await pool)?.[Symbol.asyncDispose]())

async function fixture(changes: Partial<RbdSettings> = {}) {
  const ceph = await testCeph()
  pool ??= ceph.pool()
  const { name: poolName } = await pool
  const make = () =>
    new RbdDriver(settingsFor(ceph.settings.configurationFile, poolName, changes), {
      name: 'ceph-1',
      volumeBackendName: 'ceph',
      initiatorName: 'iqn.2026-01.org.emberglass:test-service',
      stateDirectory: '/nonexistent',
    })
  const images: string[] = []
  const made: VolumeDriverFixture & { readonly driver: RbdDriver; readonly poolName: string } = {
    poolName,
    driver: make(),
    reopen: async () => make(),
    leftovers: async () => {
      const names = (await ceph.rbd('ls', poolName)).split('\n').filter((name) => name !== '')
      return names.filter((name) => !images.includes(name))
    },
    imageOnBackend: async (data) => {
      const id = randomUUID()
      images.push(id)
      await using cluster = await CephCluster.connect(ceph.settings, call)
      const target = await cluster.pool(poolName, call)
      await target.create(id, data.byteLength, {}, call)
      await using device = new RbdDevice(await target.open(id, { readOnly: false }, call))
      await device.write(0, data, call)
      await device.flush(call)
      await ceph.rbd('snap', 'create', `${poolName}/${id}@snap`)
      await ceph.rbd('snap', 'protect', `${poolName}/${id}@snap`)
      return imageAt(id, `rbd://${cluster.fsid}/${poolName}/${id}/snap`, data.byteLength)
    },
    [Symbol.asyncDispose]: async () => {
      await using cluster = await CephCluster.connect(ceph.settings, call)
      const ours = await cluster.pool(poolName, call)
      for (const name of await ours.names(call)) {
        const clear = async (image: RbdImage) => {
          for (const snapshot of await image.snapshots(call)) await image.removeSnapshot(snapshot.name, call)
        }
        await ours.withImage(name, { readOnly: false }, clear, call)
        await ours.discard(name, call)
      }
      for (let pass = 0; pass < 3; pass++) await ours.sweepTrash(call) // children before parents
    },
  }
  return made
}

function imageAt(id: string, location: string, sizeBytes: number): CloneableImage {
  return {
    id,
    name: 'on ceph',
    status: 'active',
    visibility: 'private',
    ownerProjectId: randomUUID(),
    sizeBytes,
    virtualSizeBytes: undefined,
    diskFormat: 'raw',
    containerFormat: 'bare',
    minDiskGib: 0,
    minRamMib: 0,
    checksum: undefined,
    osHashAlgo: undefined,
    osHashValue: undefined,
    properties: {},
    acceptedBy: [],
    locations: [location],
    open: () => Promise.reject(new Error('the driver copied what it should have cloned')),
  }
}

volumeDriverConformance('rbd', fixture)

const volume = (sizeBytes = GiB) => {
  const id = randomUUID()
  return {
    id,
    name: `volume-${id}`,
    sizeBytes,
    projectId: randomUUID(),
    type: undefined,
    metadata: {},
    providerLocation: undefined,
  }
}

test('connection_info is what os-brick needs', async () => {
  await using at = await fixture()
  await using driver = at.driver
  await driver.start(call)
  const wanted = volume()
  await driver.create(wanted, call)
  const { driverVolumeType, data } = await driver.attach(wanted, {}, call)
  assert.equal(driverVolumeType, 'rbd')
  assert.equal(data['name'], `${at.poolName}/volume-${wanted.id}`)
  assert.deepEqual(data['hosts'], ['127.0.0.1'])
  assert.equal(data['secret_uuid'], driver.cluster.fsid)
})

test('clones of clones deeper than allowed are copied, and keep their bytes', async () => {
  await using at = await fixture({ maxCloneDepth: 1 })
  await using driver = at.driver
  await driver.start(call)
  const chain = [volume(), volume(), volume()] as const
  await driver.create(chain[0], call)
  {
    await using device = await driver.open(chain[0], 'rw', call)
    await device.write(0, new Uint8Array(MiB).fill(9), call)
    await device.flush(call)
  }
  await driver.clones.create(chain[0], chain[1], call)
  await driver.clones.create(chain[1], chain[2], call)
  const pool = await driver.pool(call)
  const depthOf = (index: 1 | 2) =>
    pool.withImage(
      `volume-${chain[index].id}`,
      { readOnly: true },
      (image) => pool.cloneDepth(image, 9, call),
      call,
    )
  assert.deepEqual([await depthOf(1), await depthOf(2)], [1, 0])
  await using device = await driver.open(chain[2], 'r', call)
  assert.ok((await readBytes(device, 0, MiB, call)).every((byte) => byte === 9))
})

test('locations of images are read as Glance writes them', () => {
  assert.deepEqual(readImageLocation('rbd://f/p%2Fq/i/snap'), {
    fsid: 'f',
    pool: 'p/q',
    image: 'i',
    snapshot: 'snap',
  })
  for (const other of ['rbd://image', 'rbd://a/b/c', 'rbd://a//c/d', 'rbd://a/b/c/%zz', 'file:///x']) {
    assert.equal(readImageLocation(other), undefined, other)
  }
})
