import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import { type Json, NodeUnderTest, storagePath, volumePathOf } from './testing.ts'

/** The calls of the Cinder volume driver. (EDF API specification, section 3.2; V-numbers are its rows.) */
for (const productVersion of ['3.2.5.0', '3.3.0.0']) {
  describe(`the Cinder volume driver, product ${productVersion}`, () => {
    let edf: NodeUnderTest
    const cleanups: (() => Promise<void> | void)[] = []
    before(async () => {
      edf = await NodeUnderTest.start({ after: (work) => cleanups.unshift(work) }, { productVersion })
    })
    after(async () => {
      for (const work of cleanups) await work()
    })

    async function lookup(id: string, tenant = '/root'): Promise<Json> {
      const filter = encodeURIComponent(`match(name,.*${id}.*)`)
      const found = await edf.ok('GET', `/app_instances?filter=${filter}`, undefined, { headers: { tenant } })
      return found[0]
    }

    function creation(uuid: string, size = 1) {
      return {
        create_mode: 'openstack',
        uuid,
        name: `OS-data-${uuid}`,
        access_control_mode: 'deny_all',
        storage_instances: [
          {
            name: 'storage-1',
            ip_pool: { path: '/access_network_ip_pools/default' },
            volumes: [
              {
                name: 'volume-1',
                size,
                replica_count: 3,
                snapshot_policies: [],
                placement_policy: { path: '/placement_policies/default' },
              },
            ],
          },
        ],
      }
    }

    test('V1 reads the system after the login', async () => {
      const system = await edf.ok('GET', '/system')
      assert.equal(system.sw_version, productVersion)
      assert.equal(typeof system.name, 'string')
    })

    test('V2 creates a tenant before every create and takes 409 for there', async () => {
      await edf.refused(409, 'ConflictError', 'POST', '/tenants', { name: 'root' })
      const tenant = await edf.ok('POST', '/tenants', { name: 'OS-3d2c5a4f8b1e4c9db7a6f0e1d2c3b4a5' })
      assert.equal(tenant.path, '/root/OS-3d2c5a4f8b1e4c9db7a6f0e1d2c3b4a5')
      await edf.refused(409, 'ConflictError', 'POST', '/tenants', { name: tenant.name })
      const nested = await edf.ok('POST', '/tenants', { name: 'a/b' })
      assert.equal(nested.path, '/root/a/b')
      await edf.ok('GET', '/tenants/root')
      await edf.refused(404, 'NotFoundError', 'GET', '/tenants/root/OS-unknown')
    })

    test('V3 to V6 create a volume with an empty tenant header and find it in /root', async () => {
      const uuid = randomUUID()
      await edf.ok('POST', '/app_instances', creation(uuid), { headers: { tenant: '' } })
      const ai = await lookup(uuid)
      assert.equal(ai.tenant, '/root')
      assert.equal(ai.uuid, uuid)
      const [si] = await edf.ok('GET', `${ai.path}/storage_instances`)
      const [volume] = await edf.ok('GET', `${si.path}/volumes`)
      assert.deepEqual([volume.name, volume.size, volume.uuid], ['volume-1', 1, uuid])
      assert.equal(volume.path, `${ai.path}/storage_instances/storage-1/volumes/volume-1`)
      assert.deepEqual(await edf.ok('GET', '/app_instances?filter=match(name,.*nothing.*)'), [])
      await edf.refused(409, 'ConflictError', 'POST', '/app_instances', creation(uuid))
    })

    test('V7 and V8 create from a template, with an override in v2.2 only', async () => {
      const schema = async (version: string) => (await edf.call('GET', '/api', undefined, { version })).body
      const properties = (api: Json) => api['/app_instances'].create.bodyParamSchema.properties
      assert.ok('template_override' in properties(await schema('2.2')))
      assert.ok(!('template_override' in properties(await schema('2.1'))))
      const ai = await edf.ok('POST', '/app_instances', {
        create_mode: 'openstack',
        name: `OS-t-${randomUUID()}`,
        app_template: { path: '/app_templates/basic_small' },
        template_override: {
          storage_instances: { 'storage-1': { volumes: { 'volume-1': { size: '20' } } } },
        },
      })
      assert.equal(ai.storage_instances[0].volumes[0].size, 20)
      assert.equal(ai.app_template.path, '/app_templates/basic_small')
      assert.equal(ai.app_template.resolved_tenant, '/root')
      const template = await edf.ok('GET', '/app_templates/basic_small')
      assert.ok(template.app_instances.some((item: Json) => item.path === ai.path))
      await edf.refused(400, 'InvalidRequestError', 'DELETE', '/app_templates/basic_small', {})
      await edf.refused(404, 'NotFoundError', 'POST', '/app_instances', {
        name: 'from-nothing',
        app_template: { path: '/app_templates/nothing' },
      })
    })

    test('V9 and V10 replace the limits of a volume', async () => {
      const policy = `${volumePathOf(await edf.createVolume('qos'))}/performance_policy`
      await edf.refused(404, 'NotFoundError', 'GET', policy)
      const made = await edf.ok('POST', policy, { total_iops_max: 100 })
      assert.deepEqual(made, {
        path: policy,
        total_iops_max: 100,
        read_iops_max: 0,
        write_iops_max: 0,
        total_bandwidth_max: 0,
        read_bandwidth_max: 0,
        write_bandwidth_max: 0,
      })
      assert.deepEqual(await edf.ok('GET', policy), made)
      assert.equal((await edf.ok('PUT', policy, { read_iops_max: '7' })).read_iops_max, 7)
      await edf.ok('DELETE', policy, {})
      await edf.refused(404, 'NotFoundError', 'DELETE', policy, {})
      await edf.refused(422, 'ValidationFailedError', 'POST', policy, { total_iops_max: -1 })
    })

    test('V11 merges metadata, with values as they are and as strings', async () => {
      const ai = await edf.createVolume('metadata')
      const wide = `${ai.path}/int_ecosystem_data`
      await edf.ok('PUT', wide, { data: { host: 'h', bootable: 'False', length: 7, none: null, yes: true } })
      const merged = await edf.ok('PUT', wide, { data: { 'system uuid': 's', host: '' } })
      const expected = { host: '', bootable: 'False', length: 7, none: null, yes: true, 'system uuid': 's' }
      assert.deepEqual(merged, expected)
      assert.deepEqual(await edf.ok('GET', wide), expected)
      assert.deepEqual(await edf.ok('GET', `${ai.path}/metadata`), {
        ...expected,
        length: '7',
        none: '',
      })
      const listed = await edf.ok('GET', '/app_instance_int_ecosystem_data?limit=1000')
      assert.deepEqual(listed.find((item: Json) => item.name === 'metadata').data, expected)
      await edf.refused(422, 'ValidationFailedError', 'PUT', wide, { data: { long: 'x'.repeat(20_000) } })
    })

    test('V12 grows a volume offline and online, and never shrinks it', async () => {
      const ai = await edf.createVolume('extend')
      const volume = volumePathOf(ai)
      await edf.ok('PUT', ai.path, { admin_state: 'offline' })
      assert.equal((await edf.ok('PUT', volume, { size: 2 })).size, 2)
      await edf.ok('PUT', ai.path, { admin_state: 'online' })
      assert.equal((await edf.ok('PUT', volume, { size: 2.0 })).size, 2)
      assert.equal((await edf.ok('PUT', volume, { size: 2.06 })).size, 3)
      await edf.refused(400, 'InvalidRequestError', 'PUT', volume, { size: 1 })
      await edf.refused(422, 'ValidationFailedError', 'PUT', volume, { size: 0 })
      assert.equal((await edf.ok('GET', volume)).size, 3)
    })

    test('V13 clones a volume: same size and names, own uuid, no access list', async () => {
      const source = await edf.createVolume('source', 3)
      const uuid = randomUUID()
      const clone = await edf.ok('POST', '/app_instances', {
        create_mode: 'openstack',
        name: `OS-clone-${uuid}`,
        uuid,
        clone_volume_src: { path: volumePathOf(source) },
      })
      const volume = clone.storage_instances[0].volumes[0]
      assert.deepEqual([volume.name, volume.size, volume.uuid], ['volume-1', 3, uuid])
      assert.notEqual(clone.storage_instances[0].access.iqn, source.storage_instances[0].access.iqn)
      await edf.ok('DELETE', source.path, { force: true })
      assert.equal((await edf.ok('GET', volume.path)).size, 3)
      await edf.refused(404, 'NotFoundError', 'POST', '/app_instances', {
        name: 'from-nowhere',
        clone_volume_src: { path: volumePathOf(source) },
      })
    })

    test('V14 deletes a volume, and deleting it again is 404', async () => {
      const ai = await edf.createVolume('delete')
      await edf.ok('POST', `${volumePathOf(ai)}/snapshots`, {})
      const acl = await edf.ok('GET', `${storagePath(ai)}/acl_policy`)
      assert.deepEqual([acl.initiators, acl.initiator_groups], [[], []])
      await edf.ok('PUT', `${storagePath(ai)}/acl_policy`, { initiators: [] })
      await edf.ok('PUT', ai.path, { admin_state: 'offline', force: true })
      const gone = await edf.ok('DELETE', ai.path, { force: true })
      assert.equal(gone.id, ai.id)
      const error = await edf.refused(404, 'NotFoundError', 'DELETE', ai.path, { force: true })
      assert.match(error.message, /not exist/)
      await edf.createVolume('delete')
    })

    test('V15 to V24 attach and detach', async () => {
      const ai = await edf.createVolume('attach')
      const si = storagePath(ai)
      const iqn = 'iqn.1993-08.org.debian:01:58cc6c30e338'
      const offline = await edf.ok('PUT', ai.path, { admin_state: 'offline', force: true })
      assert.equal(offline.admin_state, 'offline')
      assert.equal(offline.storage_instances[0].op_state, 'unavailable')
      assert.equal(offline.storage_instances[0].volumes[0].op_state, 'available')
      const pools = await edf.ok('GET', '/access_network_ip_pools')
      const [path] = pools[0].network_paths
      assert.equal(pools[0].name, 'default')
      assert.ok(Number.isInteger(path.netmask) && path.netmask <= 32)
      const pool = await edf.ok('GET', '/access_network_ip_pools/default')
      assert.equal((await edf.ok('PUT', si, { ip_pool: { path: pool.path } })).ip_pool.path, pool.path)
      await edf.ok('PUT', ai.path, { admin_state: 'online' })
      const missing = await edf.refused(404, 'NotFoundError', 'GET', `/initiators/${iqn}`)
      assert.match(missing.message, /not exist/)
      const initiator = await edf.ok('POST', '/initiators', {
        id: iqn,
        name: 'OpenStack-1f2e3d4c',
        force: true,
      })
      assert.deepEqual(initiator, {
        tenant: '/root',
        path: `/initiators/${iqn}`,
        id: iqn,
        name: 'OpenStack-1f2e3d4c',
      })
      await edf.refused(409, 'ConflictError', 'POST', '/initiators', { id: iqn, name: 'again' })
      const element = { path: initiator.path }
      const acl = await edf.ok('PUT', `${si}/acl_policy`, {
        initiators: [element, element],
        initiator_groups: [],
      })
      assert.deepEqual(acl.initiators, [element])
      await edf.ok('PUT', `${si}/auth`, {
        type: 'chap',
        target_user_name: 'user',
        target_pswd: 'secret-secret',
      })
      const read = await edf.ok('GET', si)
      assert.equal(read.op_state, 'available')
      assert.equal(read.auth.target_pswd, '(hidden)')
      assert.equal(read.auth.target_user_name, 'user')
      assert.equal(read.access.ips.length, 2)
      assert.match(read.access.iqn, /^iqn\.2013-\d\d\.com\.daterainc:tc:\d\d:\w\w:[0-9a-f]+$/)
      await edf.ok('PUT', ai.path, { admin_state: 'offline', force: true })
      assert.deepEqual((await edf.ok('GET', `${si}/acl_policy`)).initiators, [element])
      await edf.ok('PUT', `${si}/acl_policy`, { initiators: [], initiator_groups: [] })
      assert.deepEqual((await edf.ok('GET', `${si}/acl_policy`)).initiators, [])
      await edf.refused(404, 'NotFoundError', 'PUT', `${si}/acl_policy`, {
        initiators: [{ path: '/initiators/iqn.2000-01.org.example:nobody' }],
      })
    })

    test('V25 and V26 take and delete snapshots', async () => {
      const ai = await edf.createVolume('snapshot')
      const collection = `${volumePathOf(ai)}/snapshots`
      const uuid = randomUUID()
      const made = await edf.call('POST', collection, { uuid })
      assert.equal(made.body.path, made.body.data.path)
      assert.match(made.body.data.utc_ts, /^\d{10,}\.\d{9}$/)
      assert.equal(made.body.data.op_state, 'available')
      assert.equal((await edf.ok('GET', made.body.path)).uuid, uuid)
      const duplicate = await edf.refused(400, 'InvalidRequestError', 'POST', collection, { uuid })
      assert.equal(duplicate.code, 15)
      const second = await edf.ok('POST', collection, {})
      assert.ok(second.utc_ts > made.body.data.utc_ts)
      assert.deepEqual(
        (await edf.ok('GET', collection)).map((item: Json) => item.uuid),
        [uuid, second.uuid],
      )
      assert.equal((await edf.ok('GET', volumePathOf(ai))).snapshots.length, 2)
      await edf.ok('DELETE', made.body.path, {})
      await edf.refused(404, 'NotFoundError', 'GET', made.body.path)
      assert.equal((await edf.ok('GET', collection)).length, 1)
    })

    test('V27 creates a volume from a snapshot that outlives it', async () => {
      const ai = await edf.createVolume('origin')
      const snapshot = await edf.ok('POST', `${volumePathOf(ai)}/snapshots`, {})
      await edf.ok('PUT', volumePathOf(ai), { size: 4 })
      const clone = await edf.ok('POST', '/app_instances', {
        create_mode: 'openstack',
        name: 'from-snapshot',
        uuid: randomUUID(),
        clone_snapshot_src: { path: snapshot.path },
      })
      assert.equal(clone.storage_instances[0].volumes[0].size, 1)
      await edf.ok('DELETE', snapshot.path, {})
      await edf.ok('GET', volumePathOf(clone))
    })

    test('V28 changes placement online, replicas offline', async () => {
      const ai = await edf.createVolume('retype')
      const volume = volumePathOf(ai)
      const online = await edf.ok('PUT', volume, {
        placement_mode: 'all_flash',
        placement_policy: { path: '/placement_policies/all_flash' },
      })
      assert.deepEqual(
        [online.placement_mode, online.placement_policy?.path],
        ['all_flash', productVersion === '3.3.0.0' ? '/placement_policies/all_flash' : undefined],
      )
      await edf.ok('PUT', ai.path, { admin_state: 'offline' })
      assert.equal((await edf.ok('PUT', volume, { replica_count: 1 })).replica_count, 1)
      await edf.refused(422, 'ValidationFailedError', 'PUT', volume, { replica_count: 6 })
      await edf.refused(404, 'NotFoundError', 'PUT', volume, { placement_policy: '/placement_policies/none' })
    })

    test('V29 and V30 rename an app instance in any state', async () => {
      const ai = await edf.createVolume('UNMANAGED-1')
      assert.equal((await edf.ok('PUT', ai.path, { name: 'OS-managed' })).name, 'OS-managed')
      await edf.refused(409, 'ConflictError', 'PUT', (await edf.createVolume('other')).path, {
        name: 'OS-managed',
      })
    })

    test('V33 reads capacities from the store', async () => {
      const system = await edf.ok('GET', '/system')
      for (const name of [
        'total_capacity',
        'available_capacity',
        'all_flash_total_capacity',
        'all_flash_available_capacity',
        'hybrid_total_capacity',
        'hybrid_available_capacity',
      ]) {
        assert.ok(Number.isInteger(system[name]), name)
      }
      assert.ok(system.total_capacity >= system.available_capacity && system.available_capacity > 0)
      const provisioned = system.total_provisioned_capacity
      await edf.createVolume('provisioned', 5)
      assert.equal((await edf.ok('GET', '/system')).total_provisioned_capacity - provisioned, 5 * 2 ** 30)
    })

    test('X6 deletes an app instance that is online and idle, without force', async () => {
      const ai = await edf.createVolume('unmanaged')
      await edf.ok('DELETE', ai.path)
      await edf.refused(404, 'NotFoundError', 'GET', ai.path)
    })
  })
}
