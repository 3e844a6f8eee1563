import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { readBytes } from '@emberglass/iscsi/device'
import type { CloneableImage } from '../../volume-driver.ts'
import {
  call,
  driverOn,
  GiB,
  imageOf,
  made,
  newVolume,
  Rig,
  typeOf,
  volumeOf,
} from './driver.test-support.ts'

const MiB = 1024 ** 2

/** Counts how often the data of an image is asked for. */
function counted(image: CloneableImage): { image: CloneableImage; opened: () => number } {
  let opened = 0
  const open = (during: typeof call) => {
    opened += 1
    return image.open(during)
  }
  return { image: { ...image, open }, opened: () => opened }
}

test('the data of an image is copied once, verified, and every volume is a clone with a size of its own', async () => {
  await using rig = await Rig.start({ imageCache: true })
  const data = randomBytes(3 * MiB + 512)
  const { image, opened } = counted(imageOf(data))
  const volumes = [newVolume({ sizeBytes: 3 * GiB }), newVolume()]
  for (const volume of volumes) {
    const created = await rig.driver.imageClones.create(image, volume, call)
    assert.ok(created)
    await using disk = await rig.driver.open(made(volume, created), 'r', call)
    assert.equal(disk.sizeBytes, volume.sizeBytes)
    assert.deepEqual(Buffer.from(await readBytes(disk, 0, data.byteLength, call)), data)
  }
  assert.equal(opened(), 1)
  const copy = (await rig.all()).find(({ name }) => name === `OS-${image.id}`)
  assert.ok(copy)
  assert.deepEqual([volumeOf(copy).size, copy.admin_state, volumeOf(copy).uuid], [1, 'offline', image.id])
  assert.deepEqual(copy.storage_instances[0]?.acl_policy?.initiators, [])
  const metadata = await rig.client.in('/root').metadata(copy, call)
  assert.deepEqual([metadata['type'], metadata['checksum']], ['cached_image', image.osHashValue])
  const edited = { ...image, name: 'another name', properties: { os_distro: 'debian' } }
  assert.ok(await rig.driver.imageClones.create(edited, newVolume(), call))
  assert.equal(opened(), 1, 'other properties are the same content')
})

test('without the cache, for other formats and for strangers the image goes the long way', async () => {
  await using rig = await Rig.start({ imageCache: true })
  await using plain = driverOn(rig.array)
  const image = imageOf(randomBytes(MiB))
  const { projectId } = newVolume()
  assert.equal(await plain.imageClones.create(image, newVolume(), call), undefined)
  const someone = { ...image, ownerProjectId: 'x' }
  const refused: readonly CloneableImage[] = [
    { ...image, diskFormat: 'qcow2' },
    someone,
    { ...someone, visibility: 'shared', acceptedBy: ['y'] },
  ]
  for (const each of refused) {
    assert.equal(await rig.driver.imageClones.create(each, newVolume(), call), undefined)
  }
  assert.deepEqual(await rig.all(), [])
  const accepted: readonly CloneableImage[] = [
    { ...someone, visibility: 'shared', acceptedBy: [projectId] },
    { ...someone, visibility: 'community' },
    { ...someone, visibility: 'public' },
  ]
  for (const each of accepted) assert.ok(await rig.driver.imageClones.create(each, newVolume(), call))
})

test('an image of the image store is cloned itself and never touched, without data passing through us', async () => {
  await using rig = await Rig.start()
  const data = randomBytes(MiB)
  const { image, opened } = counted(imageOf(data))
  const stored = { ...newVolume(), id: image.id, name: 'IMAGE' }
  const location = await rig.driver.create(stored, call)
  {
    await using disk = await rig.driver.open(made(stored, location), 'rw', call)
    await disk.write(0, data, call)
    await disk.flush(call)
  }
  const scope = rig.client.in('/root')
  const { path } = await rig.only()
  const name = `OS-IMAGE-${image.id}`
  await scope.appInstances.update(path, { name }, call)
  const volume = newVolume()
  assert.equal(await rig.driver.imageClones.create(image, volume, call), undefined, 'not complete yet')
  await scope.addMetadata(path, { type: 'image', length: String(data.byteLength) }, call)
  rig.array.proxy.seen.length = 0
  const created = await rig.driver.imageClones.create(image, volume, call)
  assert.ok(created)
  assert.equal(opened(), 0)
  assert.ok(!rig.array.proxy.seen.some(({ path: asked }) => asked.includes('acl_policy')), 'nobody logs in')
  await using disk = await rig.driver.open(made(volume, created), 'r', call)
  assert.deepEqual(Buffer.from(await readBytes(disk, 0, MiB, call)), data)
  assert.ok((await rig.all()).some((each) => each.name === name))
  const small = { ...image, sizeBytes: 2 * GiB }
  assert.equal(await rig.driver.imageClones.create(small, newVolume(), call), undefined, 'it does not fit')
})

test('what is half-written, of other content, or fails to be written is no copy, and no error of the user', async () => {
  await using rig = await Rig.start({ imageCache: true, imageCacheTypeId: 'small' })
  const data = randomBytes(MiB)
  const { image, opened } = counted(imageOf(data))
  assert.equal(await rig.driver.imageClones.create(image, newVolume(), call), undefined, 'no such type')
  assert.deepEqual(await rig.all(), [])
  const volumeType = async () => typeOf({ 'DF:replica_count': '2' })
  await using typed = driverOn(rig.array, { imageCache: true, imageCacheTypeId: 'small' }, { volumeType })
  const half = { create_mode: 'openstack', uuid: image.id, name: `OS-${image.id}` } as const
  await rig.client.in('/root').appInstances.create(half, call)
  assert.ok(await typed.imageClones.create(image, newVolume(), call))
  const copies = async () => (await rig.all()).filter(({ name }) => name === `OS-${image.id}`)
  const [first] = await copies()
  assert.equal(first && volumeOf(first).replica_count, 2)
  const changed = imageOf(randomBytes(MiB), { id: image.id })
  assert.ok(await typed.imageClones.create(changed, newVolume(), call))
  const [second, ...others] = await copies()
  assert.notEqual(second?.id, first?.id)
  assert.equal(others.length, 0)
  const lying = imageOf(data, { osHashValue: '0'.repeat(128) })
  const failing = imageOf(data, { open: () => Promise.reject(new Error('no such data')) })
  for (const bad of [lying, failing]) {
    assert.equal(await typed.imageClones.create(bad, newVolume(), call), undefined)
    assert.ok(!(await rig.all()).some(({ name }) => name === `OS-${bad.id}`), 'nothing is left')
  }
  assert.equal(opened(), 1)
})

test('the least recently used copies make room', async () => {
  await using rig = await Rig.start({ imageCache: true, imageCacheCount: 2, imageCacheGib: 2 })
  const images = Array.from({ length: 3 }, () => imageOf(randomBytes(4096)))
  const clone = async (image: CloneableImage | undefined) => {
    assert.ok(image)
    return await rig.driver.imageClones.create(image, newVolume(), call)
  }
  const [a, b, c] = images
  for (const image of [a, b, a, c]) assert.ok(await clone(image))
  const kept = (await rig.all()).filter(({ descr }) => descr?.startsWith('cached image'))
  assert.deepEqual(kept.map(({ name }) => name).sort(), [`OS-${a?.id}`, `OS-${c?.id}`].sort())
  const large = imageOf(randomBytes(4096), { virtualSizeBytes: 3 * GiB })
  const volume = newVolume({ sizeBytes: 4 * GiB })
  assert.equal(await rig.driver.imageClones.create(large, volume, call), undefined, 'larger than the limit')
})
