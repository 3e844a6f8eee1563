import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { GiB, KiB, MiB } from '../kernel/bytes.ts'
import type { Call } from '../kernel/call.ts'
import { StorageError } from '../kernel/errors.ts'
import type { Connector, VolumeDriver } from './volume-driver.ts'
import { optionalFeatureCases } from './volume-driver-features.conformance.ts'
import {
  equal,
  hostA,
  hostB,
  present,
  Trial,
  type VolumeDriverCase,
  type VolumeDriverFixture,
} from './volume-driver-trial.conformance.ts'

export type { VolumeDriverCase, VolumeDriverFixture }

/**
 * Proves a volume driver right: registers one `node:test` test for each case.
 * @param factory makes a driver on an empty backend; called once for each case
 */
export function volumeDriverConformance(name: string, factory: () => Promise<VolumeDriverFixture>): void {
  for (const conformanceCase of volumeDriverCases) {
    test(`${name}: ${conformanceCase.name}`, async (t) => {
      const missing = await runVolumeDriverCase(conformanceCase, factory)
      if (missing !== undefined) t.skip(`the driver has no ${missing}`)
    })
  }
}

/**
 * Runs one case. For the test of the suite itself, and for other test runners.
 * @returns the absent feature when the case was skipped
 * @throws AssertionError when the driver breaks the promise
 */
export async function runVolumeDriverCase(
  conformanceCase: VolumeDriverCase,
  factory: () => Promise<VolumeDriverFixture>,
): Promise<string | undefined> {
  await using fixture = await factory()
  await using trial = new Trial(fixture)
  const { requires } = conformanceCase
  const { driver, reopen, reachable, imageOnBackend } = fixture
  const offered = { ...features(driver), reopen, reachable, imageOnBackend }
  if (requires !== undefined && offered[requires] === undefined) return requires
  await fixture.driver.start(trial.call)
  await conformanceCase.run(trial)
  await trial.removeEverything()
  assert.deepEqual(await fixture.leftovers?.(), fixture.leftovers && [], 'nothing is left on the backend')
  return undefined
}

function features({ snapshots, clones, retype, manage, manageSnapshots, ...rest }: VolumeDriver) {
  const { migration, groups, capabilities, moments } = rest
  const revert = snapshots?.revert
  return {
    snapshots,
    clones,
    revert,
    retype,
    manage,
    manageSnapshots,
    migration,
    groups,
    capabilities,
    moments,
  }
}

/** Every promise of the contract, by name. */
export const volumeDriverCases: readonly VolumeDriverCase[] = [
  {
    name: 'pools have names and say how much room there is',
    async run({ driver, call }) {
      const pools = await driver.pools(call)
      assert.ok(pools.length > 0, 'there is a pool')
      for (const pool of pools) {
        assert.notEqual(pool.name, '')
        assert.ok(pool.freeBytes >= 0 && pool.freeBytes <= pool.totalBytes, 'free is not more than total')
      }
    },
  },
  {
    name: 'a new volume has the size asked for and reads as zeroes, also where a deleted one had data',
    async run(trial) {
      const data = randomBytes(MiB)
      const first = await trial.create()
      await trial.write(first, 0, data)
      await trial.write(first, GiB - MiB, data)
      await trial.driver.delete(first, trial.call)
      const volume = await trial.create()
      assert.equal(await trial.size(volume), GiB)
      equal(await trial.read(volume, 0, MiB), Buffer.alloc(MiB), 'the first bytes are zeroes')
      equal(await trial.read(volume, GiB - MiB, MiB), Buffer.alloc(MiB), 'the last bytes are zeroes')
    },
  },
  {
    name: 'what was written and flushed is read back after opening again',
    async run(trial) {
      const volume = await trial.create()
      const data = randomBytes(256 * KiB)
      await trial.write(volume, 4 * KiB, data)
      equal(await trial.read(volume, 4 * KiB, data.byteLength), data, 'the same bytes')
      equal(await trial.read(volume, 0, 4 * KiB), Buffer.alloc(4 * KiB), 'bytes before are untouched')
    },
  },
  {
    name: 'creating a volume again is the same volume with its data',
    async run(trial) {
      const wanted = trial.newVolume()
      const volume = await trial.create(wanted)
      const data = randomBytes(64 * KiB)
      await trial.write(volume, 0, data)
      const again = await trial.create(wanted)
      assert.equal(again.providerLocation, volume.providerLocation)
      equal(await trial.read(again, 0, data.byteLength), data, 'its bytes are still there')
    },
  },
  {
    name: 'deleting a volume again, or one that never was, is fine',
    async run(trial) {
      const volume = await trial.create()
      await trial.driver.delete(volume, trial.call)
      await assert.doesNotReject(trial.driver.delete(volume, trial.call))
      const never = { ...trial.newVolume(), providerLocation: undefined }
      await assert.doesNotReject(trial.driver.delete(never, trial.call))
    },
  },
  {
    name: 'an attached volume can be deleted',
    async run(trial) {
      const volume = await trial.create()
      await trial.driver.attach(volume, hostA, trial.call)
      await trial.driver.delete(volume, trial.call)
    },
  },
  {
    name: 'extending keeps bytes, adds zeroes and can be repeated',
    async run(trial) {
      const volume = await trial.create()
      const data = randomBytes(64 * KiB)
      await trial.write(volume, GiB - data.byteLength, data)
      await trial.driver.extend(volume, 2 * GiB, trial.call)
      await trial.driver.extend(volume, 2 * GiB, trial.call)
      const grown = trial.remember({ ...volume, sizeBytes: 2 * GiB }, volume.providerLocation)
      assert.equal(await trial.size(grown), 2 * GiB)
      equal(await trial.read(grown, GiB - data.byteLength, data.byteLength), data, 'old bytes')
      equal(await trial.read(grown, GiB, 64 * KiB), Buffer.alloc(64 * KiB), 'new bytes are zeroes')
    },
  },
  {
    name: 'an attached volume can be extended',
    async run(trial) {
      const volume = await trial.create()
      await trial.driver.attach(volume, hostA, trial.call)
      await trial.driver.extend(volume, 2 * GiB, trial.call)
      const grown = trial.remember({ ...volume, sizeBytes: 2 * GiB }, volume.providerLocation)
      await trial.driver.detach(grown, hostA, trial.call)
      assert.equal(await trial.size(grown), 2 * GiB)
    },
  },
  {
    name: 'attaching the same connector again gives the same answer',
    async run(trial) {
      const volume = await trial.create()
      const first = await trial.driver.attach(volume, hostA, trial.call)
      assert.deepEqual(await trial.driver.attach(volume, hostA, trial.call), first)
    },
  },
  {
    name: 'detaching works for one connector, for everyone, and for nobody',
    async run(trial) {
      const volume = await trial.create()
      await trial.driver.attach(volume, hostA, trial.call)
      await trial.driver.attach(volume, hostB, trial.call)
      await trial.driver.detach(volume, hostA, trial.call)
      await trial.driver.detach(volume, hostA, trial.call)
      await trial.driver.detach(volume, 'everyone', trial.call)
      await trial.driver.detach(volume, 'everyone', trial.call)
      await trial.driver.delete(volume, trial.call)
      await trial.driver.detach(volume, hostA, trial.call)
      await trial.driver.detach(volume, 'everyone', trial.call)
    },
  },
  {
    name: 'only connectors that are attached reach the data',
    requires: 'reachable',
    async run(trial) {
      const reachable = (connector: Connector) =>
        present(trial.fixture.reachable).call(trial.fixture, volume, connector)
      const volume = await trial.create()
      assert.equal(await reachable(hostA), false, 'nobody at first')
      await trial.driver.attach(volume, hostA, trial.call)
      await trial.driver.attach(volume, hostB, trial.call)
      assert.equal(await reachable(hostA), true, 'the first host after attach')
      assert.equal(await reachable(hostB), true, 'the second host after attach')
      await trial.driver.detach(volume, hostA, trial.call)
      assert.equal(await reachable(hostA), false, 'the first host is shut out')
      assert.equal(await reachable(hostB), true, 'the second host stays')
      await trial.driver.detach(volume, 'everyone', trial.call)
      assert.equal(await reachable(hostB), false, 'everyone is shut out')
    },
  },
  {
    name: 'our own data path lets nobody else in, and leaves an attached host its access',
    requires: 'reachable',
    async run(trial) {
      const reachable = (connector: Connector) =>
        present(trial.fixture.reachable).call(trial.fixture, volume, connector)
      const volume = await trial.create()
      await trial.driver.attach(volume, hostA, trial.call)
      await trial.write(volume, 0, randomBytes(4 * KiB))
      assert.equal(await reachable(hostB), false, 'a stranger stays out')
      assert.equal(await reachable(hostA), true, 'the attached host keeps its access')
    },
  },
  {
    name: 'a snapshot is not moved by later writes',
    requires: 'snapshots',
    async run(trial) {
      const volume = await trial.create()
      const before = randomBytes(64 * KiB)
      await trial.write(volume, 0, before)
      const snapshot = await trial.snapshot(volume)
      await trial.write(volume, 0, randomBytes(64 * KiB))
      await trial.write(volume, MiB, randomBytes(64 * KiB))
      const restored = await trial.fromSnapshot(snapshot)
      equal(await trial.read(restored, 0, before.byteLength), before, 'the bytes of the moment')
      equal(await trial.read(restored, MiB, 64 * KiB), Buffer.alloc(64 * KiB), 'and only those')
    },
  },
  {
    name: 'taking a snapshot again is the same snapshot; deleting it again is fine',
    requires: 'snapshots',
    async run(trial) {
      const volume = await trial.create()
      const before = randomBytes(4 * KiB)
      await trial.write(volume, 0, before)
      const snapshot = await trial.snapshot(volume)
      await trial.write(volume, 0, randomBytes(4 * KiB))
      const again = await present(trial.driver.snapshots).create(snapshot, trial.call)
      assert.equal(again.providerLocation, snapshot.providerLocation)
      const restored = await trial.fromSnapshot(snapshot)
      equal(await trial.read(restored, 0, before.byteLength), before, 'the bytes of the first moment')
      await present(trial.driver.snapshots).delete(snapshot, trial.call)
      await present(trial.driver.snapshots).delete(snapshot, trial.call)
    },
  },
  {
    name: 'a volume from a snapshot may be larger, can be written, and outlives snapshot and source',
    requires: 'snapshots',
    async run(trial) {
      const volume = await trial.create()
      const data = randomBytes(64 * KiB)
      await trial.write(volume, GiB - data.byteLength, data)
      const snapshot = await trial.snapshot(volume)
      const wanted = trial.newVolume(2 * GiB)
      const restored = await trial.fromSnapshot(snapshot, wanted)
      await trial.fromSnapshot(snapshot, wanted) // repeated: the same volume
      assert.equal(await trial.size(restored), 2 * GiB)
      await present(trial.driver.snapshots).delete(snapshot, trial.call)
      await trial.driver.delete(volume, trial.call)
      equal(await trial.read(restored, GiB - data.byteLength, data.byteLength), data, 'bytes of the snapshot')
      equal(await trial.read(restored, GiB, 64 * KiB), Buffer.alloc(64 * KiB), 'the rest is zeroes')
      await trial.write(restored, 0, data)
      equal(await trial.read(restored, 0, data.byteLength), data, 'its own bytes')
    },
  },
  {
    name: 'a volume with snapshots refuses to be deleted, and is unharmed; or they go with it',
    requires: 'snapshots',
    async run(trial) {
      const volume = await trial.create()
      const data = randomBytes(4 * KiB)
      await trial.write(volume, 0, data)
      await trial.snapshot(volume)
      if (trial.fixture.snapshotsGoWithVolume) {
        await trial.driver.delete(volume, trial.call)
        return
      }
      await assert.rejects(trial.driver.delete(volume, trial.call), { code: 'conflict' })
      equal(await trial.read(volume, 0, data.byteLength), data, 'its bytes are still there')
    },
  },
  {
    name: 'a clone has the bytes of its moment, may be larger, and outlives its source',
    requires: 'clones',
    async run(trial) {
      const volume = await trial.create()
      const data = randomBytes(64 * KiB)
      await trial.write(volume, GiB - data.byteLength, data)
      const clone = await trial.clone(volume, trial.newVolume(2 * GiB))
      await trial.write(volume, GiB - data.byteLength, randomBytes(64 * KiB))
      assert.equal(await trial.size(clone), 2 * GiB)
      await trial.driver.delete(volume, trial.call)
      equal(await trial.read(clone, GiB - data.byteLength, data.byteLength), data, 'bytes of the source')
      equal(await trial.read(clone, GiB, 64 * KiB), Buffer.alloc(64 * KiB), 'the rest is zeroes')
    },
  },
  {
    name: 'writing to a clone leaves the source alone; cloning again is the same clone',
    requires: 'clones',
    async run(trial) {
      const volume = await trial.create()
      const data = randomBytes(64 * KiB)
      await trial.write(volume, 0, data)
      const wanted = trial.newVolume()
      const clone = await trial.clone(volume, wanted)
      const own = randomBytes(64 * KiB)
      await trial.write(clone, 0, own)
      await trial.clone(volume, wanted)
      equal(await trial.read(volume, 0, data.byteLength), data, 'the source keeps its bytes')
      equal(await trial.read(clone, 0, own.byteLength), own, 'the clone keeps its own')
    },
  },
  {
    name: 'twenty creates at once do not collide',
    async run(trial) {
      const volumes = await Promise.all(Array.from({ length: 20 }, () => trial.create()))
      const data = volumes.map(() => randomBytes(4 * KiB))
      await Promise.all(volumes.map((volume, i) => trial.write(volume, 0, present(data[i]))))
      for (const [i, volume] of volumes.entries()) {
        equal(await trial.read(volume, 0, 4 * KiB), present(data[i]), `volume ${i} has its own bytes`)
      }
    },
  },
  {
    name: 'an aborted call rejects with the reason, and can be made again',
    async run(trial) {
      const reason = new Error('the caller has changed its mind')
      const aborted: Call = { ...trial.call, signal: AbortSignal.abort(reason) }
      const wanted = trial.newVolume()
      await assert.rejects(trial.driver.create(wanted, aborted), reason)
      const volume = await trial.create(wanted)
      await assert.rejects(trial.driver.extend(volume, 2 * GiB, aborted), reason)
      await assert.rejects(trial.driver.attach(volume, hostA, aborted), reason)
      await assert.rejects(trial.driver.open(volume, 'r', aborted), reason)
      await assert.rejects(trial.driver.delete(volume, aborted), reason)
      assert.equal(await trial.size(volume), GiB, 'it is as it was')
    },
  },
  {
    name: 'only kernel errors escape',
    async run(trial) {
      const nowhere = { ...trial.newVolume(), providerLocation: undefined }
      const kernelError = (error: unknown) => {
        assert.ok(error instanceof StorageError, `a kernel error, not ${error}`)
        return true
      }
      await assert.rejects(trial.driver.attach(nowhere, hostA, trial.call), kernelError)
      await assert.rejects(trial.driver.open(nowhere, 'r', trial.call), kernelError)
      await assert.rejects(trial.driver.extend(nowhere, 2 * GiB, trial.call), kernelError)
    },
  },
  {
    name: 'volumes, their data and their snapshots survive a restart',
    requires: 'reopen',
    async run(trial) {
      const volume = await trial.create()
      const data = randomBytes(64 * KiB)
      await trial.write(volume, 0, data)
      const snapshot = trial.driver.snapshots && (await trial.snapshot(volume))
      await trial.restart()
      equal(await trial.read(volume, 0, data.byteLength), data, 'the same bytes')
      if (snapshot !== undefined) {
        const restored = await trial.fromSnapshot(snapshot)
        equal(await trial.read(restored, 0, data.byteLength), data, 'and those of the snapshot')
      }
    },
  },
  ...optionalFeatureCases,
]
