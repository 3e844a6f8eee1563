import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import type { Bytes } from '../../../kernel/bytes.ts'
import { uncancelled } from '../../../kernel/call.ts'
import { defaultsOf } from '../../../kernel/config/options.ts'
import { Invalid, Misconfigured, NoCapacity, Unauthenticated } from '../../../kernel/errors.ts'
import { Secret } from '../../../kernel/secret.ts'
import { imageStoreConformance } from '../../image-store.conformance.ts'
import { testPlace } from '../../testing.ts'
import definition from './definition.ts'
import { VmwareStore } from './store.ts'
import { TestVsphere } from './vsphere.fixture.ts'
import { Vsphere } from './vsphere.ts'

const call = uncancelled()

function storeOn(fixture: TestVsphere, password = 'p<w'): VmwareStore {
  const datastores = [
    { datacenter: 'dc1', name: 'large', weight: 100 },
    { datacenter: 'dc1', name: 'small', weight: 200 },
  ]
  const server = new Vsphere({
    origin: fixture.origin,
    username: 'glance',
    password: new Secret(password),
    trust: { verify: true },
    retries: 2,
    pollMs: 10,
  })
  return new VmwareStore({ host: 'vcenter.example', datastores, directory: 'openstack_glance' }, server)
}

imageStoreConformance('vmware store', async () => {
  const fixture = await TestVsphere.start()
  const open = async () => {
    const store = storeOn(fixture)
    await store.start(call)
    return store
  }
  return {
    store: await open(),
    restart: open,
    leftovers: async () => [...fixture.files.keys()],
    [Symbol.asyncDispose]: () => fixture[Symbol.asyncDispose](),
  }
})

async function* whole(bytes: Uint8Array): Bytes {
  yield Buffer.from(bytes)
}

test('an image goes to the datastore of the highest weight that has room', async () => {
  await using fixture = await TestVsphere.start()
  await using store = storeOn(fixture)
  await store.start(call)
  const id = randomUUID()
  const { location } = await store.put(id, whole(Buffer.alloc(10)), 10, call)
  assert.equal(location, `vsphere://vcenter.example/folder/openstack_glance/${id}?dcPath=dc1&dsName=small`)
  const big = randomUUID()
  assert.match(
    (await store.put(big, whole(Buffer.alloc(2_000_000)), 2_000_000, call)).location,
    /dsName=large/,
  )
  assert.deepEqual(
    [...fixture.files.keys()],
    [`[small] openstack_glance/${id}`, `[large] openstack_glance/${big}`],
  )
  fixture.free.clear()
  await assert.rejects(store.put(randomUUID(), whole(Buffer.alloc(10)), 10, call), NoCapacity)
})

test('a session that the server has forgotten is renewed; a wrong password is told', async () => {
  await using fixture = await TestVsphere.start()
  await using store = storeOn(fixture)
  await store.start(call)
  const { location } = await store.put(randomUUID(), whole(Buffer.alloc(10)), 10, call)
  fixture.forgetSessions()
  assert.equal(await store.size(location, call), 10)
  fixture.forgetSessions()
  await store.delete(location, call)
  assert.equal(fixture.files.size, 0)
  await using wrong = storeOn(fixture, 'guess')
  await assert.rejects(wrong.start(call), Unauthenticated)
})

test('locations on other servers, and outside the folder of images, are refused', async () => {
  await using fixture = await TestVsphere.start()
  await using store = storeOn(fixture)
  for (const location of [
    'vsphere://other/folder/openstack_glance/x?dcPath=dc1&dsName=small',
    'vsphere://vcenter.example/folder/other/x?dcPath=dc1&dsName=small',
    'vsphere://vcenter.example/folder/openstack_glance/..%2Fx?dcPath=dc1&dsName=small',
    'vsphere://vcenter.example/folder/openstack_glance/x',
  ]) {
    await assert.rejects(store.size(location, call), Invalid, location)
  }
})

test('what the store needs is asked for, and datastores that cannot be read are told', async () => {
  const make = async (changes: object) =>
    await definition.create({ ...defaultsOf(definition.options), ...changes }, testPlace('vmware'))
  await assert.rejects(make({}), Misconfigured)
  const login = { host: 'vcenter.example', username: 'u', password: new Secret('p') }
  await assert.rejects(make({ ...login, datastores: ['nonsense'] }), Misconfigured)
  const store = await make({ ...login, datastores: ['dc1:a:10', 'dc1:b'] })
  assert.equal(store.properties?.['datastores'], 'dc1:a,dc1:b')
})
