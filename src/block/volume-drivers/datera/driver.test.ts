import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { Writable } from 'node:stream'
import { test } from 'node:test'
import { readBytes } from '@emberglass/iscsi/device'
import { uncancelled } from '../../../kernel/call.ts'
import { BackendError, Invalid, Misconfigured, Unsupported } from '../../../kernel/errors.ts'
import { createLogger } from '../../../kernel/log.ts'
import { Secret } from '../../../kernel/secret.ts'
import {
  call,
  driverOn,
  GiB,
  hostA,
  hostB,
  made,
  newVolume,
  ourInitiator,
  Rig,
  storageOf,
  TestArray,
  typeOf,
  volumeOf,
} from './driver.test-support.ts'
import type { DateraSettings } from './options.ts'

test('a volume is one app instance with name, uuid, replicas, placement and limits of its type', async () => {
  for (const productVersion of ['3.2.4.0', '3.3.0.0']) {
    await using rig = await Rig.start({}, { productVersion })
    const type = typeOf(
      {
        'DF:replica_count': '2',
        'DF:placement_mode': 'single_flash',
        'DF:placement_policy': 'all_flash',
        'DF:iops_per_gb': '100',
      },
      { read_bandwidth_max: '4096' },
    )
    const volume = await rig.create(newVolume({ type, sizeBytes: 3 * GiB }))
    const appInstance = await rig.only()
    assert.equal(appInstance.name, `OS-data-${volume.id}`)
    assert.equal(volume.providerLocation, `/root|${appInstance.id}`)
    const stored = volumeOf(appInstance)
    assert.equal(stored.uuid, volume.id)
    assert.equal(stored.size, 3)
    assert.equal(stored.replica_count, 2)
    assert.equal(stored.performance_policy?.total_iops_max, 300)
    assert.equal(stored.performance_policy?.read_bandwidth_max, 4096)
    if (productVersion === '3.3.0.0') {
      assert.equal(stored.placement_policy?.path, '/placement_policies/all_flash')
    } else assert.equal(stored.placement_mode, 'single_flash')
    const metadata = await rig.client.in('/root').metadata(appInstance, call)
    assert.equal(metadata['display_name'], 'data')
  }
})

test('a volume is made with one request, and found with one', async () => {
  await using rig = await Rig.start({ disableMetadata: true })
  rig.array.proxy.seen.length = 0
  const volume = await rig.create()
  assert.deepEqual(
    rig.array.proxy.seen.map(({ method, path }) => `${method} ${path}`),
    ['POST /v2.2/app_instances'],
  )
  rig.array.proxy.seen.length = 0
  await rig.driver.extend(volume, GiB, call)
  assert.equal(rig.array.proxy.seen.length, 1)
})

test('limits per GiB follow a volume that is extended, cloned, or made from a snapshot', async () => {
  await using rig = await Rig.start()
  const type = typeOf({ 'DF:iops_per_gb': '100', 'DF:total_iops_max': '350' })
  const volume = await rig.create(newVolume({ type }))
  await rig.driver.extend(volume, 3 * GiB, call)
  assert.equal(volumeOf(await rig.only()).performance_policy?.total_iops_max, 300)
  const snapshot = { id: '0bb34f0c-fea4-48e0-bf96-591120ac7e3c', name: 'snap', volume }
  const taken = { ...snapshot, ...(await rig.driver.snapshots.create(snapshot, call)) }
  const clone = newVolume({ type, sizeBytes: 5 * GiB })
  const plain = newVolume({ sizeBytes: 3 * GiB })
  const restored = newVolume({ type: typeOf({ 'DF:replica_count': '2' }), sizeBytes: 4 * GiB })
  await rig.driver.clones.create(volume, clone, call)
  await rig.driver.clones.create(volume, plain, call)
  await rig.driver.snapshots.createVolume(taken, restored, call)
  const all = await rig.all()
  const stored = (id: string) => {
    const found = all.find(({ name }) => name.endsWith(id))
    assert.ok(found !== undefined)
    return volumeOf(found)
  }
  assert.equal(stored(clone.id).size, 5)
  assert.equal(stored(clone.id).performance_policy?.total_iops_max, 350)
  assert.equal(stored(plain.id).performance_policy?.total_iops_max ?? 0, 0, 'no limit is left of the source')
  assert.equal(stored(restored.id).size, 4)
  assert.equal(stored(restored.id).replica_count, 2)
})

test('the connection names every portal, and CHAP where it is on', async () => {
  const chap = { useChap: true, chapUsername: 'cinder', chapPassword: new Secret('secret-of-14ch') }
  await using rig = await Rig.start({ ...chap, reportDiscard: true })
  const volume = await rig.create()
  const { data, driverVolumeType } = await rig.driver.attach(volume, hostA, call)
  const storageInstance = storageOf(await rig.only())
  const iqn = storageInstance.access?.iqn
  assert.equal(driverVolumeType, 'iscsi')
  const portals = data['target_portals']
  assert.ok(Array.isArray(portals) && portals.length >= 2)
  assert.deepEqual(
    { ...data, target_portals: undefined },
    {
      target_discovered: false,
      target_iqn: iqn,
      target_portal: portals[0],
      target_lun: 0,
      target_iqns: portals.map(() => iqn),
      target_portals: undefined,
      target_luns: portals.map(() => 0),
      volume_id: volume.id,
      discard: true,
      auth_method: 'CHAP',
      auth_username: 'cinder',
      auth_password: 'secret-of-14ch',
    },
  )
  assert.equal(storageInstance.auth?.type, 'chap')
  assert.equal(storageInstance.auth?.target_user_name, 'cinder')
  const bytes = randomBytes(4096)
  {
    await using disk = await rig.driver.open(volume, 'rw', call)
    await disk.write(0, bytes, call)
    await disk.flush(call)
    assert.deepEqual(Buffer.from(await readBytes(disk, 0, 4096, call)), bytes)
  }
  await using plain = driverOn(rig.array)
  await plain.detach(volume, 'everyone', call)
  await plain.attach(volume, hostA, call)
  assert.equal(storageOf(await rig.only()).auth?.type, 'none', 'CHAP that was switched off is taken back')
})

test('round robin spreads volumes over the portals, and answers each host alike', async () => {
  await using rig = await Rig.start()
  const type = typeOf({ 'DF:round_robin': 'true' })
  const first = new Set<unknown>()
  for (let index = 0; index < 12 && first.size < 2; index += 1) {
    const volume = await rig.create(newVolume({ type }))
    const { data } = await rig.driver.attach(volume, hostA, call)
    assert.deepEqual((await rig.driver.attach(volume, hostA, call)).data, data)
    first.add(data['target_portal'])
  }
  assert.equal(first.size, 2)
})

test('a second host does not disturb the first, and the last one to leave turns off the light', async () => {
  await using rig = await Rig.start()
  const volume = await rig.create()
  await rig.driver.attach(volume, hostA, call)
  await using disk = await rig.driver.open(volume, 'rw', call)
  let stop = false
  const writing = (async () => {
    for (let index = 0; !stop; index += 1) {
      await disk.write((index % 64) * 4096, randomBytes(4096), call)
    }
  })()
  await rig.driver.attach(volume, hostB, call)
  await rig.driver.detach(volume, hostA, call)
  await rig.driver.attach(volume, hostA, call)
  await rig.driver.detach(volume, hostB, call)
  await rig.driver.extend(volume, 2 * GiB, call)
  stop = true
  await writing
  await rig.driver.detach(volume, hostA, call)
  const during = await rig.only()
  assert.equal(during.admin_state, 'online', 'we are still connected')
  await disk[Symbol.asyncDispose]()
  const after = await rig.only()
  assert.equal(after.admin_state, 'offline')
  assert.deepEqual(storageOf(after).acl_policy?.initiators, [])
})

test('what a killed process has left of its own access is taken back by the next one', async () => {
  await using rig = await Rig.start()
  const left = await rig.create()
  const used = await rig.create()
  await rig.driver.attach(left, { initiator: ourInitiator }, call) // as if opened, and killed before closing
  await rig.driver.attach(used, { initiator: ourInitiator }, call)
  await rig.driver.attach(used, hostA, call)
  await using next = driverOn(rig.array)
  await next.start(call)
  const states = async () =>
    (await rig.all()).map((each) => [each.admin_state, storageOf(each).acl_policy?.initiators.length])
  const expected = [
    ['offline', 0],
    ['online', 1],
  ]
  for (let look = 0; look < 100; look += 1) {
    if (JSON.stringify(await states()) === JSON.stringify(expected)) break
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  assert.deepEqual(await states(), expected)
})

test('a connector without an initiator is refused', async () => {
  await using rig = await Rig.start()
  const volume = await rig.create()
  await assert.rejects(rig.driver.attach(volume, { host: 'x' }, call), Invalid)
})

test('whichever request of a create fails, nothing is left', async () => {
  await using rig = await Rig.start({ retryForSeconds: 0 })
  const refused = { status: 422, body: { name: 'ValidationFailedError', code: 5, http: 422, message: 'no' } }
  const source = await rig.create()
  const clone = newVolume({ sizeBytes: 2 * GiB, type: typeOf({ 'DF:total_iops_max': '7' }) })
  rig.array.proxy.seen.length = 0
  await rig.driver.clones.create(source, clone, call)
  const requests = rig.array.proxy.seen.filter(({ path }) => !/metadata|ecosystem/.test(path))
  assert.ok(requests.length >= 4)
  await rig.driver.delete(made(clone, { providerLocation: undefined }), call)
  for (let failing = 0; failing < requests.length; failing += 1) {
    let number = -1
    rig.array.proxy.decide = ({ path, method }) => {
      if (/metadata|ecosystem/.test(path) || method === 'DELETE') return 'pass'
      number += 1
      return number === failing ? refused : 'pass'
    }
    const outcome = await rig.driver.clones.create(source, clone, call).then(
      () => 'made',
      (error: unknown) => error,
    )
    rig.array.proxy.decide = () => 'pass'
    const names = (await rig.all()).map(({ name }) => name)
    if (outcome === 'made') await rig.driver.delete(made(clone, { providerLocation: undefined }), call)
    else assert.deepEqual(names, [`OS-data-${source.id}`], `request ${failing} failed: ${String(outcome)}`)
  }
})

test('whichever request of an attachment fails, nobody new is let in and the volume is offline again', async () => {
  await using rig = await Rig.start({ retryForSeconds: 0, disableMetadata: true })
  const volume = await rig.create()
  rig.array.proxy.seen.length = 0
  await rig.driver.attach(volume, hostA, call)
  await rig.driver.detach(volume, hostA, call)
  const broken = { status: 500, body: { name: 'InternalError', code: 1, http: 500, message: 'broken' } }
  for (let failing = 0; failing < 6; failing += 1) {
    let number = -1
    rig.array.proxy.decide = () => {
      number += 1
      return number === failing ? broken : 'pass'
    }
    const outcome = await rig.driver.attach(volume, hostA, call).then(
      () => 'attached',
      (error: unknown) => error,
    )
    rig.array.proxy.decide = () => 'pass'
    if (outcome === 'attached') {
      assert.ok(failing >= 4, `request ${failing} was needed`)
      await rig.driver.detach(volume, hostA, call)
    } else assert.ok(outcome instanceof BackendError, String(outcome))
    const appInstance = await rig.only()
    assert.deepEqual(storageOf(appInstance).acl_policy?.initiators, [], `request ${failing}`)
    assert.equal(appInstance.admin_state, 'offline', `request ${failing}`)
  }
})

test('what an earlier attempt has left half-made is replaced, and what it finished is taken over', async () => {
  await using rig = await Rig.start()
  const volume = newVolume()
  const name = `OS-data-${volume.id}`
  const halfMade = await rig.client.in('/root').appInstances.create({ name, create_mode: 'openstack' }, call)
  await rig.create(volume)
  const appInstance = await rig.only()
  assert.notEqual(appInstance.id, halfMade.id)
  assert.equal(volumeOf(appInstance).size, 1)
  const again = await rig.create({ ...volume, name: 'renamed meanwhile', sizeBytes: 2 * GiB })
  assert.equal(again.providerLocation, `/root|${appInstance.id}`)
  assert.equal(volumeOf(await rig.only()).size, 2)
})

test('an app instance without a volume, and one that vanishes meanwhile, can be deleted', async () => {
  await using rig = await Rig.start()
  const volume = newVolume()
  await rig.client
    .in('/root')
    .appInstances.create({ name: `OS-${volume.id}`, create_mode: 'openstack' }, call)
  await rig.driver.delete(made(volume, { providerLocation: undefined }), call)
  assert.deepEqual(await rig.all(), [])
  const second = await rig.create()
  const gone = { status: 404, body: { name: 'NotFoundError', code: 3, http: 404, message: 'does not exist' } }
  rig.array.proxy.decide = ({ method }) => (method === 'GET' ? 'pass' : gone)
  await rig.driver.delete(second, call)
})

test('names that look alike are told apart; two that are alike are refused', async () => {
  await using rig = await Rig.start()
  const volume = await rig.create()
  const root = rig.client.in('/root')
  await root.appInstances.create({ name: `OS-IMAGE-${volume.id}` }, call)
  await root.appInstances.create({ name: `BACKUP-${volume.id}` }, call)
  const forgotten = made(volume, { providerLocation: undefined })
  await rig.driver.extend(forgotten, 2 * GiB, call)
  await root.appInstances.create({ name: `OS-other-${volume.id}` }, call)
  await assert.rejects(rig.driver.extend(forgotten, 3 * GiB, call), BackendError)
})

test('projects get tenants of their own in Map mode, and copies across them are unsupported', async () => {
  await using rig = await Rig.start({ tenant: 'Map' })
  const mine = await rig.create(newVolume({ projectId: '11111111111111111111111111111111' }))
  assert.equal((await rig.only('/root/OS-11111111111111111111111111111111')).name, `OS-data-${mine.id}`)
  await rig.driver.attach(mine, hostA, call)
  const initiators = await rig.client
    .in('/root/OS-11111111111111111111111111111111')
    .initiators.list({}, call)
  assert.equal(initiators[0]?.tenant, '/root/OS-11111111111111111111111111111111')
  const theirs = newVolume({ projectId: '22222222222222222222222222222222' })
  await assert.rejects(rig.driver.clones.create(mine, theirs, call), Unsupported)
  const moved = { ...mine, projectId: '22222222222222222222222222222222' }
  await rig.driver.extend(moved, 2 * GiB, call)
  await rig.driver.delete(moved, call)
  assert.deepEqual(await rig.all('/root/OS-11111111111111111111111111111111'), [])
})

test('templates give a volume its shape, and the request its size', async () => {
  await using rig = await Rig.start()
  const template = {
    name: 'gold',
    storage_templates: [
      {
        name: 'disks',
        volume_templates: [{ name: 'boot', size: 7, replica_count: 1, snapshot_policies: [] }],
      },
    ],
  }
  await rig.client.in('/root').appTemplates.create(template, call)
  const type = typeOf({ 'DF:template': 'gold', 'DF:total_iops_max': '90' })
  const volume = await rig.create(newVolume({ type, sizeBytes: 9 * GiB }))
  const stored = volumeOf(await rig.only())
  assert.deepEqual([stored.name, stored.size, stored.performance_policy?.total_iops_max], ['boot', 9, 90])
  const again = await rig.create({ ...volume, name: 'renamed meanwhile' })
  assert.equal(again.providerLocation, volume.providerLocation)
  await rig.driver.delete(volume, call)
  await assert.rejects(rig.create(newVolume({ type: typeOf({ 'DF:template': 'absent' }) })), Invalid)
  await using rigid = driverOn(rig.array, { disableTemplateOverride: true })
  await assert.rejects(rigid.create(newVolume({ type, sizeBytes: 9 * GiB }), call), /7 GiB, not 9 GiB/)
  assert.deepEqual(await rig.all(), [])
  const exact = newVolume({ type, sizeBytes: 7 * GiB })
  const fixed = made(exact, await rigid.create(exact, call))
  await assert.rejects(rigid.extend(fixed, 8 * GiB, call), Unsupported)
})

test('named pools are used, and a host in the network of one gets that one', async () => {
  await using rig = await Rig.start()
  const root = rig.client.in('/root')
  for (const [name, start] of [
    ['near', '10.1.0.10'],
    ['far', '10.2.0.10'],
  ] as const) {
    const paths = [{ name: 'access_1', start_ip: start, netmask: 24, range: 6 }]
    await root.accessNetworkIpPools.create({ name, network_paths: paths }, call)
  }
  const type = typeOf({ 'DF:ip_pool': 'near,far' })
  const volume = await rig.create(newVolume({ type }))
  await rig.driver.attach(volume, { ...hostA, ip: '10.2.0.77' }, call)
  const pool = async () => storageOf(await rig.only()).ip_pool?.path
  assert.equal(await pool(), '/access_network_ip_pools/far')
  await rig.driver.attach(volume, { ...hostB, ip: '10.1.0.77' }, call)
  assert.equal(await pool(), '/access_network_ip_pools/far', 'it stays while a host is attached')
})

test('sizes outside what the array takes are refused before anything is asked', async () => {
  await using rig = await Rig.start()
  rig.array.proxy.seen.length = 0
  await assert.rejects(rig.create(newVolume({ sizeBytes: 32_769 * GiB })), Invalid)
  await assert.rejects(rig.create(newVolume({ sizeBytes: 0 })), Invalid)
  assert.equal(rig.array.proxy.seen.length, 0)
})

test('two drivers at once on one array keep each volume whole and every host on its list', async () => {
  await using rig = await Rig.start()
  await using other = driverOn(rig.array, {}, { initiatorName: 'iqn.2026-01.org.emberglass:other' })
  const shared = await rig.create()
  const hosts = Array.from({ length: 8 }, (_, index) => ({ initiator: `iqn.2026-01.example:h${index}` }))
  await Promise.all(
    hosts.map((host, index) => (index % 2 === 0 ? rig.driver : other).attach(shared, host, call)),
  )
  const listed = storageOf(await rig.only()).acl_policy?.initiators.map(({ path }) => path)
  assert.deepEqual(listed?.sort(), hosts.map(({ initiator }) => `/initiators/${initiator}`).sort())
  const same = newVolume()
  const both = await Promise.all([rig.driver.create(same, call), other.create(same, call)])
  assert.equal(both[0]?.providerLocation, both[1]?.providerLocation)
  assert.equal((await rig.all()).length, 2)
  await Promise.all([rig.driver.delete(shared, call), other.delete(shared, call)])
})

test('a storm of busy answers and broken connections is survived', async () => {
  await using rig = await Rig.start({ retryForSeconds: 30, retryEverySeconds: 0.02 })
  const busy = { status: 503, body: { name: 'NotConnectedError', code: 8, http: 503, message: 'busy' } }
  const fates = ['pass', busy, 'break after', 'pass', 'break before'] as const
  rig.array.proxy.decide = ({ number }) => fates[number % fates.length] ?? 'pass'
  const volumes = await Promise.all(Array.from({ length: 4 }, () => rig.create()))
  await Promise.all(volumes.map((volume) => rig.driver.attach(volume, hostA, call)))
  await Promise.all(volumes.map((volume) => rig.driver.delete(volume, call)))
  rig.array.proxy.decide = () => 'pass'
  assert.deepEqual(await rig.all(), [])
})

test('snapshots are found by their uuid when the remembered time is stale, and go with their volume', async () => {
  await using rig = await Rig.start()
  const volume = await rig.create()
  const snapshot = { id: '0bb34f0c-fea4-48e0-bf96-591120ac7e3c', name: 'snap', volume }
  const { providerLocation } = await rig.driver.snapshots.create(snapshot, call)
  assert.match(providerLocation ?? '', /^\d{10,}\.\d+$/)
  await rig.driver.snapshots.delete({ ...snapshot, providerLocation: '1000000000.000000001' }, call)
  const path = volumeOf(await rig.only()).path
  assert.deepEqual(await rig.client.in('/root').snapshots(path).list({}, call), [])
  await rig.client.in('/root').snapshots(path).create({}, call) // by somebody on the array itself
  await rig.driver.delete(volume, call)
  assert.deepEqual(await rig.all(), [])
  await rig.driver.snapshots.delete({ ...snapshot, providerLocation }, call)
})

test('the pool says what the array has', async () => {
  await using rig = await Rig.start({ reservedPercentage: 7 })
  const [pool, ...others] = await rig.driver.pools(call)
  assert.ok(pool !== undefined && others.length === 0)
  const system = await rig.client.system(call)
  // What the array can hold follows the free space of the disk it lies on, which others on the machine use too.
  assert.ok(Math.abs((pool.totalBytes ?? 0) - system.total_capacity) < system.total_capacity / 10)
  const { capabilities } = pool
  assert.equal(capabilities['vendor_name'], 'Datera')
  assert.equal(capabilities['storage_protocol'], 'iSCSI')
  assert.equal(capabilities['reserved_percentage'], 7)
  assert.equal(capabilities['multiattach'], true)
})

test('settings that cannot work are refused at start, by name', async () => {
  await using array = await TestArray.start()
  const wrong: readonly (readonly [Partial<DateraSettings>, RegExp])[] = [
    [{ host: '' }, /san_ip/],
    [{ password: undefined }, /san_password/],
    [{ password: new Secret('not the password') }, /san_login/],
    [{ tenant: 'all' }, /datera_tenant_id/],
    [{ typeDefaults: { replica_count: 'x' } }, /datera_volume_type_defaults.*replica_count/],
    [{ useChap: true, chapUsername: 'cinder', chapPassword: new Secret('short') }, /chap_password/],
    [{ useChap: true, chapUsername: '1', chapPassword: new Secret('secret-of-14ch') }, /chap_username/],
    [{ clientKey: '/tmp/key' }, /driver_client_cert/],
    [{ certificateAuthority: '/nonexistent', useSsl: true }, /driver_ssl_cert_path/],
  ]
  for (const [settings, message] of wrong) {
    await using driver = driverOn(array, settings)
    await assert.rejects(driver.start(call), (error) => {
      assert.ok(error instanceof Misconfigured, `${error}`)
      assert.match(error.message, message)
      return true
    })
  }
})

test('an array that is away is a backend error, and a driver recovers when it is back', async () => {
  await using rig = await Rig.start({ retryForSeconds: 0 })
  const away = driverOn(rig.array, { retryForSeconds: 0 })
  rig.array.proxy.decide = () => 'break before'
  await assert.rejects(away.start(call), BackendError)
  rig.array.proxy.decide = () => 'pass'
  await away.start(call)
  assert.equal((await away.pools(call)).length, 1)
  await away[Symbol.asyncDispose]()
})

test('no secret reaches the log, even with every request in it', async () => {
  await using array = await TestArray.start()
  let text = ''
  const sink = new Writable({
    write(chunk, _encoding, done) {
      text += String(chunk)
      done()
    },
  })
  const logged = uncancelled(createLogger({ name: 'test', level: 'trace' }, sink))
  const chap = { useChap: true, chapUsername: 'cinder', chapPassword: new Secret('secret-of-14ch') }
  await using driver = driverOn(array, { ...chap, debug: true })
  await driver.start(logged)
  const volume = newVolume()
  const stored = made(volume, await driver.create(volume, logged))
  await driver.attach(stored, hostA, logged)
  await driver.delete(stored, logged)
  assert.ok(text.includes('request to the array') && text.includes('trace_id'))
  const tokens = array.proxy.seen
    .map(({ headers }) => headers['auth-token'])
    .filter((token) => token !== undefined)
  for (const secret of ['secret-of-14ch', array.node.password, ...tokens.map(String)]) {
    assert.ok(!text.includes(secret), 'a secret is in the log')
  }
})
