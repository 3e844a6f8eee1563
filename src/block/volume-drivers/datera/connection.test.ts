import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Misconfigured } from '../../../kernel/errors.ts'
import { call, driverOn, hostA, made, newVolume, Rig, TestArray, typeOf } from './driver.test-support.ts'

test('every request says which driver it is of, and those of one operation share a trace', async () => {
  await using rig = await Rig.start()
  const seen = new Map<string, Set<string>>()
  const log = Object.create(call.log, {
    isLevelEnabled: { value: () => true },
    debug: {
      value: ({ trace_id: trace, method, url }: Record<string, string>) => {
        if (trace !== undefined && url !== undefined) {
          seen.set(trace, (seen.get(trace) ?? new Set()).add(`${method} ${url}`))
        }
      },
    },
  })
  const volume = made(newVolume(), await rig.driver.create(newVolume(), call))
  seen.clear()
  rig.array.proxy.seen.length = 0
  await rig.driver.create(newVolume(), { ...call, log })
  assert.equal(seen.size, 1)
  assert.ok(([...seen.values()][0]?.size ?? 0) >= 2)
  await rig.driver.delete(volume, call)
  for (const { headers } of rig.array.proxy.seen) {
    assert.match(String(headers['datera-driver']), /^OpenStack-Cinder-\d/)
  }
})

test('the LDAP server goes into the login', async () => {
  await using array = await TestArray.start()
  await using driver = driverOn(array, { ldapServer: 'ldap.example', retryForSeconds: 0 })
  await driver.start(call).catch(() => {}) // whether the array knows the server is not our matter here
  const login = array.proxy.seen.find(({ path }) => path.endsWith('/login'))
  assert.match(login?.body ?? '', /"remote_server":"ldap\.example"/)
})

test('an array of API 2.1 gets no request of 2.2 after the first, no force, no override, no policies', async () => {
  await using array = await TestArray.start({ productVersion: '3.2.4.0' })
  const absent = { status: 404, body: { name: 'NotFoundError', code: 3, http: 404, message: 'no route' } }
  array.proxy.decide = ({ path }) => (path.startsWith('/v2.1/') ? 'pass' : absent)
  await using driver = driverOn(array)
  await driver.start(call)
  array.proxy.seen.length = 0
  const type = typeOf({ 'DF:placement_mode': 'all_flash', 'DF:placement_policy': 'all_flash' })
  const wanted = newVolume({ type })
  const volume = made(wanted, await driver.create(wanted, call))
  await driver.attach(volume, hostA, call)
  await driver.extend(volume, 2 * 1024 ** 3, call)
  await driver.delete(volume, call)
  assert.ok(array.proxy.seen.every(({ path }) => path.startsWith('/v2.1/')))
  const bodies = array.proxy.seen.filter(({ method }) => method === 'POST').map(({ body }) => body)
  const initiator = bodies.find((body) => body.includes(hostA.initiator))
  assert.ok(initiator !== undefined && !initiator.includes('force'))
  assert.ok(bodies.some((body) => body.includes('placement_mode')))
  assert.ok(!bodies.some((body) => body.includes('placement_policy')))
})

test('an array of another age is refused, with the versions that it has', async () => {
  await using array = await TestArray.start()
  const absent = { status: 404, body: { name: 'NotFoundError', code: 3, http: 404, message: 'no route' } }
  array.proxy.decide = ({ path }) => {
    if (path === '/api_versions') return { status: 200, body: { api_versions: ['v1', 'v2'] } }
    return /^\/v2\.\d/.test(path) ? absent : 'pass'
  }
  await using driver = driverOn(array)
  await assert.rejects(driver.start(call), (error) => {
    assert.ok(error instanceof Misconfigured)
    assert.match(error.message, /2\.2, 2\.1; it has v1, v2/)
    return true
  })
})

test('a tenant is looked for once, whoever asks, and none is named without tenancy', async () => {
  await using rig = await Rig.start({ tenant: 'Map' })
  const project = '3'.repeat(32)
  rig.array.proxy.seen.length = 0
  const wanted = Array.from({ length: 8 }, () => newVolume({ projectId: project }))
  await Promise.all(wanted.map((volume) => rig.driver.create(volume, call)))
  const tenants = rig.array.proxy.seen.filter(({ path }) => path.includes('/tenants'))
  assert.deepEqual(
    tenants.map(({ method }) => method),
    ['GET', 'POST'],
  )
  for (const tenant of ['None', 'none']) {
    await using plain = driverOn(rig.array, { tenant })
    await plain.start(call)
    rig.array.proxy.seen.length = 0
    await plain.create(newVolume(), call)
    const creating = rig.array.proxy.seen.filter(({ path }) => path.includes('/app_instances'))
    assert.ok(creating.length > 0 && creating.every(({ headers }) => headers['tenant'] === undefined))
  }
})

test('a project whose tenant cannot be made is told by the array, and the operator by the log', async () => {
  await using rig = await Rig.start({ tenant: 'Map', retryForSeconds: 0 })
  const forbidden = {
    status: 403,
    body: { name: 'ForbiddenError', code: 4, http: 403, message: 'not yours' },
  }
  rig.array.proxy.decide = ({ method, path }) =>
    method === 'POST' && path.endsWith('/tenants') ? forbidden : 'pass'
  const logged: string[] = []
  const log = Object.create(call.log, {
    error: { value: (_facts: unknown, text: string) => logged.push(text) },
  })
  await assert.rejects(rig.driver.create(newVolume(), { ...call, log }))
  assert.match(logged.join(), /create tenant \/root\/OS-.* on the array manually/)
})

test('capacity that the array does not tell for a moment is what it told last, and said to be stale', async () => {
  await using rig = await Rig.start({ retryForSeconds: 0 })
  const [fresh] = await rig.driver.pools(call)
  assert.equal(fresh?.capabilities['stale'], undefined)
  rig.array.proxy.decide = () => 'break before'
  const [stale] = await rig.driver.pools(call)
  assert.deepEqual([stale?.capabilities['stale'], stale?.totalBytes], [true, fresh?.totalBytes])
  await using other = driverOn(rig.array, { retryForSeconds: 0 })
  await assert.rejects(other.pools(call), 'what was never told cannot be stale')
})

test('what backends tell of their settings has the driver-wide defaults', async () => {
  await using array = await TestArray.start()
  const typeDefaults = { total_iops_max: '50', round_robin: 'True', template: 'gold' }
  await using driver = driverOn(array, { typeDefaults })
  const properties = await driver.capabilities.properties(call)
  const defaults = Object.fromEntries(
    Object.entries(properties).map(([key, { default: value }]) => [key, value]),
  )
  assert.equal(Object.keys(properties).length, 14)
  assert.deepEqual(
    [defaults['DF:total_iops_max'], defaults['DF:round_robin'], defaults['DF:template']],
    [50, true, 'gold'],
  )
  assert.equal(defaults['DF:replica_count'], 1, 'lowered by the debug override')
  assert.deepEqual(properties['DF:replica_count']?.minimum, 1)
  assert.deepEqual(properties['DF:placement_mode']?.enum, ['hybrid', 'single_flash', 'all_flash'])
})

test('display names of any alphabet are cut to what the array takes', async () => {
  await using rig = await Rig.start()
  const names = ['Müller 日本', '日本', 'x'.repeat(80), 'IMAGE', undefined]
  for (const displayName of names) {
    const wanted = newVolume({ displayName, name: 'volume-x' })
    const volume = made(wanted, await rig.driver.create(wanted, call))
    const { name } = await rig.only()
    assert.match(name, /^OS-[A-Za-z0-9._-]+$/)
    assert.ok(name.length <= 63 && name.endsWith(wanted.id), name)
    await rig.driver.delete({ ...volume, providerLocation: undefined }, call)
    assert.deepEqual(await rig.all(), [])
  }
})
