import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { after, before, test } from 'node:test'
import { type Bytes, GiB, MiB } from '../../../kernel/bytes.ts'
import { uncancelled } from '../../../kernel/call.ts'
import { defaultsOf } from '../../../kernel/config/options.ts'
import { Conflict, Invalid, Misconfigured, NotFound, Unauthenticated } from '../../../kernel/errors.ts'
import { Secret } from '../../../kernel/secret.ts'
import { testPlace } from '../../testing.ts'
import { startTestCinder, type TestCinder } from './cinder.test-support.ts'
import definition from './definition.ts'
import { formatLocation, parseLocation } from './location.ts'
import { type CinderStoreSettings, cinderStoreOptions } from './options.ts'

const call = uncancelled()
let cinder: TestCinder

before(async () => {
  cinder = await startTestCinder()
})
after(async () => {
  await cinder[Symbol.asyncDispose]()
})

async function* whole(bytes: Uint8Array): Bytes {
  yield Buffer.from(bytes)
}

async function collect(bytes: Bytes): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of bytes) chunks.push(Buffer.from(chunk))
  return Buffer.concat(chunks)
}

test('a location names a volume, with or without the store', () => {
  const id = randomUUID()
  assert.equal(parseLocation(formatLocation('ssd', id)), id)
  assert.equal(parseLocation(formatLocation(undefined, id)), id)
  for (const wrong of ['cinder://', 'cinder://ssd/not-a-volume', `cinder:///a/b/${id}`, `file:///${id}`]) {
    assert.throws(() => parseLocation(wrong), Invalid, wrong)
  }
})

test('an image is one volume that tells whose it is, is read-only, detached, and bootable by its format', async () => {
  const bootableFormats = ['raw', 'qcow2']
  await using store = await cinder.store({ bootableFormats })
  await store.start(call)
  const requester = { projectId: 'p'.repeat(32), userId: 'u', token: new Secret('t') }
  for (const diskFormat of [...bootableFormats, 'iso']) {
    const imageId = randomUUID()
    const bytes = randomBytes(MiB + 1)
    const stored = await store.put(imageId, whole(bytes), bytes.byteLength, {
      ...call,
      requester,
      diskFormat,
    })
    const volumeId = parseLocation(stored.location)
    assert.equal(stored.location, `cinder://volumes/${volumeId}`)
    const volume = await cinder.client.show(volumeId, call.signal)
    assert.equal(volume.name, `image-${imageId}`)
    assert.equal(volume.status, 'available')
    assert.deepEqual(volume.attachments, [])
    assert.equal(volume.sizeGib, 1)
    assert.equal(volume.bootable, bootableFormats.includes(diskFormat))
    assert.equal(volume.metadata['glance_image_id'], imageId)
    assert.equal(volume.metadata['image_size'], String(bytes.byteLength))
    assert.equal(volume.metadata['image_owner'], requester.projectId)
    assert.equal(volume.metadata['readonly']?.toLowerCase(), 'true')
    const connector = { host: 'h', initiator: 'iqn.2026-01.org.example:x' }
    const foreign = await cinder.client.attach(volumeId, connector, 'rw', call.signal)
    assert.equal(foreign.data['access_mode'], 'ro', 'nobody is let in for writing')
    await cinder.client.detach(foreign.attachmentId, call.signal)
    await store.delete(stored.location, call)
    await assert.rejects(store.size(stored.location, call), NotFound)
  }
})

for (const extendAttached of [false, true]) {
  test(`an image of unknown size grows its volume, ${extendAttached ? 'attached' : 'detached for it'}`, async () => {
    await using store = await cinder.store({ extendAttached })
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
    assert.equal((await cinder.client.show(parseLocation(location), call.signal)).sizeGib, 2)
    const tail = await collect(store.get(location, { start: length - MiB, end: length }, call))
    assert.ok(tail.equals(head), 'the bytes beyond the first GiB')
    const middle = await collect(store.get(location, { start: GiB - 5, end: GiB + 5 }, call))
    assert.ok(middle.every((byte) => byte === 0) && middle.byteLength === 10)
    await store.delete(location, call)
  })
}

test('a volume that is being read, or has a snapshot, is not deleted', async () => {
  await using store = await cinder.store()
  const { location } = await store.put(randomUUID(), whole(randomBytes(8 * MiB)), 8 * MiB, call)
  for await (const _ of store.get(location, undefined, call)) {
    await assert.rejects(store.delete(location, call), Conflict)
    break
  }
  const endpoint = await cinder.session.endpoint({ type: 'volumev3' }, call.signal)
  const ask = async (method: string, path: string, body?: object) =>
    await cinder.session.fetch(`${endpoint}${path}`, {
      method,
      headers: { 'content-type': 'application/json' },
      signal: call.signal,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
  const answer = await ask('POST', '/snapshots', {
    snapshot: { volume_id: parseLocation(location), force: true },
  })
  const { snapshot } = (await answer.json()) as { snapshot: { id: string } }
  const until = async (path: string, done: (status: number, text: string) => boolean) => {
    for (let look = 0; look < 100; look += 1) {
      const response = await ask('GET', path)
      if (done(response.status, await response.text())) return
      await new Promise((resolve) => setTimeout(resolve, 200))
    }
    assert.fail(`${path} did not become what was waited for`)
  }
  await until(`/snapshots/${snapshot.id}`, (_, text) => text.includes('"available"'))
  await assert.rejects(store.delete(location, call), Conflict)
  await ask('DELETE', `/snapshots/${snapshot.id}`)
  await until(`/snapshots/${snapshot.id}`, (status) => status === 404)
  await store.delete(location, call)
})

test('in multi-tenant mode an image lies in the project of whoever uploads it', async () => {
  const own = { user: undefined, password: undefined, project: undefined }
  await using store = await cinder.store({ ...own, multiTenant: true })
  await store.start(call)
  const projectId = await cinder.session.projectId(call.signal)
  const token = new Secret(await cinder.session.token(call.signal))
  const asRequester = { ...call, requester: { projectId, userId: 'u', token } }
  const bytes = randomBytes(1000)
  const { location } = await store.put(randomUUID(), whole(bytes), 1000, asRequester)
  assert.ok((await collect(store.get(location, undefined, asRequester))).equals(bytes))
  await assert.rejects(store.size(location, call), Unauthenticated, 'nobody asks, and the store has no login')
  // with credentials of its own the store reads and deletes what requesters uploaded
  await using withLogin = await cinder.store({ multiTenant: true })
  assert.ok((await collect(withLogin.get(location, undefined, call))).equals(bytes))
  await withLogin.delete(location, call)
})

test('credentials are given whole or not at all; the names of the proposal work', async () => {
  const make = async (changes: Partial<CinderStoreSettings>) =>
    await definition.create(
      { ...defaultsOf<CinderStoreSettings>(cinderStoreOptions), ...changes },
      testPlace('volumes', { identityUrl: 'http://127.0.0.1:1/v3' }),
    )
  const login = { user: 'glance', password: new Secret('x'), project: 'service' }
  assert.equal((await make(login)).properties?.['multi_tenant'], false)
  assert.equal((await make({})).properties?.['multi_tenant'], true)
  assert.equal((await make({ ...login, multiTenant: true })).properties?.['multi_tenant'], true)
  await assert.rejects(make({ user: 'glance' }), Misconfigured)
  await assert.rejects(make({ applicationCredentialId: 'x' }), Misconfigured)
  await assert.rejects(make({ multiTenant: false }), Misconfigured)
  const { user, password, project, multiTenant } = cinderStoreOptions
  assert.deepEqual(user.deprecatedNames, ['cinder_store_user'])
  assert.deepEqual(password.deprecatedNames, ['cinder_store_key'])
  assert.deepEqual(project.deprecatedNames, ['cinder_store_tenant'])
  assert.equal(multiTenant.name, 'cinder_store_multitenant')
})
