import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { TLSSocket } from 'node:tls'
import { loadCertificate } from '../node/certificate.ts'
import { removeAppInstance } from './app-instances.ts'
import { TestArray } from './array.test-support.ts'
import { EdfClient } from './edf-client.ts'
import {
  EdfAuth,
  EdfConflict,
  EdfError,
  EdfInvalid,
  EdfNotFound,
  EdfProtocol,
  EdfTls,
  EdfUnavailable,
  EdfVersion,
} from './errors.ts'
import type { Exchange } from './exchange.ts'
import { containing } from './filter.ts'
import type { EdfScope } from './scope.ts'
import type { EdfTlsOptions } from './transport.ts'

const call = { signal: new AbortController().signal }
const busy = { status: 503, body: { name: 'NotConnectedError', code: 8, http: 503, message: 'busy' } }

function volumeRequest(name: string) {
  return {
    name,
    create_mode: 'openstack' as const,
    access_control_mode: 'deny_all' as const,
    storage_instances: [
      {
        name: 'storage-1',
        volumes: [{ name: 'volume-1', size: 1, replica_count: 1, snapshot_policies: [] }],
      },
    ],
  }
}

test('it logs in with the newest version, says who it is, and knows the product', async () => {
  await using array = await TestArray.start({ productVersion: '3.2.4.0' })
  await using client = await array.connect()
  assert.equal(client.version, '2.2')
  assert.equal(client.productVersion, '3.2.4.0')
  assert.equal(client.has('placementPolicy'), false)
  assert.ok(array.proxy.seen.every(({ headers }) => headers['datera-driver'] === 'Emberglass-Test'))
  assert.deepEqual(
    array.proxy.seen.map(({ method, path }) => `${method} ${path}`),
    ['PUT /v2.2/login', 'GET /v2.2/system'],
  )
})

test('an array without version 2.2 is spoken to in 2.1, where lists have no pages', async () => {
  await using array = await TestArray.start()
  const unknown = {
    status: 404,
    body: { name: 'InvalidRouteError', code: 3, http: 404, message: 'no route' },
  }
  array.proxy.decide = ({ path }) => (path.startsWith('/v2.2/') ? unknown : 'pass')
  await using client = await array.connect()
  assert.equal(client.version, '2.1')
  assert.equal(client.has('intEcosystemData'), false, 'features of 2.2 are not used')
  const root = client.in('/root')
  for (const name of ['first', 'second']) await root.appInstances.create(volumeRequest(name), call)
  const names = (await root.appInstances.list({}, call)).map((each) => each.name)
  assert.deepEqual(names, ['first', 'second'])
})

test('an array with none of our versions is named with those it has', async () => {
  await using array = await TestArray.start()
  const unknown = {
    status: 404,
    body: { name: 'InvalidRouteError', code: 3, http: 404, message: 'no route' },
  }
  array.proxy.decide = ({ path }) => (path === '/api_versions' ? 'pass' : unknown)
  await assert.rejects(array.connect(), (error) => {
    assert.ok(error instanceof EdfVersion)
    assert.deepEqual(error.offered, ['v2.1', 'v2.2', 'v2.3'])
    return true
  })
})

test('wrong credentials are refused at once, without another try', async () => {
  await using array = await TestArray.start()
  await assert.rejects(array.connect({ password: 'not-the-password' }), EdfAuth)
  assert.equal(array.proxy.seen.length, 1)
})

test('an array that cannot be reached is retried for the budget and then unavailable', async () => {
  await assert.rejects(
    EdfClient.connect(
      {
        host: '127.0.0.1',
        port: 1,
        tls: false,
        login: 'admin',
        password: 'secret',
        driver: 'test',
        retry: { budgetMs: 300, intervalMs: 50 },
      },
      call,
    ),
    (error) => error instanceof EdfUnavailable && error.outcome === 'none',
  )
})

test('TLS is spoken, and an unknown certificate is refused when it is to be verified', async () => {
  await using array = await TestArray.start()
  const port = Number(new URL(array.node.httpsUrl).port)
  await using client = await array.connect({ port, tls: { verify: false } })
  assert.equal(client.origin, `https://127.0.0.1:${port}`)
  await assert.rejects(array.connect({ port, tls: { verify: true } }), EdfTls)
})

test('our certificate is shown to an array that asks for it, and the array is checked by its authority', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'emberglass-tls-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  const { cert, key } = await loadCertificate(directory, ['127.0.0.1'])
  const shown: boolean[] = []
  // The certificate signs itself, and so is its own authority.
  const options = { cert, key, ca: cert, requestCert: true, rejectUnauthorized: true }
  const server = createServer(options, (request, response) => {
    shown.push(request.socket instanceof TLSSocket && request.socket.authorized)
    const login = request.url === '/v2.2/login'
    const system = { name: 'n', uuid: 'u', sw_version: '3.3.0.0', total_capacity: 1, available_capacity: 1 }
    response.end(JSON.stringify(login ? { key: 'k' } : { data: system }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const address = server.address()
  assert.ok(address !== null && typeof address === 'object')
  const connection = { host: '127.0.0.1', port: address.port, driver: 'Test', login: 'admin', password: 'p' }
  const retry = { budgetMs: 0, intervalMs: 0 }
  const connect = (tls: EdfTlsOptions) => EdfClient.connect({ ...connection, retry, tls }, call)
  {
    await using client = await connect({ verify: true, ca: cert, cert, key })
    assert.equal(client.lastSystem.uuid, 'u')
  }
  assert.ok(shown.length >= 2 && shown.every(Boolean))
  await assert.rejects(connect({ verify: true, cert, key }), EdfTls)
  await assert.rejects(connect({ verify: true, ca: cert }), EdfError)
})

test('two controllers in a storm make, grow and remove volumes of one array without losing one', async () => {
  await using array = await TestArray.start()
  await using one = await array.connect({ driver: 'One', retry: { budgetMs: 60_000, intervalMs: 50 } })
  await using two = await array.connect({ driver: 'Two', retry: { budgetMs: 60_000, intervalMs: 50 } })
  const fates = ['pass', 'break before', busy, 'pass', 'break after', 'pass', busy] as const
  array.proxy.decide = ({ number }) => fates[number % fates.length] ?? 'pass'
  const roots = [one.in('/root'), two.in('/root')]
  const work = async (root: EdfScope, name: string): Promise<void> => {
    const made = await root.appInstances.create(volumeRequest(name), call)
    const path = made.storage_instances[0]?.volumes[0]?.path ?? ''
    await root.snapshots(path).create({ uuid: randomUUID() }, call)
    const instance = made.storage_instances[0]?.path ?? ''
    await root.volumes(instance).update('volume-1', { size: 2 }, call)
    if (name.endsWith('0')) await removeAppInstance(root, made, call)
  }
  const names = Array.from({ length: 20 }, (_, index) => `storm-${index}`)
  await Promise.all(names.map((name, index) => work(roots[index % 2] ?? one.in('/root'), name)))
  array.proxy.decide = () => 'pass'
  const left = await one.in('/root').appInstances.list({}, call)
  const expected = names.filter((name) => !name.endsWith('0'))
  assert.deepEqual(left.map(({ name }) => name).sort(), expected.sort())
  for (const { storage_instances } of left) {
    const volume = storage_instances[0]?.volumes[0]
    assert.deepEqual([volume?.size, volume?.snapshots?.length], [2, 1])
  }
})

test('an expired session is renewed once for everybody who noticed', async () => {
  await using array = await TestArray.start()
  await using client = await array.connect()
  const stale = array.proxy.seen.at(-1)?.headers['auth-token']
  const expired = {
    status: 401,
    body: { name: 'InvalidSessionKeyError', code: 2, http: 401, message: 'expired' },
  }
  array.proxy.decide = ({ headers }) => (headers['auth-token'] === stale ? expired : 'pass')
  const root = client.in('/root')
  await Promise.all(Array.from({ length: 8 }, () => root.appInstances.list({}, call)))
  const logins = array.proxy.seen.filter(({ path }) => path.endsWith('/login'))
  assert.ok(logins.length >= 2 && logins.length <= 3, `${logins.length} logins`)
})

test('a request that is refused even after a new login fails', async () => {
  await using array = await TestArray.start()
  await using client = await array.connect()
  const refused = { status: 401, body: { name: 'AuthFailedError', code: 2, http: 401, message: 'no' } }
  array.proxy.decide = ({ path }) => (path.includes('app_instances') ? refused : 'pass')
  await assert.rejects(client.in('/root').appInstances.list({}, call), EdfAuth)
})

test('busy answers and broken connections in a storm lose no operation', async () => {
  await using array = await TestArray.start()
  await using client = await array.connect({ retry: { budgetMs: 30_000, intervalMs: 20 } })
  const fates = ['break before', busy, 'break after', 'pass'] as const
  array.proxy.decide = ({ number }) => fates[number % fates.length] ?? 'pass'
  const root = client.in('/root')
  const names = Array.from({ length: 12 }, (_, index) => `volume-${index}`)
  const made = await Promise.all(names.map((name) => root.appInstances.create(volumeRequest(name), call)))
  assert.deepEqual(made.map(({ name }) => name).sort(), [...names].sort())
  assert.equal((await root.appInstances.list({}, call)).length, names.length, 'each was made once')
  await Promise.all(made.map(({ path }) => root.appInstances.delete(path, { force: true }, call)))
  array.proxy.decide = () => 'pass'
  assert.deepEqual(await root.appInstances.list({}, call), [])
})

test('a create whose answer was lost is read back instead of failing as a conflict', async () => {
  await using array = await TestArray.start()
  await using client = await array.connect()
  const root = client.in('/root')
  let lost = 0
  array.proxy.decide = ({ method, path }) => {
    if (method !== 'POST' || !path.endsWith('/app_instances') || lost > 0) return 'pass'
    lost += 1
    return 'break after'
  }
  const made = await root.appInstances.create(volumeRequest('lost-and-found'), call)
  assert.equal(lost, 1)
  assert.equal(made.name, 'lost-and-found')
  const volume = made.storage_instances[0]?.volumes[0]
  assert.ok(volume !== undefined)
  array.proxy.decide = ({ method, path, number }) =>
    method === 'POST' && path.endsWith('/snapshots') && number % 2 === 0 ? 'break after' : 'pass'
  for (const uuid of ['0bb34f0c-fea4-48e0-bf96-591120ac7e3c', '1bb34f0c-fea4-48e0-bf96-591120ac7e3c']) {
    assert.equal((await root.snapshots(volume).create({ uuid }, call)).uuid, uuid)
  }
})

test('a create that nothing identifies is not repeated after a lost answer', async () => {
  await using array = await TestArray.start()
  await using client = await array.connect()
  const root = client.in('/root')
  const made = await root.appInstances.create(volumeRequest('unnamed-snapshots'), call)
  const volume = made.storage_instances[0]?.volumes[0]
  assert.ok(volume !== undefined)
  array.proxy.decide = ({ method }) => (method === 'POST' ? 'break after' : 'pass')
  await assert.rejects(
    root.snapshots(volume).create({}, call),
    (error) => error instanceof EdfUnavailable && error.outcome === 'unknown',
  )
  assert.equal((await root.snapshots(volume).list({}, call)).length, 1)
})

test('refusals come as classes, with what the array said of them', async () => {
  await using array = await TestArray.start()
  await using client = await array.connect()
  const root = client.in('/root')
  const made = await root.appInstances.create(volumeRequest('refused'), call)
  const volume = made.storage_instances[0]?.volumes[0]
  const storageInstance = made.storage_instances[0]
  assert.ok(volume !== undefined && storageInstance !== undefined)
  await assert.rejects(root.appInstances.create(volumeRequest('refused'), call), EdfConflict)
  await assert.rejects(root.appInstances.get('nobody', call), (error) => {
    assert.ok(error instanceof EdfNotFound)
    assert.equal(error.apiName, 'NotFoundError')
    assert.equal(error.status, 404)
    return true
  })
  await root.volumes(storageInstance).update(volume.path, { size: 2 }, call)
  await assert.rejects(root.volumes(storageInstance).update(volume.path, { size: 1 }, call), EdfInvalid)
  const uuid = '0bb34f0c-fea4-48e0-bf96-591120ac7e3c'
  await root.snapshots(volume).create({ uuid }, call)
  await assert.rejects(
    root.snapshots(volume).create({ uuid }, call),
    (error) => error instanceof EdfConflict && error.apiCode === 15,
  )
  assert.equal(await root.appInstances.find('nobody', call), undefined)
})

test('long lists come page by page, filters select, in every version', async () => {
  await using array = await TestArray.start()
  await using client = await array.connect()
  const root = client.in('/root')
  for (let first = 0; first < 520; first += 40) {
    const names = Array.from({ length: Math.min(40, 520 - first) }, (_, index) => `host-${first + index}`)
    await Promise.all(
      names.map((name) =>
        root.initiators.create({ id: `iqn.2026-01.example:${name}`, name, force: true }, call),
      ),
    )
  }
  array.proxy.seen.length = 0
  const all = await root.initiators.list({}, call)
  assert.equal(new Set(all.map(({ id }) => id)).size, 520)
  assert.equal(array.proxy.seen.length, 2, 'two pages')
  const some = await root.initiators.list({ filter: containing('name', 'host-51') }, call)
  assert.equal(some.length, 11, 'host-51 and host-510 to host-519')
})

test('an abort ends a call promptly with its reason, also in the pause before a retry', async () => {
  await using array = await TestArray.start()
  await using client = await array.connect({ retry: { budgetMs: 60_000, intervalMs: 30_000 } })
  array.proxy.decide = () => busy
  const controller = new AbortController()
  const reason = new Error('the caller has changed its mind')
  const pending = client.in('/root').appInstances.list({}, { signal: controller.signal })
  setTimeout(() => controller.abort(reason), 50)
  await assert.rejects(pending, (error) => error === reason)
})

test('observers see every exchange of a call, and no secret', async () => {
  await using array = await TestArray.start()
  const seen: Exchange[] = []
  const watched = { ...call, traceId: 'trace-1', onExchange: (exchange: Exchange) => seen.push(exchange) }
  await using client = await EdfClient.connect(array.clientOptions(), watched)
  const root = client.in('/root')
  const made = await root.appInstances.create(volumeRequest('observed'), watched)
  const storageInstance = made.storage_instances[0]
  assert.ok(storageInstance !== undefined)
  const auth = { type: 'chap', target_user_name: 'observer', target_pswd: 'very-secret-16' } as const
  await root.setAuth(storageInstance, auth, watched)
  assert.equal(seen.length, 4)
  assert.ok(seen.every(({ traceId }) => traceId === 'trace-1'))
  const text = JSON.stringify(seen)
  const token = array.proxy.seen.at(-1)?.headers['auth-token']
  for (const secret of [array.node.password, 'very-secret-16', String(token)]) {
    assert.ok(!text.includes(secret), 'no secret in what observers see')
  }
  assert.ok(text.includes('observer'), 'but names are there')
})

test('an answer that is not what the API promises is a protocol error', async () => {
  await using array = await TestArray.start()
  await using client = await array.connect()
  array.proxy.decide = () => ({ status: 200, body: { data: [{ path: 5 }] } })
  await assert.rejects(client.in('/root').appInstances.list({}, call), EdfProtocol)
  array.proxy.decide = () => ({ status: 200, body: 'no envelope' })
  await assert.rejects(client.in('/root').appInstances.list({}, call), EdfProtocol)
})

test('limits are set in one request, metadata where the product keeps them', async () => {
  for (const productVersion of ['3.2.0.0', '3.3.0.0']) {
    await using array = await TestArray.start({ productVersion })
    await using client = await array.connect()
    const root = client.in('/root')
    const made = await root.appInstances.create(volumeRequest('limited'), call)
    const volume = made.storage_instances[0]?.volumes[0]
    assert.ok(volume !== undefined)
    assert.equal(await root.performancePolicy(volume, call), undefined)
    await root.setPerformancePolicy(volume, { total_iops_max: 500 }, call)
    await root.setPerformancePolicy(volume, { total_iops_max: 0, read_bandwidth_max: 64 }, call)
    const limits = await root.performancePolicy(volume, call)
    assert.equal(limits?.total_iops_max, 0)
    assert.equal(limits?.read_bandwidth_max, 64)
    array.proxy.seen.length = 0
    await root.addMetadata(made, { host: 'a' }, call)
    await root.addMetadata(made, { display_name: 'b' }, call)
    assert.deepEqual(await root.metadata(made, call), { host: 'a', display_name: 'b' })
    const place = productVersion === '3.3.0.0' ? 'int_ecosystem_data' : 'metadata'
    assert.ok(array.proxy.seen.every(({ path }) => path.endsWith(`/${place}`)))
  }
})
