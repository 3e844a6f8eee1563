import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { type Json, NodeUnderTest } from './testing.ts'

const iqn = 'iqn.1993-08.org.debian:01:csi'

/** Go sends a body with every GET, and none with most deletions. */
const go = { headers: { tenant: '', 'datera-driver': 'CSI-1.0|Golang-SDK-1.1.5' } }

/** What CSI and the docker driver take from each app instance without looking. */
function clientVolume(ai: Json): Json {
  const [si] = ai.storage_instances
  const [volume] = si.volumes
  for (const present of [volume.path, si.acl_policy.initiators, si.access.iqn, ai.app_template.path]) {
    assert.notEqual(present, undefined)
  }
  return volume
}

/** The calls of the CSI plugin in their order. (EDF API specification, sections 3.6 and 3.7.) */
for (const productVersion of ['3.2.5.0', '3.3.0.0']) {
  test(`CSI provisions, stages, snapshots and deletes on product ${productVersion}`, async (t) => {
    const edf = await NodeUnderTest.start(t, { productVersion })
    const get = (path: string) => edf.ok('GET', path, undefined, { ...go, raw: '{}' })
    // K1: a node has to be there, and the system with all that the log shows.
    assert.equal((await get('/storage_nodes')).length, 1)
    const system = await get('/system')
    for (const name of ['sw_version', 'build_version', 'health', 'name', 'op_state', 'timezone', 'uuid']) {
      assert.equal(typeof system[name], 'string', name)
    }
    // K2 to K4
    const ai = '/app_instances/CSI-pvc-1'
    await edf.refused(404, 'NotFoundError', 'GET', ai, undefined, go)
    const policy = { path: '/placement_policies/default', resolved_path: '', resolved_tenant: '' }
    const volumes = [
      {
        name: 'volume-1',
        size: 1,
        placement_mode: 'hybrid',
        ...(productVersion.startsWith('3.3') && { placement_policy: policy }),
        replica_count: 3,
        performance_policy: {},
      },
    ]
    const storage = { name: 'storage-1', ip_pool: { path: '/access_network_ip_pools/default' }, volumes }
    const creation = {
      name: 'CSI-pvc-1',
      create_mode: 'kubernetes',
      storage_instances: [{ ...storage, auth: { type: 'none' } }],
    }
    const volume = clientVolume(await edf.ok('POST', '/app_instances', creation, go))
    assert.equal(clientVolume(await get(ai)).size, 1)
    // K19: an explicit policy of zeros can be read again.
    const zeros = { total_iops_max: 0, read_iops_max: 0, write_iops_max: 0 }
    const limits = { ...zeros, total_bandwidth_max: 0, read_bandwidth_max: 0, write_bandwidth_max: 0 }
    await edf.ok('POST', `${volume.path}/performance_policy`, limits, go)
    const { path: _, ...read } = await get(`${volume.path}/performance_policy`)
    assert.deepEqual(read, limits)
    // K7: what comes back is what was written, and nothing else.
    const metadata = {
      display_name: 'pvc',
      size: '1',
      fs_args: '',
      ':authority': 'unix',
      'user-agent': 'grpc',
    }
    assert.deepEqual(await edf.ok('PUT', `${ai}/metadata`, metadata, go), metadata)
    assert.deepEqual(await get(`${ai}/metadata`), metadata)
    // K15, K16: register, go online, and leave the list.
    await edf.refused(404, 'NotFoundError', 'GET', `/initiators/${iqn}`, undefined, go)
    await edf.ok('POST', '/initiators', { name: `CSI-${randomUUID()}`, id: iqn, force: true }, go)
    const acl = `${ai}/storage_instances/storage-1/acl_policy`
    const own = { path: `/initiators/${iqn}` }
    await edf.ok('PUT', acl, { initiators: [own] }, go)
    await edf.ok('PUT', ai, { admin_state: 'online' }, go)
    assert.deepEqual((await edf.ok('PUT', acl, { initiators: [own, own] }, go)).initiators, [own])
    assert.deepEqual((await edf.ok('PUT', acl, {}, go)).initiators, [own])
    // K14: grows while it is online.
    assert.equal((await edf.ok('PUT', volume.path, { size: 2 }, go)).size, 2)
    // K11 to K13
    const uuid = randomUUID()
    const taken = await edf.ok(
      'POST',
      `${volume.path}/snapshots`,
      { uuid, remote_provider_uuid: '', type: '' },
      go,
    )
    assert.ok(Number.parseFloat(taken.utc_ts) > 1e9)
    const again = await edf.refused(
      400,
      'InvalidRequestError',
      'POST',
      `${volume.path}/snapshots`,
      { uuid },
      go,
    )
    assert.equal(again.code, 15)
    assert.equal((await get(`${volume.path}/snapshots`))[0].uuid, uuid)
    assert.deepEqual(clientVolume(await get(ai)).snapshots[0].utc_ts, taken.utc_ts)
    // K6: from a snapshot, and from a volume by a path with names.
    const from = { create_mode: 'kubernetes', clone_snapshot_src: { path: taken.path } }
    assert.equal(clientVolume(await edf.ok('POST', '/app_instances', { ...from, name: 'CSI-2' }, go)).size, 2)
    const named = { path: `${ai}/storage_instances/storage-1/volumes/volume-1` }
    const clone = { create_mode: 'kubernetes', clone_volume_src: named, name: 'CSI-3' }
    clientVolume(await edf.ok('POST', '/app_instances', clone, go))
    // K5: overrides of names that the template lacks are left alone.
    const override = {
      storage_instances: {
        'storage-1': { volumes: { 'volume-1': { size: '20' }, other: { size: '9' } } },
        'storage-9': { volumes: {} },
      },
    }
    const template = { name: 'CSI-4', app_template: { path: '/app_templates/basic_small' } }
    const fromTemplate = await edf.ok(
      'POST',
      '/app_instances',
      { ...template, template_override: override },
      go,
    )
    assert.equal(clientVolume(fromTemplate).size, 20)
    // K9
    const page = await edf.call('GET', '/app_instances?limit=2&offset=2', undefined, go)
    assert.deepEqual(page.body.metadata, { total_count: 4, request_count: 2, limit: 2, offset: 2 })
    page.body.data.forEach(clientVolume)
    // K12 and K8: no body, and `force` that gets lost on the way.
    const bare = { headers: { ...go.headers, 'content-type': undefined } }
    const query = '?force=false&remote_provider_uuid='
    await edf.ok('DELETE', `${taken.path}${query}`, undefined, { ...go, raw: '{}' })
    await edf.refused(404, 'NotFoundError', 'DELETE', `${taken.path}${query}`, undefined, bare)
    await edf.ok('PUT', ai, { admin_state: 'offline', force: true }, go)
    assert.equal((await edf.ok('DELETE', ai, undefined, bare)).name, 'CSI-pvc-1')
    // K18
    const upload = new FormData()
    upload.set('ecosystem', 'kubernetes')
    upload.set('logs.tar.gz', new Blob(['logs']), '/tmp/logs.tar.gz')
    await edf.ok('PUT', '/logs_upload', undefined, { raw: upload, headers: { tenant: undefined } })
    const events: Json[] = await get('/events/system')
    assert.match(events.find(({ code }) => code === 'LOGS_UPLOADED').context, /"bytes":4/)
  })
}
