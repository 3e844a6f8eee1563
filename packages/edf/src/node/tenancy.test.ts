import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Json, NodeUnderTest, storagePath, volumePathOf } from './testing.ts'

const iqn = 'iqn.1993-08.org.debian:01:shared'
const tenant = (path: string) => ({ headers: { tenant: path } })

test('app instances of one tenant are not there for another', async (t) => {
  const edf = await NodeUnderTest.start(t)
  await edf.ok('POST', '/tenants', { name: 'red' })
  await edf.ok('POST', '/tenants', { name: 'blue' })
  const [red, blue] = [tenant('/root/red'), tenant('/root/blue')]
  const body = {
    name: 'same',
    storage_instances: [{ name: 'storage-1', volumes: [{ name: 'volume-1', size: 1 }] }],
  }
  const ai = await edf.ok('POST', '/app_instances', body, red)
  assert.equal(ai.tenant, '/root/red')
  for (const other of [blue, tenant('/root'), {}]) {
    for (const path of [ai.path, '/app_instances/same', storagePath(ai), volumePathOf(ai)]) {
      await edf.refused(404, 'NotFoundError', 'GET', path, undefined, other)
      await edf.refused(404, 'NotFoundError', 'PUT', path, {}, other)
      await edf.refused(404, 'NotFoundError', 'DELETE', path, {}, other)
    }
    await edf.refused(
      404,
      'NotFoundError',
      'POST',
      '/app_instances',
      { name: 'stolen', clone_volume_src: { path: volumePathOf(ai) } },
      other,
    )
    assert.deepEqual(await edf.ok('GET', '/app_instances', undefined, other), [])
  }
  await edf.ok('POST', '/app_instances', body, blue)
  for (const form of ['root/red', '/tenants/root/red', 'red', '/root/red/']) {
    assert.equal((await edf.ok('GET', '/app_instances', undefined, tenant(form)))[0].id, ai.id)
  }
  await edf.refused(404, 'NotFoundError', 'GET', '/app_instances', undefined, tenant('/root/green'))
})

test('initiators are inherited, and twins of them need force and hide them', async (t) => {
  const edf = await NodeUnderTest.start(t)
  await edf.ok('POST', '/tenants', { name: 'red' })
  const red = tenant('/root/red')
  await edf.ok('POST', '/initiators', { id: iqn, name: 'host' })
  assert.equal((await edf.ok('GET', `/initiators/${iqn}`, undefined, red)).tenant, '/root')
  assert.equal((await edf.ok('GET', '/initiators', undefined, red))[0].tenant, '/root')
  await edf.refused(404, 'NotFoundError', 'DELETE', `/initiators/${iqn}`, {}, red)
  const ai = await edf.ok(
    'POST',
    '/app_instances',
    { name: 'volume', storage_instances: [{ name: 'storage-1', volumes: [{ name: 'volume-1', size: 1 }] }] },
    red,
  )
  const members = `${storagePath(ai)}/acl_policy/initiators`
  const add = { op: 'add', path: `/initiators/${iqn}` }
  await edf.ok('PUT', members, add, red)
  await edf.refused(409, 'ConflictError', 'PUT', members, add, red)
  const twin = { id: iqn, name: 'own' }
  const warning = await edf.refused(400, 'InvalidRequestError', 'POST', '/initiators', twin, red)
  assert.match(warning.message, /override this warning/)
  await edf.ok('POST', '/initiators', { ...twin, force: true }, red)
  await edf.refused(409, 'ConflictError', 'POST', '/initiators', { ...twin, force: true }, red)
  assert.equal((await edf.ok('GET', `/initiators/${iqn}`, undefined, red)).tenant, '/root/red')
  await edf.ok('PUT', members, add, red)
  const listed = await edf.ok('GET', members, undefined, red)
  assert.deepEqual(
    listed.map((item: Json) => [item.id, item.tenant, item.name]),
    [[iqn, '/root/red', 'own']],
  )
  await edf.refused(400, 'InvalidRequestError', 'DELETE', `/initiators/${iqn}`, {}, red)
  await edf.ok('DELETE', `/initiators/${iqn}`, { force: true }, red)
  assert.deepEqual((await edf.ok('GET', `${storagePath(ai)}/acl_policy`, undefined, red)).initiators, [])
})

test('a tenant is read and deleted by its path, and only when it is empty', async (t) => {
  const edf = await NodeUnderTest.start(t)
  const made = await edf.ok('POST', '/tenants', { name: 'red', descr: 'first' })
  assert.deepEqual(
    [made.path, made.parent_path, made.descr, made.subtenants],
    ['/root/red', '/root', 'first', []],
  )
  const listed = await edf.ok('GET', '/tenants')
  assert.deepEqual(
    listed.map((item: Json) => item.path),
    ['/root', '/root/red'],
  )
  assert.deepEqual((await edf.ok('GET', '/root')).subtenants, ['/root/red'])
  assert.deepEqual((await edf.ok('GET', '/tenants/root', undefined, { version: '2.1' })).subtenants, [
    { path: '/root/red' },
  ])
  const red = tenant('/root/red')
  const ai = await edf.ok('POST', '/app_instances', { name: 'held' }, red)
  await edf.refused(400, 'InvalidRequestError', 'DELETE', '/root/red', {}, red)
  await edf.ok('DELETE', ai.path, {}, red)
  await edf.ok('DELETE', '/root/red', {}, red)
  await edf.refused(404, 'NotFoundError', 'GET', '/tenants/root/red')
  await edf.refused(400, 'InvalidRequestError', 'DELETE', '/root', {})
})

test('a user acts in its own tenants only, and as its roles allow', async (t) => {
  const edf = await NodeUnderTest.start(t)
  await edf.ok('POST', '/tenants', { name: 'red' })
  await edf.ok('POST', '/users', {
    user_id: 'painter',
    full_name: 'A painter',
    password: 'password1',
    roles: [{ path: '/roles/operator' }],
    tenants: [{ path: '/root/red' }],
  })
  await edf.ok('POST', '/users', {
    user_id: 'looker',
    full_name: 'A looker',
    password: 'password2',
    roles: ['/roles/viewer'],
  })
  const admin = edf.key
  const painter = await edf.login('painter', 'password1')
  assert.equal((await edf.ok('POST', '/app_instances', { name: 'canvas' })).tenant, '/root/red')
  await edf.refused(403, 'PermissionDeniedError', 'GET', '/app_instances', undefined, tenant('/root'))
  await edf.refused(403, 'PermissionDeniedError', 'GET', '/app_instances', undefined, tenant('/root/redder'))
  await edf.refused(403, 'PermissionDeniedError', 'POST', '/tenants', { name: 'blue' })
  assert.deepEqual(
    (await edf.ok('GET', '/tenants')).map((item: Json) => item.path),
    ['/root/red'],
  )
  await edf.login('looker', 'password2')
  await edf.ok('GET', '/app_instances')
  await edf.refused(403, 'PermissionDeniedError', 'POST', '/app_instances', { name: 'canvas' })
  const asAdmin = { headers: { 'auth-token': admin } }
  const user = await edf.ok('PUT', '/users/painter', { enabled: false }, asAdmin)
  assert.deepEqual([user.enabled, user.password], [false, '(hidden)'])
  const ended = { headers: { 'auth-token': painter } }
  await edf.refused(401, 'InvalidSessionKeyError', 'GET', '/system', undefined, ended)
  const credentials = { name: 'painter', password: 'password1' }
  await edf.refused(401, 'AuthFailedError', 'PUT', '/login', credentials)
  await edf.refused(400, 'InvalidRequestError', 'DELETE', '/users/admin', {}, asAdmin)
})
