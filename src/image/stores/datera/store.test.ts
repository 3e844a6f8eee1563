import assert from 'node:assert/strict'
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { TestArray } from '../../../../packages/edf/src/client/array.test-support.ts'
import { type Bytes, GiB, MiB } from '../../../kernel/bytes.ts'
import { uncancelled } from '../../../kernel/call.ts'
import {
  BackendError,
  Conflict,
  Invalid,
  Misconfigured,
  NoCapacity,
  NotFound,
} from '../../../kernel/errors.ts'
import { Secret } from '../../../kernel/secret.ts'
import { nextSizeGib } from './growing-disk.ts'
import { formatLocation, parseLocation } from './location.ts'
import type { DateraStoreSettings } from './options.ts'
import { storeOn } from './store.test-support.ts'

const call = uncancelled()

async function* whole(bytes: Uint8Array): Bytes {
  yield Buffer.from(bytes)
}

async function collect(bytes: Bytes): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of bytes) chunks.push(chunk)
  return Buffer.concat(chunks)
}

test('locations are read in every form, and others are refused', () => {
  const id = 'b1ac5967-12aa-4959-b24c-c60dd40d0a13'
  for (const [location, host] of [
    [formatLocation('192.0.2.1', 7718, id), '192.0.2.1'],
    [formatLocation('2001:db8::1', 7718, id), '2001:db8::1'],
    [`datera://array.example:7717/app_instances/OS-${id}`, 'array.example'],
    [`datera://array.example:7717/app_instances/OS-IMAGE-${id}`, 'array.example'],
  ] as const) {
    assert.deepEqual(parseLocation(location), { host, imageId: id })
  }
  for (const wrong of [
    '',
    'datera://',
    `datera://host/app_instances/${id}`,
    `file:///${id}`,
    'datera://h:1/x/y',
  ]) {
    assert.throws(() => parseLocation(wrong), Invalid, wrong)
  }
})

test('a growing volume doubles, by whole GiB, within limits', () => {
  assert.equal(nextSizeGib(1, 2, 1), 2)
  assert.equal(nextSizeGib(4, 5, 1), 8)
  assert.equal(nextSizeGib(1, 2, 10), 11)
  assert.equal(nextSizeGib(1000, 1001, 1), 1256)
  assert.equal(nextSizeGib(32_700, 32_701, 1), 32_768)
})

test('an image lies under its name, raw from the first byte, with its exact length, and offline', async () => {
  for (const productVersion of ['3.2.4.0', '3.3.0.0']) {
    await using array = await TestArray.start({ productVersion })
    await using client = await array.connect()
    await using store = storeOn(array)
    await store.start(call)
    const imageId = randomUUID()
    const bytes = randomBytes(3 * MiB + 1)
    const stored = await store.put(imageId, whole(bytes), bytes.byteLength, call)
    assert.equal(stored.location, `datera://127.0.0.1:${array.proxy.port}/app_instances/${imageId}`)
    const root = client.in('/root')
    const [appInstance] = await root.appInstances.list({}, call)
    assert.ok(appInstance !== undefined)
    assert.equal(appInstance.name, `OS-IMAGE-${imageId}`)
    assert.equal(appInstance.admin_state, 'offline')
    assert.deepEqual(appInstance.storage_instances[0]?.acl_policy?.initiators, [])
    const metadata = await root.metadata(appInstance, call)
    assert.deepEqual(metadata, {
      type: 'image',
      length: String(bytes.byteLength),
      checksum: createHash('md5').update(bytes).digest('hex'),
    })
    {
      await using device = await store.blocks.open(stored.location, call)
      assert.equal(device.sizeBytes, GiB)
    }
    // As the Python store named images before 2018.
    await root.appInstances.update(appInstance.path, { name: `OS-${imageId}` }, call)
    const old = `datera://127.0.0.1:7718/app_instances/OS-${imageId}`
    assert.equal(await store.size(old, call), bytes.byteLength)
    await store.delete(old, call)
  }
})

test('an image of unknown size grows its volume, zeroes at its end included', async () => {
  await using array = await TestArray.start()
  await using client = await array.connect()
  await using store = storeOn(array, { growthBytes: 1, retryIntervalSeconds: 0 })
  const head = randomBytes(MiB)
  const pieceBytes = 4 * MiB
  const length = GiB + 100 * MiB
  async function* source(): Bytes {
    yield Buffer.from(head)
    for (let at = head.byteLength; at < length - MiB; at += pieceBytes) {
      yield new Uint8Array(Math.min(pieceBytes, length - MiB - at))
    }
    yield Buffer.from(head)
  }
  const { location, sizeBytes } = await store.put(randomUUID(), source(), undefined, call)
  assert.equal(sizeBytes, length)
  const [appInstance] = await client.in('/root').appInstances.list({}, call)
  assert.equal(appInstance?.storage_instances[0]?.volumes[0]?.size, 2)
  const tail = await collect(store.get(location, { start: length - MiB, end: length }, call))
  assert.ok(tail.equals(head), 'the bytes beyond the first GiB')
  assert.equal((await collect(store.get(location, { start: GiB, end: GiB + 5 }, call))).byteLength, 5)
})

test('an image that is not what was written cuts its reader off; ranges of it are served', async () => {
  await using array = await TestArray.start()
  await using client = await array.connect()
  await using store = storeOn(array)
  const bytes = randomBytes(2 * MiB)
  const checksum = createHash('md5').update(bytes).digest('hex')
  const { location } = await store.put(randomUUID(), whole(bytes), undefined, {
    ...call,
    checksum: async () => checksum,
  })
  assert.ok((await collect(store.get(location, undefined, call))).equals(bytes))
  const root = client.in('/root')
  const [appInstance] = await root.appInstances.list({}, call)
  assert.ok(appInstance !== undefined)
  assert.equal((await root.metadata(appInstance, call))['checksum'], checksum)

  // as Datera's own store leaves it, and with a checksum of other bytes
  await root.addMetadata(appInstance, { checksum: '0'.repeat(32) }, call)
  await assert.rejects(collect(store.get(location, undefined, call)), BackendError)
  const part = await collect(store.get(location, { start: 0, end: MiB }, call))
  assert.ok(part.equals(bytes.subarray(0, MiB)))
})

test('more or fewer bytes than declared are refused, and nothing is left', async () => {
  await using array = await TestArray.start()
  await using client = await array.connect()
  await using store = storeOn(array)
  for (const declared of [999, 1001]) {
    await assert.rejects(store.put(randomUUID(), whole(randomBytes(1000)), declared, call), Invalid)
  }
  await assert.rejects(store.put(randomUUID(), whole(randomBytes(1)), 40_000 * GiB, call), NoCapacity)
  assert.deepEqual(await client.in('/root').appInstances.list({}, call), [])
})

test('an image that is being read is not deleted', async () => {
  await using array = await TestArray.start()
  await using store = storeOn(array)
  const { location } = await store.put(randomUUID(), whole(randomBytes(8 * MiB)), 8 * MiB, call)
  for await (const _ of store.get(location, undefined, call)) {
    await assert.rejects(store.delete(location, call), Conflict)
    break
  }
  await store.delete(location, call)
  await assert.rejects(store.size(location, call), NotFound)
})

test('eight readers with aborts in between do not disturb each other', async () => {
  await using array = await TestArray.start()
  await using store = storeOn(array)
  const bytes = randomBytes(12 * MiB)
  const { location } = await store.put(randomUUID(), whole(bytes), bytes.byteLength, call)
  const expected = createHash('sha256').update(bytes).digest('hex')
  await Promise.all(
    Array.from({ length: 8 }, async (_, index) => {
      if (index % 2 === 0) {
        const got = await collect(store.get(location, undefined, call))
        assert.equal(createHash('sha256').update(got).digest('hex'), expected)
        return
      }
      for await (const chunk of store.get(location, undefined, call)) {
        assert.ok(chunk.byteLength > 0)
        break
      }
    }),
  )
})

test('what a killed upload has left is replaced, and no image until then', async () => {
  await using array = await TestArray.start()
  await using client = await array.connect()
  await using store = storeOn(array)
  const imageId = randomUUID()
  const root = client.in('/root')
  await root.appInstances.create(
    { name: `OS-IMAGE-${imageId}`, create_mode: 'openstack', uuid: imageId },
    call,
  )
  const location = formatLocation('127.0.0.1', 7718, imageId)
  await assert.rejects(store.size(location, call), NotFound)
  await store.put(imageId, whole(randomBytes(10)), 10, call)
  assert.equal(await store.size(location, call), 10)
  assert.equal((await root.appInstances.list({}, call)).length, 1)
})

test('whichever request of an upload fails, nothing is left', async () => {
  await using array = await TestArray.start()
  await using client = await array.connect()
  await using store = storeOn(array, { retryForSeconds: 0 })
  await store.start(call)
  const upload = () => store.put(randomUUID(), whole(randomBytes(1000)), 1000, call)
  array.proxy.seen.length = 0
  await store.delete((await upload()).location, call)
  const requests = array.proxy.seen.length
  const broken = { status: 500, body: { name: 'InternalError', code: 1, http: 500, message: 'broken' } }
  const root = client.in('/root')
  for (let failing = 0; failing < requests; failing += 1) {
    let number = -1
    array.proxy.decide = ({ method }) => {
      if (method === 'DELETE') return 'pass'
      number += 1
      return number === failing ? broken : 'pass'
    }
    const stored = await upload().catch((error: unknown) => {
      assert.ok(error instanceof BackendError, `${error}`)
      return undefined
    })
    array.proxy.decide = () => 'pass'
    if (stored !== undefined) await store.delete(stored.location, call)
    assert.deepEqual(await root.appInstances.list({}, call), [], `request ${failing}`)
  }
})

test('CHAP is used where it is set', async () => {
  await using array = await TestArray.start()
  await using client = await array.connect()
  const chap = { chapUsername: 'glance', chapPassword: new Secret('secret-of-14ch') }
  await using store = storeOn(array, chap)
  const bytes = randomBytes(5000)
  const { location } = await store.put(randomUUID(), whole(bytes), 5000, call)
  assert.ok((await collect(store.get(location, undefined, call))).equals(bytes))
  const [appInstance] = await client.in('/root').appInstances.list({}, call)
  assert.equal(appInstance?.storage_instances[0]?.auth?.type, 'chap')
})

test('settings that cannot work are refused at start, by name', async () => {
  await using array = await TestArray.start()
  const wrong: readonly (readonly [Partial<DateraStoreSettings>, RegExp])[] = [
    [{ host: '', password: undefined }, /datera_san_ip, datera_san_password/],
    [{ password: new Secret('wrong') }, /datera_san_login/],
    [{ tenant: 'Map' }, /datera_tenant_id/],
    [{ tenant: 'all' }, /datera_tenant_id/],
    [{ chapUsername: 'glance' }, /datera_chap_password/],
    [{ certificateAuthority: '/nonexistent', useSsl: true }, /datera_ssl_ca/],
  ]
  for (const [settings, message] of wrong) {
    await using store = storeOn(array, settings)
    await assert.rejects(store.start(call), (error) => {
      assert.ok(error instanceof Misconfigured, `${error}`)
      assert.match(error.message, message)
      return true
    })
  }
})
