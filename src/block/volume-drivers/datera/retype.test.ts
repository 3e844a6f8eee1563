import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type BackendVolume, typeDifferences, type VolumeTypeFacts } from '../../volume-driver.ts'
import { call, hostA, newVolume, Rig, storageOf, typeOf, volumeOf } from './driver.test-support.ts'

async function retype(rig: Rig, volume: BackendVolume, newType: VolumeTypeFacts, attached = false) {
  const request = { newType, differences: typeDifferences(volume.type, newType), attached }
  return await rig.driver.retype.change(volume, request, call)
}

/** Requests that change something. */
const writes = (rig: Rig) =>
  rig.array.proxy.seen.filter(
    ({ method, path }) => method !== 'GET' && !/login|metadata|ecosystem/.test(path),
  )

async function addPools(rig: Rig): Promise<void> {
  for (const name of ['near', 'far']) {
    const paths = [{ name: 'access_1', start_ip: '10.1.0.10', netmask: 24, range: 6 }]
    await rig.client.in('/root').accessNetworkIpPools.create({ name, network_paths: paths }, call)
  }
}

test('limits, replicas and placement change while a host is connected, which notices nothing', async () => {
  for (const productVersion of ['3.2.4.0', '3.3.0.0']) {
    await using rig = await Rig.start({}, { productVersion })
    const volume = await rig.create()
    await rig.driver.attach(volume, hostA, call)
    rig.array.proxy.seen.length = 0
    const newType = typeOf({
      'DF:replica_count': '3',
      'DF:placement_mode': 'all_flash',
      'DF:placement_policy': 'all_flash',
      'DF:iops_per_gb': '70',
    })
    assert.equal(await retype(rig, volume, newType, true), undefined)
    assert.ok(!writes(rig).some(({ body }) => body.includes('admin_state')), 'it stays online')
    const stored = volumeOf(await rig.only())
    assert.deepEqual([stored.replica_count, stored.performance_policy?.total_iops_max], [3, 70])
    const placement = writes(rig).find(({ body }) => body.includes('placement'))?.body ?? ''
    const is33 = productVersion === '3.3.0.0'
    assert.equal(placement.includes('placement_policy'), is33, 'one key or the other')
    assert.equal(placement.includes('placement_mode'), !is33)
  }
})

test('no limit is left after a change to a type without limits, or with nothing at all', async () => {
  await using rig = await Rig.start()
  const limited = typeOf({ 'DF:total_iops_max': '50' }, { read_bandwidth_max: '4096' })
  const volume = await rig.create(newVolume({ type: limited }))
  assert.equal(await retype(rig, volume, typeOf({})), undefined)
  const policy = volumeOf(await rig.only()).performance_policy
  assert.deepEqual([policy?.total_iops_max ?? 0, policy?.read_bandwidth_max ?? 0], [0, 0])
  const untyped = { ...volume, type: undefined }
  assert.equal(await retype(rig, untyped, limited), undefined, 'from no type')
  assert.equal(volumeOf(await rig.only()).performance_policy?.total_iops_max, 50)
})

test('what cannot be done in place is a reason, and nothing has changed', async () => {
  await using rig = await Rig.start()
  await addPools(rig)
  const template = {
    name: 'gold',
    storage_templates: [
      {
        name: 'disks',
        volume_templates: [{ name: 'boot', size: 1, replica_count: 1, snapshot_policies: [] }],
      },
    ],
  }
  await rig.client.in('/root').appTemplates.create(template, call)
  const volume = await rig.create(newVolume({ type: typeOf({ 'DF:replica_count': '3' }) }))
  rig.array.proxy.seen.length = 0
  const refused: readonly (readonly [Record<string, string>, RegExp, boolean])[] = [
    [{ 'DF:replica_count': '2' }, /3 replicas/, false],
    [{ 'DF:replica_count': '9' }, /DF:replica_count is '9'/, false],
    [{ 'DF:replica_count': '3', 'DF:template': 'gold' }, /template/, false],
    [{ 'DF:replica_count': '3', 'DF:ip_pool': 'far' }, /detach it first/, true],
    [{ 'DF:replica_count': '3', volume_backend_name: 'ceph' }, /backend ceph/, false],
  ]
  for (const [extraSpecs, reason, attached] of refused) {
    assert.match((await retype(rig, volume, typeOf(extraSpecs), attached)) ?? '', reason)
  }
  assert.deepEqual(writes(rig), [])
  const same = typeOf({ 'DF:replica_count': '3', volume_backend_name: 'Datera' })
  assert.equal(await retype(rig, volume, same), undefined, 'names of backends do not differ by case')
})

test('a pool changes when nobody is attached', async () => {
  await using rig = await Rig.start()
  await addPools(rig)
  const volume = await rig.create()
  assert.equal(await retype(rig, volume, typeOf({ 'DF:ip_pool': 'far' })), undefined)
  assert.equal(storageOf(await rig.only()).ip_pool?.path, '/access_network_ip_pools/far')
})

test('whichever request fails, pool and placement are what they were', async () => {
  await using rig = await Rig.start({ retryForSeconds: 0, disableMetadata: true })
  await addPools(rig)
  const before = typeOf({ 'DF:ip_pool': 'near' })
  const after = typeOf({
    'DF:ip_pool': 'far',
    'DF:placement_policy': 'all_flash',
    'DF:total_iops_max': '9',
  })
  const broken = { status: 500, body: { name: 'InternalError', code: 1, http: 500, message: 'broken' } }
  const refusal = { status: 422, body: { name: 'ValidationFailedError', code: 5, http: 422, message: 'no' } }
  const volume = await rig.create(newVolume({ type: before }))
  for (const answer of [broken, refusal]) {
    for (const failing of ['ip_pools/far', 'all_flash', 'total_iops_max']) {
      rig.array.proxy.decide = ({ method, body }) =>
        method === 'PUT' && body.includes(failing) ? answer : 'pass'
      const outcome = await retype(rig, volume, after).catch((error: unknown) => error)
      rig.array.proxy.decide = () => 'pass'
      if (answer === refusal) assert.match(String(outcome), /refuses/)
      else assert.ok(outcome instanceof Error)
      const appInstance = await rig.only()
      assert.equal(storageOf(appInstance).ip_pool?.path, '/access_network_ip_pools/near', failing)
      assert.notEqual(volumeOf(appInstance).placement_policy?.path, '/placement_policies/all_flash')
      assert.equal(volumeOf(appInstance).performance_policy?.total_iops_max ?? 0, 0)
    }
  }
  assert.equal(await retype(rig, volume, after), undefined)
})
