import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Json, NodeUnderTest, storagePath, volumePathOf } from './testing.ts'

const tenant = (path: string) => ({ headers: { tenant: path } })

/** Tools beside the drivers. (EDF API specification, sections 3.1 (P20 to P25), 3.8 and 3.10.) */
for (const productVersion of ['3.2.5.0', '3.3.0.0']) {
  test(`tools clean up tenants and roll volumes back on product ${productVersion}`, async (t) => {
    const edf = await NodeUnderTest.start(t, { productVersion })
    // P20 and P21: everything of every tenant, whose path is its header and its URL.
    await edf.ok('POST', '/tenants', { name: 'red' })
    for (const where of ['/root', '/root/red']) {
      const storage = [{ name: 'storage-1', volumes: [{ name: 'volume-1', size: 1 }] }]
      await edf.ok('POST', '/app_instances', { name: 'leftover', storage_instances: storage }, tenant(where))
      const initiator = { id: 'iqn.1993-08.org.debian:01:tool', name: 'tool', force: true }
      await edf.ok('POST', '/initiators', initiator, tenant(where))
    }
    const tenants: Json[] = await edf.ok('GET', '/tenants')
    assert.deepEqual(
      tenants.map(({ name }) => name),
      ['root', 'red'],
    )
    for (const { path } of tenants.toReversed()) {
      const here = tenant(path)
      assert.equal((await edf.ok('GET', path, undefined, here)).path, path)
      for (const ai of await edf.ok('GET', '/app_instances', undefined, here)) {
        await edf.ok('PUT', ai.path, { admin_state: 'offline', force: true }, here)
        await edf.ok('DELETE', ai.path, {}, here)
      }
      for (const initiator of await edf.ok('GET', '/initiators', undefined, here)) {
        assert.equal(initiator.tenant, path)
        await edf.ok('DELETE', initiator.path, { force: true }, here)
      }
      if (path.endsWith('root')) await edf.refused(400, 'InvalidRequestError', 'DELETE', path, {}, here)
      else await edf.ok('DELETE', path, {}, here)
    }
    // P23: the way of dhutil, and what it reads of storage instances and nodes.
    const made = await edf.ok('POST', '/app_instances', { name: 'dhutil' })
    const si = await edf.ok('POST', `${made.path}/storage_instances`, { name: 'storage-1' })
    const volume = await edf.ok('POST', `${si.path}/volumes`, { name: 'volume-1', size: 1, replica_count: 1 })
    await edf.ok('POST', `${volume.path}/performance_policy`, {
      total_iops_max: 100,
      total_bandwidth_max: 1024,
    })
    await edf.ok('POST', `${volume.path}/snapshot_policies`, {
      name: 'day',
      retention_count: 3,
      interval: '1day',
    })
    const [read] = await edf.ok('GET', `${made.path}/storage_instances`)
    assert.equal(read.op_state, 'available')
    assert.equal(typeof (await edf.ok('GET', read.active_storage_nodes[0].path)).name, 'string')
    assert.equal(read.volumes[0].performance_policy.total_bandwidth_max, 1024)
    // D8: DVOT finds a volume by its target's name and its unit, and rolls volume and app instance back.
    const match = /^iqn\.2013-\d\d\.com\.daterainc:tc:\d\d:\w\w:[0-9a-f]+$/
    const all: Json[] = await edf.ok('GET', '/app_instances')
    const found = all.flatMap((ai) => ai.storage_instances).find(({ access }) => match.test(access.iqn))
    assert.equal((await edf.ok('GET', `${found.path}/volumes`))[0].uuid, volume.uuid)
    const ai = `/app_instances/${volume.path.split('/')[2]}`
    const ofVolume = await edf.ok('POST', `${volume.path}/snapshots`, {})
    const ofAll = await edf.ok('POST', `${ai}/snapshots`, {})
    assert.equal(ofAll.path, `${ai}/snapshots/${ofAll.utc_ts}`)
    assert.equal((await edf.ok('GET', `${ai}/snapshots/${ofAll.uuid}`)).utc_ts, ofAll.utc_ts)
    const clone = await edf.ok('POST', '/app_instances', {
      name: 'of-all',
      clone_snapshot_src: { path: ofAll.path },
    })
    assert.equal(clone.storage_instances[0].volumes[0].size, 1)
    await edf.refused(400, 'InvalidRequestError', 'PUT', ai, { restore_point: ofAll.utc_ts })
    await edf.ok('PUT', ai, { admin_state: 'offline', force: true })
    const rolled = await edf.ok('PUT', volume.path, { restore_point: ofVolume.utc_ts })
    assert.equal(rolled.restore_point, ofVolume.utc_ts)
    assert.equal((await edf.ok('PUT', ai, { restore_point: ofAll.utc_ts })).restore_point, ofAll.utc_ts)
    assert.equal((await edf.ok('PUT', ai, { admin_state: 'online' })).admin_state, 'online')
    assert.equal((await edf.ok('PUT', ai, { repair_priority: 'high' })).repair_priority, 'high')
    // D4 and Flocker: by its name in the query, and whoever is logged in.
    const [byName] = await edf.ok('GET', '/app_instances?name=dhutil')
    assert.deepEqual(byName.storage_instances[0].active_initiators, [])
    // X6
    await edf.ok('DELETE', (await edf.createVolume('unmanaged')).path)
  })
}

test('250 app instances are listed whole, in pages, and filtered, in every version', async (t) => {
  const edf = await NodeUnderTest.start(t)
  const bodies = Array.from({ length: 250 }, (_, index) => ({ name: `many-${index}` }))
  await Promise.all(bodies.map((body) => edf.ok('POST', '/app_instances', body)))
  assert.equal((await edf.ok('GET', '/app_instances', undefined, { version: '2.1' })).length, 250)
  for (const version of ['2.2', '2.3']) {
    // As the Python SDK: from page to page by the limit that the answer names.
    const names = new Set<string>()
    let query = ''
    for (;;) {
      const { body } = await edf.call('GET', `/app_instances${query}`, undefined, { version })
      const { total_count, request_count, limit, offset } = body.metadata
      assert.deepEqual([total_count, limit], [250, 100])
      for (const { name } of body.data) names.add(name)
      if (offset + request_count >= total_count) break
      query = `?offset=${offset + limit}`
    }
    assert.equal(names.size, 250)
  }
  const filtered = await edf.call('GET', '/app_instances?filter=match(name,many-1.*)&limit=30')
  assert.deepEqual(filtered.body.metadata, { total_count: 111, request_count: 30, limit: 30, offset: 0 })
  const keyed = await edf.call('GET', '/app_instances', undefined, { version: '2' })
  assert.equal(Object.keys(keyed.body).length, 250)
})

test('what an app instance is made of can be read at each of its paths', async (t) => {
  const edf = await NodeUnderTest.start(t)
  const ai = await edf.createVolume('paths')
  for (const path of [ai.path, storagePath(ai), `${storagePath(ai)}/auth`, `${storagePath(ai)}/acl_policy`]) {
    assert.equal((await edf.ok('GET', path)).path, path)
  }
  assert.equal((await edf.ok('GET', `/${volumePathOf(ai)}/`)).path, volumePathOf(ai))
})
