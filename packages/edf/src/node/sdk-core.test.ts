import assert from 'node:assert/strict'
import { request as httpsRequest } from 'node:https'
import { after, before, describe, test } from 'node:test'
import { apiSchema } from './resources/api-schema.ts'
import { type Json, NodeUnderTest, storagePath, volumePathOf } from './testing.ts'

/** What every client of the array does. (EDF API specification, sections 1 and 3.1; P-numbers are its rows.) */
for (const productVersion of ['3.2.5.0', '3.3.0.0']) {
  describe(`the core of the SDKs, product ${productVersion}`, () => {
    let edf: NodeUnderTest
    const cleanups: (() => Promise<void> | void)[] = []
    before(async () => {
      edf = await NodeUnderTest.start({ after: (work) => cleanups.unshift(work) }, { productVersion })
    })
    after(async () => {
      for (const work of cleanups) await work()
    })

    const form = { 'content-type': 'application/x-www-form-urlencoded' }

    test('P1 logs in with JSON and with a form, in every version; older keys stay valid', async () => {
      const before = edf.key
      for (const version of ['2', '2.1', '2.2', '2.3']) {
        const json = await edf.call(
          'PUT',
          '/login',
          { name: 'admin', password: edf.node.password },
          { version },
        )
        assert.equal(json.status, 200)
        assert.match(json.body.key, /^\w{32,}$/)
        assert.ok(Number.isInteger(json.body.request_time))
        assert.equal(json.body.version, `v${version}`)
      }
      const raw = new URLSearchParams({ name: 'admin', password: edf.node.password, remote_server: '' })
      assert.equal((await edf.call('PUT', '/login', undefined, { raw, headers: form })).status, 200)
      await edf.ok('GET', '/system', undefined, { headers: { 'auth-token': before } })
    })

    test('P1 refuses wrong credentials and unknown LDAP servers', async () => {
      const right = { name: 'admin', password: edf.node.password }
      await edf.refused(401, 'AuthFailedError', 'PUT', '/login', { ...right, password: 'wrong' })
      await edf.refused(401, 'AuthFailedError', 'PUT', '/login', { ...right, name: 'nobody' })
      await edf.refused(401, 'AuthFailedError', 'PUT', '/login', { ...right, remote_server: 'ldap1' })
    })

    test('P4 ends a session, and an unknown key is refused with the text that clients know', async () => {
      const { body } = await edf.call('PUT', '/login', { name: 'admin', password: edf.node.password })
      const headers = { 'auth-token': body.key }
      assert.deepEqual((await edf.call('PUT', '/logout', undefined, { headers })).body, {})
      for (const path of ['/system', '/app_instances/x', '/no/such/route']) {
        const error = await edf.refused(401, 'InvalidSessionKeyError', 'GET', path, undefined, { headers })
        assert.equal(
          error.message,
          'The key provided with the request does not correspond to a valid session.',
        )
      }
    })

    test('versions are listed without a session, and probed with one error code', async () => {
      const answer = await fetch(`${edf.node.httpUrl}/api_versions`)
      assert.deepEqual(await answer.json(), { api_versions: ['v2.1', 'v2.2', 'v2.3'] })
      const headers = { 'auth-token': undefined }
      const probe = await edf.call('GET', '', undefined, { version: '2.1', headers })
      assert.deepEqual([probe.status, probe.body.code], [401, 99])
    })

    test('https answers with a certificate of its own', async () => {
      const { hostname, port } = new URL(edf.node.httpsUrl)
      const status = await new Promise((resolve, reject) => {
        const options = { hostname, port, path: '/api_versions', rejectUnauthorized: false }
        httpsRequest(options, (response) => {
          response.resume()
          resolve(response.statusCode)
        })
          .on('error', reject)
          .end()
      })
      assert.equal(status, 200)
    })

    test('P2 the schema gives the names that the Python SDK needs, and none that would hide data', async () => {
      for (const version of ['2.1', '2.2', '2.3']) {
        const schema = (await edf.call('GET', '/api', undefined, { version })).body
        const names = sdkNames(schema)
        const expected = version === '2.1' ? needed : [...needed, ...neededFrom22]
        assert.deepEqual(
          expected.filter((name) => !names.has(name)),
          [],
          `missing in v${version}`,
        )
        assert.deepEqual(
          forbidden.filter((name) => names.has(name)),
          [],
          `in the way in v${version}`,
        )
      }
      assert.ok(apiSchema([], '2')['/system/metrics/:metric'])
    })

    test('P5 lists are enveloped with paths, and count as each version does', async () => {
      for (let index = 0; index < 5; index++) await edf.createVolume(`list-${index}`)
      const filter = `?filter=${encodeURIComponent('match(name,list-.*)')}`
      const first = await edf.call('GET', `/app_instances${filter}&limit=2`)
      assert.deepEqual(first.body.metadata, { total_count: 5, request_count: 2, limit: 2, offset: 0 })
      assert.equal(first.body.path, '/app_instances')
      const last = await edf.call('GET', `/app_instances${filter}&limit=2&offset=4`)
      assert.deepEqual(last.body.metadata, { total_count: 5, request_count: 1, limit: 2, offset: 4 })
      const beyond = await edf.call('GET', `/app_instances${filter}&offset=99`)
      assert.deepEqual([beyond.status, beyond.body.data], [200, []])
      assert.equal(beyond.body.metadata.limit, 100)
      const old = await edf.call('GET', `/app_instances${filter}`, undefined, { version: '2.1' })
      assert.deepEqual(old.body.metadata, { total: 5 })
      const names = async (query: string) =>
        (await edf.ok('GET', `/app_instances${filter}${query}`)).map((item: Json) => item.name)
      assert.deepEqual(await names('&sort=-name&limit=2'), ['list-4', 'list-3'])
      assert.deepEqual(await names('&admin_state=offline'), [])
      // Flocker's way, then the example of the array's own schema, as PowerShell sends it and as Python does.
      for (const query of ['name=list-3', 'filter=name=list-3', 'filter=name%3Dlist-3']) {
        const found = await edf.ok('GET', `/app_instances?${query}`)
        assert.deepEqual(
          found.map((item: Json) => item.name),
          ['list-3'],
        )
      }
      await edf.refused(400, 'InvalidRequestError', 'GET', '/app_instances?filter=nonsense')
      await edf.refused(422, 'ValidationFailedError', 'GET', '/app_instances?limit=many')
    })

    test('P7 to P13 entities are addressed by id, name and path, and unknown ones are 404', async () => {
      const ai = await edf.createVolume('entity')
      for (const key of [ai.id, ai.name])
        assert.equal((await edf.ok('GET', `/app_instances/${key}`)).id, ai.id)
      const { access } = ai.storage_instances[0]
      assert.deepEqual(await edf.ok('GET', access.path), access, 'its own path, though /api must not list it')
      const byName = `/app_instances/entity/storage_instances/storage-1/volumes/volume-1`
      assert.equal((await edf.ok('GET', byName)).path, volumePathOf(ai))
      assert.equal((await edf.ok('GET', `/${byName}//`)).path, volumePathOf(ai))
      assert.equal((await edf.ok('PUT', ai.path, {})).id, ai.id)
      assert.equal((await edf.ok('PUT', ai.path, { descr: 'text', health: 'ok', id: 'x' })).descr, 'text')
      for (const path of [
        `${ai.path}x`,
        `${storagePath(ai)}x`,
        `${volumePathOf(ai)}x`,
        '/initiators/iqn.2000-01.a:b',
      ]) {
        assert.match((await edf.refused(404, 'NotFoundError', 'GET', path)).message, /not exist/)
      }
      assert.equal((await edf.ok('DELETE', ai.path)).id, ai.id)
    })

    test('P17 lists the node that volumes lie on', async () => {
      const [machine] = await edf.ok('GET', '/storage_nodes')
      const ai = await edf.createVolume('placed')
      assert.equal(ai.storage_instances[0].active_storage_nodes[0].path, machine.path)
      assert.equal((await edf.ok('GET', machine.path)).op_state, 'online')
      await edf.refused(400, 'InvalidRequestError', 'PUT', machine.path, { admin_state: 'offline' })
    })

    test('attributes whose type changed between Go SDKs are not shown without need', async () => {
      const [tenant] = await edf.ok('GET', '/tenants')
      assert.ok(!('mgmt_ips' in tenant), 'a map in 1.0, a list later')
      const [machine] = await edf.ok('GET', '/storage_nodes')
      assert.ok(!('op_progress' in machine), 'a string in 1.1')
      const ai = await edf.createVolume('placement')
      const hasPolicies = productVersion === '3.3.0.0'
      const [volume] = ai.storage_instances[0].volumes
      assert.equal('placement_policy' in volume, hasPolicies, 'an object since products of 3.3')
      const template = await edf.ok('GET', '/app_templates/basic_small')
      const [volumeTemplate] = template.storage_templates[0].volume_templates
      assert.equal('placement_policy' in volumeTemplate, hasPolicies)
    })

    test('int_ecosystem_data is there in every version: the Python SDK asks the product only', async () => {
      const ai = await edf.createVolume('metadata')
      for (const version of ['2', '2.1', '2.2', '2.3']) {
        const path = `/app_instances/${ai.id}/int_ecosystem_data`
        const written = await edf.call('PUT', path, { data: { [version]: true } }, { version })
        assert.equal(written.status, 200, JSON.stringify(written.body))
        const { body } = await edf.call('GET', path, undefined, { version })
        assert.equal((version === '2' ? body : body.data)[version], true)
      }
    })

    test('bodies come in every form that clients send', async () => {
      const ai = await edf.createVolume('bodies')
      const none = { 'content-type': undefined }
      await edf.ok('GET', ai.path, undefined, { headers: { 'content-type': 'application/json' } })
      await edf.ok('PUT', ai.path, undefined, { raw: 'null' })
      await edf.ok('PUT', ai.path, undefined, {
        raw: '{"descr":"d","name":null}',
        headers: { 'content-type': 'application/json; charset=utf-8' },
      })
      assert.equal((await edf.ok('GET', ai.path)).name, 'bodies')
      const raw = new URLSearchParams({
        id: 'iqn.2005-03.org.open-iscsi:formed',
        name: 'formed',
        force: 'true',
      })
      assert.equal((await edf.ok('POST', '/initiators', undefined, { raw, headers: form })).name, 'formed')
      await edf.ok('DELETE', '/initiators/iqn.2005-03.org.open-iscsi%3Aformed', undefined, { headers: none })
      await edf.ok('DELETE', `${ai.path}?force=true&remote_provider_uuid=`, undefined, { raw: 'null' })
      const bad = await edf.refused(400, 'InvalidRequestError', 'POST', '/initiators', undefined, {
        raw: '{"a":',
      })
      assert.match(bad.message, /JSON/)
      await edf.refused(422, 'ValidationFailedError', 'POST', '/initiators', [1])
      await edf.refused(422, 'ValidationFailedError', 'POST', '/initiators', {})
      await edf.refused(413, 'InvalidRequestError', 'POST', '/initiators', { id: 'x'.repeat(2 ** 21) })
      const upload = new FormData()
      upload.set('ecosystem', 'openstack')
      upload.set('any.tar.gz', new Blob(['x'.repeat(2 ** 21)]), 'logs.tar.gz')
      await edf.ok('PUT', '/logs_upload', undefined, { raw: upload })
    })

    test('errors are JSON with the types that Go insists on', async () => {
      const error = await edf.refused(404, 'InvalidRouteError', 'GET', '/no/such/route')
      for (const name of [
        'ts',
        'version',
        'op',
        'tenant',
        'path',
        'client_id',
        'client_type',
        'tenancy_class',
      ]) {
        assert.equal(typeof error[name], 'string', name)
      }
      for (const name of ['code', 'http']) assert.ok(Number.isInteger(error[name]), name)
      assert.ok(!('api_req_id' in error), 'a string for the Go SDK, a number for older drivers')
      assert.deepEqual([error.params, error.connInfo, error.errors], [{}, {}, []])
      await edf.refused(405, 'InvalidRequestError', 'POST', '/storage_nodes', {})
      await edf.refused(405, 'InvalidRequestError', 'PATCH', '/app_instances/x', {})
      const unknownVersion = await edf.call('GET', '/system', undefined, { version: '9' })
      assert.deepEqual([unknownVersion.status, unknownVersion.body.name], [404, 'InvalidRouteError'])
      const newer = await edf.call('GET', '/placement_policies', undefined, { version: '2.1' })
      assert.equal(newer.status, 404)
      const invalid = await edf.refused(422, 'ValidationFailedError', 'POST', '/app_instances', {
        name: 'x',
        storage_instances: [{ name: '1', volumes: [{ name: 'volume-1', size: 'big' }] }],
      })
      assert.ok(
        invalid.errors.length >= 2 && invalid.errors.every((item: unknown) => typeof item === 'string'),
      )
    })

    test('v2 answers without envelope, with objects keyed by name and bare references', async () => {
      const options = { version: '2' }
      const made = await edf.call(
        'POST',
        '/app_instances',
        {
          name: 'cloudstack',
          access_control_mode: 'deny_all',
          storage_instances: {
            'storage-1': {
              name: 'storage-1',
              volumes: {
                'volume-1': {
                  name: 'volume-1',
                  size: 1,
                  replica_count: 3,
                  performance_policy: { total_iops_max: 100 },
                },
              },
            },
          },
        },
        options,
      )
      assert.equal(made.status, 200, JSON.stringify(made.body))
      const { body } = await edf.call('GET', '/app_instances/cloudstack', undefined, options)
      const si = body.storage_instances['storage-1']
      assert.equal(si.volumes['volume-1'].performance_policy.total_iops_max, 100)
      assert.deepEqual(si.volumes['volume-1'].snapshots, {})
      assert.match(si.access.iqn, /^iqn\./)
      assert.equal(typeof si.active_storage_nodes[0], 'string')
      assert.equal(si.auth.target_pswd, '')
      const clone = await edf.call(
        'POST',
        '/app_instances',
        { name: 'cloudstack-2', clone_src: si.volumes['volume-1'].path },
        options,
      )
      assert.equal(clone.status, 200, JSON.stringify(clone.body))
      const list = await edf.call('GET', '/app_instances', undefined, options)
      assert.equal(list.body[body.id].name, 'cloudstack')
    })
  })
}

const needed =
  `app_instances storage_instances volumes snapshots snapshot_policies performance_policy acl_policy
  initiators initiator_groups auth metadata members app_templates storage_templates volume_templates
  access_network_ip_pools network_paths system network access_vip mgmt_vip http_proxy dns ntp_servers
  tenants storage_nodes api metrics io hw latest reads writes bytes_read bytes_written iops_read iops_write
  thpt_read thpt_write lat_avg_read lat_avg_write lat_50_read lat_90_read lat_100_read lat_50_write lat_90_write
  lat_100_write cpu_usage users roles events user alerts time init config upgrade available userinfo
  monitoring`.split(/\s+/)
const neededFrom22 =
  `placement_policies media_policies remote_providers operations refresh logs_upload storage_pools
  failure_domains int_ecosystem_data app_instance_int_ecosystem_data`.split(/\s+/)
const forbidden = `access app_template name path tenant uuid id size op_state admin_state utc_ts timestamp
  active_storage_nodes active_initiators placement_mode placement_policy replica_count ip_pool max min priority data
  descr health access_control_mode capacity_in_use repair_priority sw_version total_capacity available_capacity
  all_flash_total_capacity all_flash_available_capacity hybrid_total_capacity hybrid_available_capacity l3_enabled
  callhome_enabled compression_enabled`.split(/\s+/)

/** The names by which the Python SDK lets its users go: section 1.10.3, steps 1 and 2. */
function sdkNames(schema: Json): Set<string> {
  const names = new Set<string>(['root'])
  for (const [template, operations] of Object.entries<Json>(schema)) {
    if (typeof operations !== 'object') continue
    const segments = (template.split('(', 1)[0] ?? '').split('/').filter((segment) => segment !== '')
    if (segments.at(-1)?.startsWith(':')) {
      const parameters = operations.read?.urlParamSchema?.metric?.enum
      for (const name of parameters ?? []) names.add(name)
      continue
    }
    for (const segment of segments) if (!segment.startsWith(':')) names.add(segment)
  }
  return names
}
