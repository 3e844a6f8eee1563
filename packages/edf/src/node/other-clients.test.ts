import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { type Json, NodeUnderTest, storagePath, volumePathOf } from './testing.ts'

/** Calls of the Go SDK, CSI, DBMP and the rest. (EDF API specification, sections 3.5 to 3.10.) */
for (const productVersion of ['3.2.5.0', '3.3.0.0']) {
  describe(`the other clients, product ${productVersion}`, () => {
    let edf: NodeUnderTest
    const cleanups: (() => Promise<void> | void)[] = []
    before(async () => {
      edf = await NodeUnderTest.start({ after: (work) => cleanups.unshift(work) }, { productVersion })
    })
    after(async () => {
      for (const work of cleanups) await work()
    })

    test('K4 CSI creates with CHAP, an empty policy and a Go reference to a placement policy', async () => {
      const ai = await edf.ok('POST', '/app_instances', {
        name: 'CSI-pvc-1',
        create_mode: 'kubernetes',
        storage_instances: [
          {
            name: 'storage-1',
            ip_pool: { path: '/access_network_ip_pools/default' },
            auth: {
              type: 'mchap',
              target_user_name: 'user',
              target_pswd: 'secret-secret-1',
              initiator_user_name: 'back',
              initiator_pswd: 'secret-secret-2',
            },
            volumes: [
              {
                name: 'volume-1',
                size: 1,
                placement_mode: 'hybrid',
                placement_policy: {
                  path: '/placement_policies/default',
                  resolved_path: '',
                  resolved_tenant: '',
                },
                replica_count: 3,
                performance_policy: {},
              },
            ],
          },
        ],
      })
      const [si] = ai.storage_instances
      assert.equal(si.auth.type, 'mchap')
      assert.ok(!('performance_policy' in si.volumes[0]))
      const policy = `${si.volumes[0].path}/performance_policy`
      const zeros = { total_iops_max: 0, read_iops_max: 0, write_iops_max: 0, total_bandwidth_max: 0 }
      await edf.ok('POST', policy, zeros)
      assert.equal((await edf.ok('GET', policy)).total_iops_max, 0)
      assert.equal((await edf.ok('GET', '/app_instances/CSI-pvc-1')).id, ai.id)
      const grown = await edf.ok('PUT', si.volumes[0].path, { size: 2 })
      assert.equal(grown.size, 2)
    })

    test('O9, O15 and O16 initiators, groups and ACLs as Go writes them', async () => {
      const iqn = 'iqn.1993-08.org.debian:01:go'
      await edf.ok('POST', '/initiators', { id: iqn, name: 'go-host' })
      const group = await edf.ok('POST', '/initiator_groups', {
        name: 'go-group',
        members: [{ path: `/initiators/${iqn}` }],
      })
      assert.deepEqual(group.members, [{ path: `/initiators/${iqn}` }])
      const si = storagePath(await edf.createVolume('go-acl'))
      const acl = await edf.ok('PUT', `${si}/acl_policy`, {
        initiators: [{ path: `/initiators/${iqn}`, tenant: '/root', name: '', id: '' }],
        initiator_groups: [{ Path: group.path }],
      })
      assert.deepEqual(acl.initiator_groups, [{ path: group.path }])
      assert.deepEqual(acl.initiators, [{ path: `/initiators/${iqn}` }])
      assert.equal((await edf.ok('GET', `${si}/acl_policy/initiators`))[0].tenant, '/root')
      assert.equal((await edf.ok('GET', `${si}/acl_policy/initiator_groups`))[0].name, 'go-group')
      assert.equal((await edf.ok('GET', `${group.path}/members`))[0].id, iqn)
      await edf.refused(400, 'InvalidRequestError', 'DELETE', group.path, {})
      await edf.ok('DELETE', group.path, { force: true })
      assert.deepEqual((await edf.ok('GET', `${si}/acl_policy`)).initiator_groups, [])
      await edf.ok('DELETE', `/initiators/${iqn}?force=true`)
    })

    test('O13 snapshot policies, with a count as text and the interval under the wrong key', async () => {
      const owner = volumePathOf(await edf.createVolume('policies'))
      const path = `${owner}/snapshot_policies`
      const made = await edf.ok('POST', path, { name: 'weekly', interval: '1week', retention_count: '12' })
      assert.deepEqual([made.path, made.retention_count], [`${path}/weekly`, 12])
      assert.equal((await edf.ok('PUT', made.path, { name: '1day' })).interval, '1day')
      assert.equal((await edf.ok('GET', owner)).snapshot_policies.length, 1)
      await edf.refused(409, 'ConflictError', 'POST', path, {
        name: 'weekly',
        interval: '1day',
        retention_count: 1,
      })
      const ai = owner.split('/storage_instances')[0] ?? ''
      const [hourly, daily] = ['1hour', '1day'].map((interval) => ({ name: interval.slice(1), interval }))
      const policies = [hourly, daily].map((policy) => ({ ...policy, retention_count: 2 }))
      await edf.ok('PUT', ai, { snapshot_policies: policies })
      const kept = await edf.ok('PUT', ai, { snapshot_policies: [{ ...policies[1], retention_count: 5 }] })
      assert.deepEqual(
        kept.snapshot_policies.map((policy: Json) => [policy.name, policy.retention_count]),
        [['day', 5]],
      )
      await edf.ok('DELETE', made.path)
      assert.deepEqual(await edf.ok('GET', path), [])
    })

    test('O14 and X5 templates are built step by step, or whole with a pool as text', async () => {
      const whole = {
        name: 'whole-template',
        storage_templates: [
          {
            name: 'storage-1',
            volume_templates: [
              {
                name: 'volume-1',
                replica_count: 1,
                size: 2,
                placement_mode: 'hybrid',
                snapshot_policies: [{ name: 'daily', interval: '1day', retention_count: 2 }],
              },
            ],
            ip_pool: '/access_network_ip_pools/default',
          },
        ],
      }
      const template = await edf.ok('POST', '/app_templates', whole)
      assert.equal(template.storage_templates[0].ip_pool.path, '/access_network_ip_pools/default')
      const old = await edf.ok('GET', template.path, undefined, { version: '2.1' })
      assert.equal(old.storage_templates[0].ip_pool, '/access_network_ip_pools/default')
      const ai = await edf.ok('POST', '/app_instances', { name: 'of-whole', app_template: template })
      const [volume] = ai.storage_instances[0].volumes
      assert.deepEqual([volume.size, volume.replica_count, volume.snapshot_policies[0].name], [2, 1, 'daily'])
      await edf.ok('POST', '/app_templates', { name: 'stepwise' })
      const steps = '/app_templates/stepwise/storage_templates'
      await edf.ok('POST', steps, { name: 'storage-1', auth: {}, ip_pool: {} })
      await edf.ok('POST', `${steps}/storage-1/volume_templates`, { name: 'volume-1', size: 1 })
      const changed = await edf.ok('PUT', `${steps}/storage-1/volume_templates/volume-1`, { size: 5 })
      assert.equal(changed.size, 5)
      await edf.ok('DELETE', `${steps}/storage-1/volume_templates/volume-1`)
      assert.deepEqual(await edf.ok('GET', `${steps}/storage-1/volume_templates`), [])
      await edf.ok('DELETE', `${steps}/storage-1`)
      await edf.ok('DELETE', '/app_templates/stepwise')
      await edf.refused(404, 'NotFoundError', 'GET', '/app_templates/stepwise')
    })

    test('O14 credentials, limits and schedules of a template are resources of their own', async () => {
      const template = '/app_templates/parts'
      const storage = `${template}/storage_templates/storage-1`
      const volume = `${storage}/volume_templates/volume-1`
      await edf.ok('POST', '/app_templates', {
        name: 'parts',
        storage_templates: [{ name: 'storage-1', volume_templates: [{ name: 'volume-1', size: 1 }] }],
      })
      assert.equal((await edf.ok('GET', `${storage}/auth`)).type, 'none')
      const chap = { type: 'chap', target_user_name: 'user', target_pswd: 'secret-of-twelve' }
      assert.equal((await edf.ok('PUT', `${storage}/auth`, chap)).target_pswd, '(hidden)')
      await edf.refused(404, 'NotFoundError', 'GET', `${volume}/performance_policy`)
      await edf.refused(404, 'NotFoundError', 'PUT', `${volume}/performance_policy`, { total_iops_max: 1 })
      await edf.ok('POST', `${volume}/performance_policy`, { total_iops_max: 100 })
      const limits = await edf.ok('PUT', `${volume}/performance_policy`, { read_iops_max: 50 })
      assert.deepEqual([limits.total_iops_max, limits.read_iops_max, limits.write_iops_max], [100, 50, 0])
      for (const owner of [template, volume]) {
        const schedules = `${owner}/snapshot_policies`
        // The Go SDK sends the count as text at first, and the interval under the wrong name later.
        const daily = { name: 'daily', interval: '1day', retention_count: '3' }
        const made = await edf.ok('POST', schedules, daily)
        assert.deepEqual([made.path, made.retention_count], [`${schedules}/daily`, 3])
        await edf.refused(409, 'ConflictError', 'POST', schedules, daily)
        assert.equal((await edf.ok('PUT', made.path, { name: '1week' })).interval, '1week')
        await edf.ok('POST', schedules, { ...daily, name: 'gone' })
        assert.equal((await edf.ok('DELETE', `${schedules}/gone`)).name, 'gone')
        await edf.refused(404, 'NotFoundError', 'GET', `${schedules}/gone`)
        assert.deepEqual(
          (await edf.ok('GET', schedules)).map((item: Json) => item.name),
          ['daily'],
        )
      }
      const ai = await edf.ok('POST', '/app_instances', {
        name: 'of-parts',
        app_template: { path: template },
      })
      const [si] = ai.storage_instances
      assert.deepEqual([si.auth.type, ai.snapshot_policies[0].name], ['chap', 'daily'])
      assert.equal(si.volumes[0].performance_policy.read_iops_max, 50)
      assert.equal(si.volumes[0].snapshot_policies[0].interval, '1week')
      await edf.ok('DELETE', `${volume}/performance_policy`)
      await edf.refused(404, 'NotFoundError', 'GET', `${volume}/performance_policy`)
      await edf.refused(404, 'NotFoundError', 'GET', `${storage}x/auth`)
      await edf.refused(404, 'NotFoundError', 'PUT', `${template}x/storage_templates/storage-1/auth`, {})
    })

    test('O17 and X4 pools of addresses', async () => {
      const block = { netmask: 24, vlan: 0, range: 10, mtu: 1500 }
      const pool = await edf.ok('POST', '/access_network_ip_pools', {
        name: 'pool-2',
        network_paths: [
          { name: 'access_1', start_ip: '172.28.41.20', ...block },
          { name: 'access_2', start_ip: '172.29.41.20', ...block },
        ],
      })
      assert.equal(pool.network_paths[1].path, `${pool.path}/network_paths/access_2`)
      const si = storagePath(await edf.createVolume('pooled'))
      assert.equal((await edf.ok('PUT', si, { ip_pool: { path: pool.path } })).ip_pool.path, pool.path)
      await edf.refused(400, 'InvalidRequestError', 'DELETE', pool.path, {})
      await edf.refused(404, 'NotFoundError', 'PUT', si, {
        ip_pool: { path: '/access_network_ip_pools/none' },
      })
      await edf.ok('PUT', si, { ip_pool: { path: '/access_network_ip_pools/default' } })
      await edf.ok('DELETE', pool.path, {})
      await edf.ok('POST', '/access_network_ip_pools', { name: 'go-pool', id: 'go-pool', force: false })
      await edf.refused(400, 'InvalidRequestError', 'DELETE', '/access_network_ip_pools/default', {})
    })

    test('D6 media and placement policies', async () => {
      const media = await edf.ok('POST', '/media_policies', { name: 'nvme', priority: 7 })
      assert.equal(media.priority, 7)
      const policy = await edf.ok('POST', '/placement_policies', { name: 'fast', max: [media.path], min: [] })
      assert.deepEqual([policy.max, policy.min], [[media.path], []])
      await edf.refused(400, 'InvalidRequestError', 'DELETE', media.path, {})
      await edf.refused(404, 'NotFoundError', 'POST', '/placement_policies', {
        name: 'odd',
        max: ['/media_policies/none'],
      })
      await edf.ok('DELETE', policy.path, {})
      await edf.ok('DELETE', media.path, {})
    })

    test('D2 and P23 build step by step, with the access list before the volume', async () => {
      const ai = await edf.ok('POST', '/app_instances', { name: 'steps' })
      assert.deepEqual(ai.storage_instances, [])
      const si = await edf.ok('POST', `${ai.path}/storage_instances`, {
        name: 'storage-1',
        service_configuration: 'iscsi',
      })
      await edf.ok('POST', '/initiators', { id: 'iqn.1993-08.org.debian:01:steps', name: 'steps' })
      const member = { op: 'add', path: '/initiators/iqn.1993-08.org.debian:01:steps' }
      await edf.ok('PUT', `${si.path}/acl_policy/initiators`, member)
      await edf.refused(409, 'ConflictError', 'PUT', `${si.path}/acl_policy/initiators`, member)
      const volume = await edf.ok('POST', `${si.path}/volumes`, {
        name: 'volume-1',
        size: 1,
        replica_count: 1,
      })
      await edf.refused(409, 'ConflictError', 'POST', `${si.path}/volumes`, { name: 'volume-1', size: 1 })
      await edf.refused(409, 'ConflictError', 'POST', `${ai.path}/storage_instances`, { name: 'storage-1' })
      assert.equal((await edf.ok('GET', si.path)).op_state, 'available')
      await edf.ok('DELETE', volume.path, {})
      await edf.ok('DELETE', si.path, {})
      assert.deepEqual((await edf.ok('GET', ai.path)).storage_instances, [])
    })

    test('D7 metrics have a point even without traffic, and events tell what was done', async () => {
      const ai = await edf.createVolume('measured')
      const [latest] = await edf.ok('GET', `/metrics/io/reads/latest?uuid=${ai.id}`)
      assert.ok(Number.isInteger(latest.point.time) && latest.point.value === 0)
      assert.ok(latest.point.time > 1e12, 'milliseconds, as in the README of dbmp')
      const { length } = (await edf.ok('GET', `/metrics/io/reads?uuid=${ai.id}&from=${latest.point.time}`))[0]
        .points
      assert.ok(length >= 1, 'and taken back as such')
      assert.equal(latest.entity_path, ai.path)
      const [series] = await edf.ok('GET', '/metrics/io/iops_write?path=/system&since=1h')
      assert.ok(series.points.length >= 1)
      assert.equal((await edf.ok('GET', '/metrics/hw/cpu_usage/latest')).length, 1)
      await edf.refused(404, 'NotFoundError', 'GET', '/metrics/io/nothing')
      await edf.refused(404, 'NotFoundError', 'GET', '/metrics/io/reads?path=/app_instances/none')
      await edf.refused(422, 'ValidationFailedError', 'GET', '/metrics/io/reads?since=long')
      const volumes = await edf.ok('GET', '/metrics/io/bytes_read/latest?path=/volumes&limit=1000')
      assert.ok(volumes.some((item: Json) => item.entity_path === volumePathOf(ai)))
      const events = await edf.ok('GET', '/events/user?limit=1000')
      const made = events.find((event: Json) => event.object_path === ai.path)
      assert.equal(made.code, 'APP_INSTANCE_CREATED')
      assert.equal((await edf.ok('GET', `/events/${made.uuid}`)).uuid, made.uuid)
      assert.match(made.description, /created by admin$/)
      const system = await edf.ok('GET', '/events/system')
      assert.equal(system[0].code, 'NODE_STARTED')
      assert.deepEqual(await edf.ok('GET', '/events/system?from=2000-01-01&to=2001-01-01'), [])
      await edf.refused(404, 'NotFoundError', 'GET', '/events/none')
      const [audit] = await edf.ok('GET', `/audit_logs?object_url=${ai.path}`, undefined, { version: '2.1' })
      assert.deepEqual([audit.operation, audit.user], ['OBJECT_ADDED', 'admin'])
      for (const path of ['/alerts', '/event_logs', '/fault_logs', '/events/debug', '/monitoring/alerts']) {
        assert.ok(Array.isArray(await edf.ok('GET', path)), path)
      }
    })

    test('O19 storage pools and failure domains hold storage nodes', async () => {
      const [machine] = await edf.ok('GET', '/storage_nodes')
      const members = [{ path: machine.path }]
      const pool = await edf.ok('POST', '/storage_pools', { name: 'pool-of-nodes', members, force: false })
      assert.deepEqual([pool.path, pool.members], ['/storage_pools/pool-of-nodes', members])
      await edf.refused(409, 'ConflictError', 'POST', '/storage_pools', { name: 'pool-of-nodes' })
      assert.deepEqual((await edf.ok('PUT', pool.path, { members: [] })).members, [])
      const domain = await edf.ok('POST', '/failure_domains', { name: 'rack-1', storage_nodes: members })
      assert.deepEqual((await edf.ok('GET', '/failure_domains'))[0], domain)
      const unknown = { name: 'rack-2', storage_nodes: [{ path: '/storage_nodes/none' }] }
      await edf.refused(404, 'NotFoundError', 'POST', '/failure_domains', unknown)
      for (const path of [pool.path, domain.path]) await edf.ok('DELETE', path)
      assert.deepEqual(await edf.ok('GET', '/storage_pools'), [])
    })

    test('O20 remote providers are entered and looked at; copies to them are refused', async () => {
      const provider = await edf.ok('POST', '/remote_providers', {
        remote_type: 'S3 Object Store',
        host: '127.0.0.1',
        port: Number(new URL(edf.node.httpUrl).port),
        access_key: 'access',
        secret_key: 'secret-of-the-provider',
      })
      assert.equal(provider.status, 'available')
      assert.ok(!JSON.stringify(provider).includes('secret-of-the-provider'))
      const gone = await edf.ok('PUT', provider.path, { port: 1 })
      assert.equal(gone.status, 'unavailable')
      assert.deepEqual(await edf.ok('PUT', `${provider.path}/refresh`, {}), { uuid: provider.uuid })
      assert.deepEqual(await edf.ok('GET', `${provider.path}/snapshots`), [])
      await edf.refused(404, 'NotFoundError', 'PUT', `${provider.path}/operations/1`, { action: 'abort' })
      const volume = volumePathOf(await edf.createVolume('remote'))
      const copy = { remote_provider_uuid: provider.uuid, type: 'remote' }
      await edf.refused(400, 'InvalidRequestError', 'POST', `${volume}/snapshots`, copy)
      const none = { remote_provider_uuid: '5d3c7d0e-0000-4000-8000-000000000000' }
      await edf.refused(404, 'NotFoundError', 'POST', `${volume}/snapshots`, none)
      await edf.ok('POST', `${volume}/snapshots`, { uuid: undefined, remote_provider_uuid: '', type: '' })
      await edf.ok('DELETE', `${provider.path}?force=true`)
      await edf.refused(404, 'NotFoundError', 'GET', provider.path)
    })

    test('administration: settings are kept, secrets hidden, upgrades refused', async () => {
      const policy = await edf.ok('PUT', '/system/snmp_policy', { location: 'rack', enabled: true })
      assert.deepEqual([policy.location, policy.contact, policy.users], ['rack', '', []])
      const users = '/system/snmp_policy/users'
      const user = await edf.ok('POST', users, {
        user_id: 'monitor',
        auth_pass: 'secret-pass',
        version: 'v3',
      })
      assert.equal(user.auth_pass, '(hidden)')
      await edf.refused(409, 'ConflictError', 'POST', users, { user_id: 'monitor' })
      assert.equal((await edf.ok('PUT', user.path, { view: 'host_resources' })).view, 'host_resources')
      await edf.ok('DELETE', user.path)
      const destination = '/monitoring/destinations/default'
      assert.equal((await edf.ok('PUT', destination, { host: '192.0.2.7' })).host, '192.0.2.7')
      assert.equal((await edf.ok('GET', destination)).facility, 'Local0')
      await edf.refused(422, 'ValidationFailedError', 'PUT', destination, { port: 70_000 })
      assert.equal((await edf.ok('PUT', '/monitoring/policies/default', { enabled: true })).enabled, true)
      assert.equal((await edf.ok('GET', '/system/version_config')).sw_version, productVersion)
      assert.match((await edf.ok('GET', '/init/config')).uuid, /^[0-9a-f-]{36}$/)
      assert.ok((await edf.ok('GET', '/time')).time)
      assert.deepEqual(await edf.ok('GET', '/upgrade/available'), [])
      await edf.refused(400, 'InvalidRequestError', 'PUT', '/upgrade', { build_id: '9' })
    })

    test('D9 network addresses are those the node listens on', async () => {
      const { network_paths } = await edf.ok('GET', '/system/network/access_vip')
      const ai = await edf.createVolume('network')
      assert.deepEqual(
        network_paths.map((item: Json) => item.ip),
        ai.storage_instances[0].access.ips,
      )
      assert.equal((await edf.ok('GET', '/system/network/mgmt_vip')).network_paths[0].ip, '127.0.0.1')
      assert.deepEqual(await edf.ok('PUT', '/system/ntp_servers', ['192.0.2.1']), ['192.0.2.1'])
      assert.deepEqual((await edf.ok('GET', '/system')).ntp_servers, ['192.0.2.1'])
      const old = await edf.ok('GET', '/system', undefined, { version: '2.1' })
      assert.equal(old.ntp_servers[0].ip, '192.0.2.1')
    })

    test('app instances with two storage instances: one is switched by itself', async () => {
      const volumes = [{ name: 'volume-1', size: 1 }]
      const ai = await edf.ok('POST', '/app_instances', {
        name: 'pair',
        storage_instances: [
          { name: 'storage-1', volumes },
          { name: 'storage-2', volumes },
        ],
      })
      const [one, two] = ai.storage_instances
      assert.equal((await edf.ok('PUT', one.path, { admin_state: 'offline' })).op_state, 'unavailable')
      assert.equal((await edf.ok('GET', two.path)).op_state, 'available')
      await edf.refused(400, 'InvalidRequestError', 'PUT', two.path, { access_control_mode: 'allow_all' })
      await edf.refused(409, 'ConflictError', 'POST', '/app_instances', {
        name: 'twins',
        storage_instances: [
          { name: 'storage-1', volumes },
          { name: 'storage-1', volumes },
        ],
      })
      await edf.refused(404, 'NotFoundError', 'GET', '/app_instances/twins')
    })
  })
}
