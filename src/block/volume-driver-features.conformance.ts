import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { readBytes, zeroRange } from '@emberglass/iscsi/device'
import { GiB, KiB, MiB } from '../kernel/bytes.ts'
import { type BackendVolume, type Known, typeDifferences, type VolumeTypeFacts } from './volume-driver.ts'
import {
  equal,
  hostA,
  present,
  type Trial,
  type VolumeDriverCase,
} from './volume-driver-trial.conformance.ts'

const nothingKnown: Known = { volumes: [], snapshots: [] }

/** The promises of what a driver may have beside volumes, snapshots and clones. */
export const optionalFeatureCases: readonly VolumeDriverCase[] = [
  {
    name: 'reverting brings the bytes of the snapshot back, keeps it, and can be repeated',
    requires: 'revert',
    async run(trial) {
      const revert = present(present(trial.driver.snapshots).revert)
      const volume = await trial.create()
      const before = randomBytes(64 * KiB)
      await trial.write(volume, 0, before)
      const snapshot = await trial.snapshot(volume)
      await trial.write(volume, 0, randomBytes(64 * KiB))
      await trial.write(volume, MiB, randomBytes(64 * KiB))
      await revert(snapshot, trial.call)
      await revert(snapshot, trial.call)
      equal(await trial.read(volume, 0, before.byteLength), before, 'the bytes of the snapshot')
      equal(await trial.read(volume, MiB, 64 * KiB), Buffer.alloc(64 * KiB), 'and only those')
      await trial.write(volume, 0, randomBytes(64 * KiB))
      const restored = await trial.fromSnapshot(snapshot)
      equal(await trial.read(restored, 0, before.byteLength), before, 'the snapshot is still there')
    },
  },
  {
    name: 'a volume becomes of another type in place, its bytes untouched, attached or not',
    requires: 'retype',
    async run(trial) {
      const volume = await trial.create()
      const data = randomBytes(64 * KiB)
      await trial.write(volume, 0, data)
      const newType = trial.fixture.otherType ?? plainType
      for (const attached of [false, true]) {
        if (attached) await trial.driver.attach(volume, hostA, trial.call)
        const request = { newType, differences: typeDifferences(volume.type, newType), attached }
        const reason = await present(trial.driver.retype).change(volume, request, trial.call)
        assert.equal(reason, undefined, 'it is of the new type')
      }
      const retyped = trial.remember({ ...volume, type: newType }, volume.providerLocation)
      await trial.driver.detach(retyped, hostA, trial.call)
      equal(await trial.read(retyped, 0, data.byteLength), data, 'the same bytes')
    },
  },
  {
    name: 'what was unmanaged is listed and can be managed again, bytes and snapshots untouched',
    requires: 'manage',
    async run(trial) {
      const manage = present(trial.driver.manage)
      const volume = await trial.create()
      const data = randomBytes(64 * KiB)
      await trial.write(volume, 0, data)
      await manage.unmanage(volume, trial.call)
      await manage.unmanage(volume, trial.call)
      trial.forget(volume)
      const [found, ...others] = await manage.list(nothingKnown, trial.call)
      assert.ok(found !== undefined && others.length === 0, 'it is the only one')
      assert.deepEqual([found.safeToManage, found.sizeBytes], [true, GiB])
      const wanted = { ...trial.newVolume(), projectId: volume.projectId }
      assert.equal(await manage.sizeBytes(wanted, found.reference, trial.call), GiB)
      const created = await manage.manage(wanted, found.reference, nothingKnown, trial.call)
      const managed = trial.remember(wanted, created.providerLocation)
      const known = { volumes: [managed], snapshots: [] }
      const again = await manage.manage(wanted, found.reference, known, trial.call)
      assert.deepEqual(again, created, 'again: the same')
      equal(await trial.read(managed, 0, data.byteLength), data, 'the same bytes')
    },
  },
  {
    name: 'what is managed is listed as such, and cannot be managed a second time',
    requires: 'manage',
    async run(trial) {
      const manage = present(trial.driver.manage)
      const volume = await trial.create()
      const known = { volumes: [volume], snapshots: [] }
      const [found] = await manage.list(known, trial.call)
      assert.ok(found)
      assert.deepEqual([found.safeToManage, found.managedAs], [false, volume.id])
      assert.notEqual(found.reasonNotSafe ?? '', '')
      const second = { ...trial.newVolume(), projectId: volume.projectId }
      const again = manage.manage(second, found.reference, known, trial.call)
      await assert.rejects(again, { code: 'conflict' })
    },
  },
  {
    name: 'a reference that names nothing is refused',
    requires: 'manage',
    async run(trial) {
      const manage = present(trial.driver.manage)
      const volume = trial.newVolume()
      for (const nothing of [{ 'source-name': `nothing-${randomUUID()}` }, {}]) {
        await assert.rejects(manage.sizeBytes(volume, nothing, trial.call), { code: 'invalid' })
        await assert.rejects(manage.manage(volume, nothing, nothingKnown, trial.call), { code: 'invalid' })
      }
    },
  },
  {
    name: 'a snapshot that was unmanaged is listed and can be managed again',
    requires: 'manageSnapshots',
    async run(trial) {
      const manage = present(trial.driver.manageSnapshots)
      const volume = await trial.create()
      const data = randomBytes(64 * KiB)
      await trial.write(volume, 0, data)
      const first = await trial.snapshot(volume)
      const known = { volumes: [volume], snapshots: [first] }
      const [managed] = await manage.list(known, trial.call)
      assert.deepEqual([managed?.safeToManage, managed?.managedAs], [false, first.id])
      await manage.unmanage(first, trial.call)
      trial.forget(first)
      const [found, ...others] = await manage.list({ ...known, snapshots: [] }, trial.call)
      assert.ok(found !== undefined && others.length === 0, 'it is the only one')
      assert.deepEqual([found.safeToManage, found.sizeBytes], [true, GiB])
      assert.equal(await manage.sizeBytes(volume, found.reference, trial.call), GiB)
      const wanted = trial.newSnapshot(volume)
      const created = await manage.manage(wanted, found.reference, nothingKnown, trial.call)
      const snapshot = trial.rememberSnapshot(wanted, created.providerLocation)
      const restored = await trial.fromSnapshot(snapshot)
      equal(await trial.read(restored, 0, data.byteLength), data, 'its bytes')
      const nothing = manage.sizeBytes(volume, { 'source-name': '1.1' }, trial.call)
      await assert.rejects(nothing, { code: 'invalid' })
    },
  },
  {
    name: 'what a migration has copied becomes the volume',
    requires: 'migration',
    async run(trial) {
      const elsewhere = { ...trial.newVolume(), providerLocation: 'of another backend' }
      const copy = await trial.create()
      const data = randomBytes(64 * KiB)
      await trial.write(copy, 0, data)
      const adopted = await adopt(trial, elsewhere, copy)
      assert.equal(adopted.old, undefined, 'the old bytes do not lie here')
      trial.forget(copy)
      const volume = trial.remember(elsewhere, adopted.volume.providerLocation)
      equal(await trial.read(volume, 0, data.byteLength), data, 'the bytes of the copy')
    },
  },
  {
    name: 'a migration within a backend leaves the old bytes under the id of the copy',
    requires: 'migration',
    async run(trial) {
      const [before, copy] = [await trial.create(), await trial.create()]
      const [old, data] = [randomBytes(64 * KiB), randomBytes(64 * KiB)]
      await trial.write(before, 0, old)
      await trial.write(copy, 0, data)
      const adopted = await adopt(trial, before, copy)
      const volume = trial.remember(before, adopted.volume.providerLocation)
      const source = trial.remember(copy, present(adopted.old).providerLocation)
      equal(await trial.read(volume, 0, data.byteLength), data, 'the volume has the bytes of the copy')
      equal(await trial.read(source, 0, old.byteLength), old, 'the old bytes are still there')
      await trial.driver.delete(source, trial.call)
      equal(await trial.read(volume, 0, data.byteLength), data, 'and can be deleted as the copy')
    },
  },
  {
    name: 'a volume of an image on the backend has its bytes and the size asked for',
    requires: 'imageOnBackend',
    async run(trial) {
      const data = randomBytes(MiB)
      const image = await present(trial.fixture.imageOnBackend).call(trial.fixture, data)
      const clones = present(trial.driver.imageClones)
      const wanted = { ...trial.newVolume(2 * GiB), projectId: image.ownerProjectId ?? '' }
      trial.remember(wanted, undefined)
      const created = present(await clones.create(image, wanted, trial.call))
      const volume = trial.remember(wanted, created.providerLocation)
      assert.deepEqual(await clones.create(image, wanted, trial.call), created, 'again: the same volume')
      assert.equal(await trial.size(volume), 2 * GiB)
      equal(await trial.read(volume, 0, data.byteLength), data, 'the bytes of the image')
      equal(await trial.read(volume, GiB, 64 * KiB), Buffer.alloc(64 * KiB), 'the rest is zeroes')
      await trial.write(volume, 0, randomBytes(64 * KiB))
      const second = { ...trial.newVolume(), projectId: image.ownerProjectId ?? '' }
      trial.remember(second, undefined)
      const again = trial.remember(
        second,
        present(await clones.create(image, second, trial.call)).providerLocation,
      )
      equal(await trial.read(again, 0, data.byteLength), data, 'the image is untouched')
      const stranger = { ...trial.newVolume(), projectId: randomUUID() }
      const refused = await clones.create({ ...image, visibility: 'private' }, stranger, trial.call)
      assert.equal(refused, undefined, "somebody else's private image is not cloned")
    },
  },
  {
    name: 'snapshots of a group have their own bytes, can be repeated, and are all or none',
    requires: 'groups',
    async run(trial) {
      const groups = present(trial.driver.groups)
      const volumes = [await trial.create(), await trial.create()]
      const data = volumes.map(() => randomBytes(4 * KiB))
      await Promise.all(volumes.map((volume, i) => trial.write(volume, 0, present(data[i]))))
      const wanted = volumes.map((volume) => trial.newSnapshot(volume))
      for (const snapshot of wanted) trial.rememberSnapshot(snapshot, undefined)
      const created = await groups.snapshot(wanted, trial.call)
      assert.deepEqual(await groups.snapshot(wanted, trial.call), created, 'again: the same snapshots')
      for (const [i, snapshot] of wanted.entries()) {
        const taken = trial.rememberSnapshot(snapshot, created[i]?.providerLocation)
        equal(
          await trial.read(await trial.fromSnapshot(taken), 0, 4 * KiB),
          present(data[i]),
          `bytes of ${i}`,
        )
      }
      const nowhere = { ...trial.newVolume(), providerLocation: undefined }
      const half = [trial.newSnapshot(present(volumes[0])), trial.newSnapshot(nowhere)]
      await assert.rejects(groups.snapshot(half, trial.call))
      const missing = { ...present(half[0]), providerLocation: undefined }
      const orphan = present(trial.driver.snapshots).createVolume(missing, trial.newVolume(), trial.call)
      await assert.rejects(orphan, { code: 'not-found' }, 'none was taken')
    },
  },
  {
    name: 'a moment keeps its bytes, tells what was written since another, and goes with the volume',
    requires: 'moments',
    async run(trial) {
      const moments = present(trial.driver.moments)
      const volume = await trial.create()
      const [first, second, third] = [randomUUID(), randomUUID(), randomUUID()]
      const bytes = randomBytes(MiB)
      await trial.write(volume, 0, bytes)
      await trial.write(volume, 9 * MiB, bytes)
      await moments.create(volume, first, trial.call)
      await trial.write(volume, 0, randomBytes(64 * KiB))
      await trial.withDevice(volume, 'rw', (device) => zeroRange(device, 9 * MiB, MiB, trial.call))
      await moments.create(volume, first, trial.call) // again: the same moment
      await moments.create(volume, second, trial.call)
      await trial.write(volume, 20 * MiB, bytes)
      {
        await using device = await moments.open(volume, first, trial.call)
        equal(await readBytes(device, 0, MiB, trial.call), bytes, 'the bytes of the first moment')
        equal(await readBytes(device, 9 * MiB, MiB, trial.call), bytes, 'what was zeroed later too')
      }
      const changed = present(await moments.changed(volume, { since: first, until: second }, trial.call))
      const covers = (offset: number) =>
        changed.some((extent) => extent.offset <= offset && offset < extent.offset + extent.length)
      assert.ok(
        covers(0) && covers(9 * MiB) && covers(10 * MiB - 512),
        'what was written and what was zeroed',
      )
      assert.ok(!covers(4 * MiB) && !covers(20 * MiB), 'nothing that was not, or later')
      for (const [i, { offset, length }] of changed.entries()) {
        assert.ok(length > 0 && offset + length <= (changed[i + 1]?.offset ?? volume.sizeBytes), 'in order')
      }
      const unknown = { since: randomUUID(), until: second }
      assert.equal(await moments.changed(volume, unknown, trial.call), undefined, 'nobody can tell')
      await moments.create(volume, third, trial.call)
      await moments.keepOnly(volume, second, trial.call)
      for (const gone of [first, third]) {
        await assert.rejects(moments.open(volume, gone, trial.call), { code: 'not-found' })
      }
      await moments.remove(volume, third, trial.call)
      const copy = await trial.clone(volume)
      await trial.driver.delete(volume, trial.call)
      await moments.remove(volume, second, trial.call) // gone with its volume: fine
      equal(await trial.read(copy, 20 * MiB, MiB), bytes, 'a clone lives on')
    },
  },
  {
    name: 'settings of types are described, their defaults within their limits',
    requires: 'capabilities',
    async run({ driver, call }) {
      const properties = Object.entries(await present(driver.capabilities).properties(call))
      for (const [key, { title, description, minimum, maximum, enum: words, default: value }] of properties) {
        assert.notEqual(title, '', key)
        assert.notEqual(description, '', key)
        if (typeof value === 'number') {
          assert.ok(value >= (minimum ?? value) && value <= (maximum ?? value), `${key} is within its limits`)
        }
        if (words !== undefined) assert.ok(words.includes(String(value)), `${key} is one of its words`)
      }
    },
  },
]

const plainType: VolumeTypeFacts = { id: randomUUID(), name: 'plain', extraSpecs: {}, qosSpecs: {} }

/** Twice, as after a crash. */
async function adopt(trial: Trial, volume: BackendVolume, copy: BackendVolume) {
  const migration = present(trial.driver.migration)
  const adopted = await migration.adopt(volume, copy, trial.call)
  assert.deepEqual(await migration.adopt(volume, copy, trial.call), adopted, 'again: the same answer')
  return adopted
}
