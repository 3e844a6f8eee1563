import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import type { BlockDevice } from '@emberglass/iscsi/device'
import { GiB } from '../../kernel/bytes.ts'
import { type Call, uncancelled } from '../../kernel/call.ts'
import {
  runVolumeDriverCase,
  type VolumeDriverFixture,
  volumeDriverCases,
  volumeDriverConformance,
} from '../volume-driver.conformance.ts'
import type {
  BackendSnapshot,
  BackendVolume,
  CloneableImage,
  Connector,
  NewVolume,
} from '../volume-driver.ts'
import { MemoryVolumeDriver } from './memory.ts'

const options = { poolName: 'memory', capacityBytes: 1_000 * GiB }

function fixtureOf(driver: MemoryVolumeDriver): VolumeDriverFixture {
  let imageVolume: BackendVolume | undefined
  return {
    driver,
    leftovers: async () => driver.ids.filter((id) => id !== imageVolume?.id),
    imageOnBackend: async (data) => {
      const call = uncancelled()
      const id = randomUUID()
      const wanted = { id, name: `image-${id}`, sizeBytes: GiB, projectId: id, type: undefined, metadata: {} }
      imageVolume = { ...wanted, ...(await driver.create(wanted, call)) }
      await using device = await driver.open(imageVolume, 'rw', call)
      await device.write(0, data, call)
      return imageAt(imageVolume)
    },
    reachable: async (volume, connector) => driver.isAttached(volume.id, connector),
    [Symbol.asyncDispose]: async () => {},
  }
}

/** An image whose data is a volume of the driver. */
function imageAt(volume: BackendVolume): CloneableImage {
  return {
    id: volume.id,
    name: 'image',
    status: 'active',
    visibility: 'private',
    ownerProjectId: volume.projectId,
    sizeBytes: volume.sizeBytes,
    virtualSizeBytes: volume.sizeBytes,
    diskFormat: 'raw',
    containerFormat: 'bare',
    minDiskGib: 0,
    minRamMib: 0,
    checksum: undefined,
    osHashAlgo: undefined,
    osHashValue: undefined,
    properties: {},
    acceptedBy: [],
    locations: [volume.providerLocation ?? ''],
    open: () => Promise.reject(new Error('the driver needs no data of it')),
  }
}

volumeDriverConformance('memory', async () => fixtureOf(new MemoryVolumeDriver(options)))

/** Drivers that each break one promise, and the case that must notice. */
const broken: readonly { caught: string; driver: () => MemoryVolumeDriver }[] = [
  {
    caught: 'new volume has the size asked for and reads as zeroes',
    driver: () =>
      new (class extends MemoryVolumeDriver {
        override async open(volume: BackendVolume, mode: 'r' | 'rw', call: Call): Promise<BlockDevice> {
          const device = await super.open(volume, mode, call)
          return {
            blockSize: device.blockSize,
            sizeBytes: device.sizeBytes,
            read: (_offset, into) => {
              into.fill(1)
              return undefined
            },
            write: () => undefined,
            flush: async () => {},
            [Symbol.asyncDispose]: async () => {},
          }
        }
      })(options),
  },
  {
    caught: 'only connectors that are attached reach the data',
    driver: () =>
      new (class extends MemoryVolumeDriver {
        override async detach(volume: BackendVolume, from: Connector | 'everyone', call: Call) {
          if (from === 'everyone') await super.detach(volume, from, call)
        }
      })(options),
  },
  {
    caught: 'deleting a volume again',
    driver: () =>
      new (class extends MemoryVolumeDriver {
        override async delete(volume: BackendVolume, call: Call) {
          if (!this.ids.includes(volume.id)) throw new Error('no such volume')
          await super.delete(volume, call)
        }
      })(options),
  },
  {
    caught: 'an aborted call rejects',
    driver: () =>
      new (class extends MemoryVolumeDriver {
        override create(volume: NewVolume, call: Call) {
          return super.create(volume, { ...call, signal: new AbortController().signal })
        }
      })(options),
  },
  {
    caught: 'only kernel errors escape',
    driver: () =>
      new (class extends MemoryVolumeDriver {
        override async attach(volume: BackendVolume, to: Connector, call: Call) {
          if (!this.ids.includes(volume.id)) throw new TypeError('undefined is not a volume')
          return await super.attach(volume, to, call)
        }
      })(options),
  },
  {
    caught: 'extending keeps bytes',
    driver: () =>
      new (class extends MemoryVolumeDriver {
        override async extend() {}
      })(options),
  },
  {
    caught: 'volume with snapshots refuses to be deleted',
    driver: () =>
      new (class extends MemoryVolumeDriver {
        override async delete(volume: BackendVolume, call: Call) {
          await super.delete(volume, call).catch(() => {})
        }
      })(options),
  },
  {
    caught: 'reverting brings the bytes',
    driver: () => {
      const driver = new MemoryVolumeDriver(options)
      driver.snapshots.revert = async () => {}
      return driver
    },
  },
  {
    caught: 'what was unmanaged is listed',
    driver: () => {
      const driver = new MemoryVolumeDriver(options)
      driver.manage.unmanage = (volume, call) => driver.delete(volume, call)
      return driver
    },
  },
  {
    caught: 'cannot be managed a second time',
    driver: () => {
      const driver = new MemoryVolumeDriver(options)
      driver.manage.manage = async (volume) => ({ providerLocation: volume.id })
      return driver
    },
  },
  {
    caught: 'a snapshot that was unmanaged',
    driver: () => {
      const driver = new MemoryVolumeDriver(options)
      driver.manageSnapshots.unmanage = (snapshot: BackendSnapshot, call) =>
        driver.snapshots.delete(snapshot, call)
      return driver
    },
  },
  {
    caught: 'a migration within a backend',
    driver: () => {
      const driver = new MemoryVolumeDriver(options)
      driver.migration.adopt = async (volume, copy) => ({ volume, old: copy })
      return driver
    },
  },
  {
    caught: 'snapshots of a group',
    driver: () => {
      const driver = new MemoryVolumeDriver(options)
      driver.groups.snapshot = (snapshots, call) =>
        Promise.all(snapshots.map((snapshot) => driver.snapshots.create(snapshot, call)))
      return driver
    },
  },
]

for (const { caught, driver } of broken) {
  test(`a driver that breaks '${caught}' is found out`, async () => {
    const found = volumeDriverCases.find(({ name }) => name.includes(caught))
    assert.ok(found)
    await assert.rejects(
      runVolumeDriverCase(found, async () => fixtureOf(driver())),
      assert.AssertionError,
    )
  })
}

test('a driver that leaks is found out', async () => {
  const leaky: VolumeDriverFixture = {
    ...fixtureOf(new MemoryVolumeDriver(options)),
    leftovers: async () => ['an export'],
  }
  const [first] = volumeDriverCases
  assert.ok(first)
  await assert.rejects(
    runVolumeDriverCase(first, async () => leaky),
    assert.AssertionError,
  )
})
