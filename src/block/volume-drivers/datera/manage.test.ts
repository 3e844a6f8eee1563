import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { Conflict, Invalid } from '../../../kernel/errors.ts'
import type { Known } from '../../volume-driver.ts'
import { call, GiB, hostA, made, newVolume, Rig } from './driver.test-support.ts'

const nothingKnown: Known = { volumes: [], snapshots: [] }

/** As somebody makes one on the array itself. */
async function stranger(rig: Rig, name: string, volumes = 1, tenant = '/root') {
  const names = Array.from({ length: volumes }, (_, index) => ({ name: `vol-${index}`, size: 2 }))
  const storage = [{ name: 'disks', volumes: names }]
  return await rig.client.in(tenant).appInstances.create({ name, storage_instances: storage }, call)
}

test('an app instance is managed by its exact name or its id, and remembers what it was', async () => {
  await using rig = await Rig.start()
  await stranger(rig, 'vol10')
  const one = await stranger(rig, 'vol1')
  const byName = newVolume({ displayName: 'mail' })
  assert.equal(
    await rig.driver.manage.sizeBytes(byName, { 'source-name': 'vol1:disks:vol-0' }, call),
    2 * GiB,
  )
  const { providerLocation } = await rig.driver.manage.manage(
    byName,
    { 'source-name': 'vol1:disks:vol-0' },
    nothingKnown,
    call,
  )
  assert.equal(providerLocation, `/root|${one.id}`)
  assert.deepEqual((await rig.all()).map(({ name }) => name).sort(), [`OS-mail-${byName.id}`, 'vol10'])
  const metadata = await rig.client.in('/root').metadata(one, call)
  assert.deepEqual([metadata['managed_name'], metadata['managed_create_mode']], ['vol1', 'normal'])
  await rig.driver.manage.unmanage(made(byName, { providerLocation }), call)
  const after = await rig.client.in('/root').metadata(one, call)
  assert.deepEqual([after['display_name'], after['project_id']], ['', ''])
  const byId = newVolume()
  await rig.driver.manage.manage(byId, { 'source-id': one.id }, nothingKnown, call)
  await rig.driver.delete(made(byName, { providerLocation }), call)
  assert.equal((await rig.all()).length, 2, 'the volume that was unmanaged has nothing left to delete')
})

test('references that name nothing, too much or something else are refused, and nothing is renamed', async () => {
  await using rig = await Rig.start()
  await stranger(rig, 'single')
  await stranger(rig, 'double', 2)
  await rig.client.in('/root').appInstances.create({ name: 'hollow' }, call)
  await stranger(rig, `OS-IMAGE-${randomUUID()}`)
  const names = (await rig.all()).map(({ name }) => name).sort()
  const image = names.find((name) => name.startsWith('OS-IMAGE'))
  for (const name of [
    'single',
    'single:disks',
    'single:disks:other',
    'single:other:vol-0',
    'single::vol-0',
    'a:b:single:disks:vol-0',
    'singl:disks:vol-0',
    's.*:disks:vol-0',
    '/root/nowhere:single:disks:vol-0',
    'all:single:disks:vol-0',
    'double:disks:vol-0',
    'hollow:disks:vol-0',
    `${image}:disks:vol-0`,
  ]) {
    const managing = rig.driver.manage.manage(newVolume(), { 'source-name': name }, nothingKnown, call)
    await assert.rejects(managing, Invalid, name)
  }
  assert.deepEqual((await rig.all()).map(({ name }) => name).sort(), names)
})

test('another tenant can be named', async () => {
  await using rig = await Rig.start({ tenant: 'cloud' })
  await rig.client.in('/root').tenants.create({ name: 'legacy' }, call)
  const theirs = await stranger(rig, 'single', 1, '/root/legacy')
  const volume = newVolume()
  const reference = { 'source-name': 'legacy:single:disks:vol-0' }
  const created = await rig.driver.manage.manage(volume, reference, nothingKnown, call)
  assert.equal(created.providerLocation, `/root/legacy|${theirs.id}`)
  await rig.driver.extend(made(volume, created), 3 * GiB, call)
  assert.equal((await rig.only('/root/legacy')).name, `OS-data-${volume.id}`)
})

test('the list says of everything whether it is safe to manage, and if not, why', async () => {
  await using rig = await Rig.start()
  const ours = await rig.create()
  const orphan = await rig.create()
  const used = await rig.create()
  await stranger(rig, 'single')
  await stranger(rig, 'double', 2)
  await rig.client.in('/root').appInstances.create({ name: 'hollow' }, call)
  await stranger(rig, `OS-IMAGE-${randomUUID()}`)
  await stranger(rig, `BACKUP-${randomUUID()}`)
  const snapshot = { id: randomUUID(), name: 'snap', volume: orphan }
  const taken = await rig.driver.snapshots.create(snapshot, call)
  await rig.driver.attach(used, hostA, call)
  await using _disk = await rig.driver.open(used, 'r', call)
  rig.array.proxy.seen.length = 0
  const listed = await rig.driver.manage.list({ volumes: [ours], snapshots: [] }, call)
  assert.equal(rig.array.proxy.seen.length, 1, 'one request')
  const of = (start: string) => listed.find(({ reference }) => reference['source-name']?.startsWith(start))
  const verdict = (start: string) => {
    const found = of(start)
    return [found?.safeToManage, found?.reasonNotSafe, found?.managedAs]
  }
  assert.deepEqual(verdict(`OS-data-${ours.id}`), [false, 'already managed', ours.id])
  assert.deepEqual(verdict(`OS-data-${orphan.id}`), [true, undefined, orphan.id])
  assert.deepEqual(verdict(`OS-data-${used.id}`), [false, 'in use', undefined])
  assert.deepEqual(verdict('single:disks:vol-0'), [true, undefined, undefined])
  assert.deepEqual(verdict('double'), [false, 'more than one storage instance or volume', undefined])
  assert.deepEqual(verdict('hollow::'), [false, 'no volume', undefined])
  assert.deepEqual(verdict('OS-IMAGE'), [false, 'an image of the image store', undefined])
  assert.deepEqual(verdict('BACKUP'), [false, 'a backup', undefined])
  assert.equal(of('single')?.extraInfo?.['create_mode'], 'normal')
  const snapshots = of(`OS-data-${orphan.id}`)?.extraInfo?.['snapshots']
  assert.deepEqual(JSON.parse(String(snapshots)), [[taken.providerLocation, snapshot.id]])
  await using empty = await Rig.start()
  assert.deepEqual(await empty.driver.manage.list(nothingKnown, call), [])
})

test('in Map mode the volumes of every project are listed, with their tenants', async () => {
  await using rig = await Rig.start({ tenant: 'Map' })
  const [one, two] = ['1'.repeat(32), '2'.repeat(32)]
  await rig.create(newVolume({ projectId: one }))
  const second = await rig.create(newVolume({ projectId: two }))
  const listed = await rig.driver.manage.list(nothingKnown, call)
  const tenants = listed.map(({ reference }) => reference['source-name']?.split(':')[0]).sort()
  assert.deepEqual(tenants, [`/root/OS-${one}`, `/root/OS-${two}`])
  const reference = listed.find(({ managedAs }) => managedAs === second.id)?.reference ?? {}
  assert.equal(await rig.driver.manage.sizeBytes(newVolume({ projectId: one }), reference, call), GiB)
})

test('what another volume or snapshot has is not given to a second one', async () => {
  await using rig = await Rig.start()
  const volume = await rig.create()
  const snapshot = { id: randomUUID(), name: 'snap', volume }
  const taken = { ...snapshot, ...(await rig.driver.snapshots.create(snapshot, call)) }
  const known = { volumes: [volume], snapshots: [taken] }
  const reference = { 'source-name': `OS-data-${volume.id}:storage-1:volume-1` }
  await assert.rejects(rig.driver.manage.manage(newVolume(), reference, known, call), Conflict)
  const other = { id: randomUUID(), name: 'other', volume }
  const time = { 'source-name': taken.providerLocation ?? '' }
  const { manageSnapshots } = rig.driver
  await assert.rejects(manageSnapshots.manage(other, time, known, call), Conflict)
  assert.deepEqual(await manageSnapshots.manage(snapshot, time, known, call), {
    providerLocation: taken.providerLocation,
  })
  for (const bad of ['1234567890.1x', 'x1234567890.1', '12345.6', '1234567890.000000001']) {
    await assert.rejects(manageSnapshots.sizeBytes(volume, { 'source-name': bad }, call), Invalid, bad)
  }
  await stranger(rig, 'double', 2)
  const parent = (await rig.all()).find(({ name }) => name === 'double')
  const path = parent?.storage_instances[0]?.volumes[0]?.path ?? ''
  await rig.client.in('/root').snapshots(path).create({}, call)
  const reasons = (await manageSnapshots.list(known, call)).map(({ reasonNotSafe }) => reasonNotSafe)
  assert.deepEqual(reasons.sort(), ['already managed by Cinder', 'parent volume not safe to manage'])
})
