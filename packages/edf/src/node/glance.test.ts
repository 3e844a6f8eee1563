import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { NodeUnderTest, storagePath, volumePathOf } from './testing.ts'

/** The calls of the Glance driver in their order. (EDF API specification, section 3.4.) */
for (const [version, productVersion] of [
  ['2.1', '3.2.5.0'],
  ['2.2', '3.2.5.0'],
  ['2.2', '3.3.0.0'],
] as const) {
  test(`the Glance driver handles an image through v${version} on product ${productVersion}`, async (t) => {
    const edf = await NodeUnderTest.start(t, { productVersion })
    const id = randomUUID()
    const here = { version, headers: { tenant: '/root/images' } }
    await edf.ok('POST', '/tenants', { name: 'images' }, { version, headers: { tenant: '/root' } })
    await edf.ok(
      'POST',
      '/app_instances',
      {
        create_mode: 'openstack',
        uuid: id,
        name: `OS-IMAGE-${id}`,
        access_control_mode: 'deny_all',
        storage_instances: [
          {
            name: 'storage-1',
            volumes: [
              {
                name: 'volume-1',
                size: 1,
                placement_mode: 'single_flash',
                replica_count: 3,
                snapshot_policies: [],
              },
            ],
          },
        ],
      },
      here,
    )
    await edf.ok('GET', '/tenants/root/images', undefined, here)
    const [ai] = await edf.ok('GET', `/app_instances?filter=match%28name%2C.%2A${id}.%2A%29`, undefined, here)
    assert.equal(ai.tenant, '/root/images')
    await edf.ok('PUT', ai.path, { admin_state: 'online' }, here)
    const [si] = await edf.ok('GET', `${ai.path}/storage_instances`, undefined, here)
    assert.ok(si.access.ips[0] && si.access.iqn)
    const iqn = 'iqn.1993-08.org.debian:01:glance'
    await edf.refused(404, 'NotFoundError', 'GET', `/initiators/${iqn}`, undefined, here)
    await edf.ok('POST', '/initiators', { id: iqn, name: 'glance', force: true }, here)
    assert.equal((await edf.ok('GET', `/initiators/${iqn}`, undefined, here)).tenant, '/root/images')
    const acl = { initiators: [{ path: `/initiators/${iqn}` }], initiator_groups: [] }
    await edf.ok('PUT', `${storagePath(ai)}/acl_policy`, acl, here)
    assert.equal((await edf.ok('GET', storagePath(ai), undefined, here)).op_state, 'available')
    const grown = await edf.ok('PUT', volumePathOf(ai), { size: 2.0 }, here)
    assert.deepEqual([grown.size, grown.op_state, grown.placement_mode], [2, 'available', 'single_flash'])
    await edf.ok('PUT', ai.path, { admin_state: 'offline', force: true }, here)
    const metadata = { checksum: 'abc', length: 12345, type: 'image' }
    const at33 = `${ai.path}/int_ecosystem_data`
    if (productVersion === '3.3.0.0') {
      await edf.ok('PUT', at33, { data: metadata }, here)
      assert.deepEqual(await edf.ok('GET', at33, undefined, here), metadata)
    } else {
      await edf.ok('PUT', `${ai.path}/metadata`, metadata, here)
      assert.equal((await edf.ok('GET', `${ai.path}/metadata`, undefined, here)).length, '12345')
    }
    await edf.ok('DELETE', ai.path, {}, here)
    await edf.refused(404, 'NotFoundError', 'DELETE', ai.path, {}, here)
  })
}
