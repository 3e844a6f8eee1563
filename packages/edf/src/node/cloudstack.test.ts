import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { type Json, NodeUnderTest } from './testing.ts'

/** CloudStack logs in before every request, knows no tenants, and takes 200 alone for success. */
class CloudStack {
  readonly #edf: NodeUnderTest

  constructor(edf: NodeUnderTest) {
    this.#edf = edf
  }

  async call(method: string, path: string, body?: unknown): Promise<{ status: number; body: Json }> {
    const { node } = this.#edf
    const credentials = { name: node.login, password: node.password }
    const login = await this.#edf.call('PUT', '/login', credentials, { version: '2' })
    const headers = { 'auth-token': login.body.key }
    return this.#edf.call(method, path, body, { version: '2', headers })
  }

  async ok(method: string, path: string, body?: unknown): Promise<Json> {
    const answer = await this.call(method, path, body)
    assert.equal(answer.status, 200, `${method} ${path}: ${JSON.stringify(answer.body)}`)
    return answer.body
  }
}

/** Version 2: no envelope, objects keyed by name, bare references. (EDF API specification, sections 3.9 and 4.1.) */
for (const productVersion of ['3.2.5.0', '3.3.0.0']) {
  test(`CloudStack provisions through v2 on product ${productVersion}`, async (t) => {
    const cloud = new CloudStack(await NodeUnderTest.start(t, { productVersion }))
    const ai = '/app_instances/cloud-1'
    const volume = `${ai}/storage_instances/storage-1/volumes/volume-1`
    const absent = await cloud.call('GET', ai)
    assert.deepEqual([absent.status, absent.body.name], [404, 'NotFoundError'])
    const limits = { total_iops_max: 100 }
    const inner = { name: 'volume-1', size: 1, replica_count: 3, performance_policy: limits }
    const instance = { name: 'storage-1', volumes: { 'volume-1': inner } }
    const storage = { access_control_mode: 'deny_all', storage_instances: { 'storage-1': instance } }
    await cloud.ok('POST', '/app_instances', { name: 'cloud-1', ...storage })
    const made = await cloud.ok('GET', ai)
    const si = made.storage_instances['storage-1']
    assert.match(si.access.iqn, /^iqn\./)
    assert.equal(si.access.ips.length, 2)
    const { size, replica_count, op_state, performance_policy } = si.volumes['volume-1']
    assert.deepEqual([size, replica_count, op_state], [1, 3, 'available'])
    assert.equal(performance_policy.total_iops_max, 100)
    // S6
    assert.equal(
      (await cloud.ok('PUT', `${volume}/performance_policy`, { total_iops_max: 7 })).total_iops_max,
      7,
    )
    // S7
    await cloud.ok('PUT', ai, { admin_state: 'offline', force: true })
    assert.equal((await cloud.ok('PUT', volume, { size: 2 })).size, 2)
    await cloud.ok('PUT', ai, { admin_state: 'online', force: true })
    // S8 to S10
    const iqn = 'iqn.1993-08.org.debian:01:cloud'
    const initiator = await cloud.ok('POST', '/initiators', { id: iqn, name: 'host' })
    assert.equal(initiator.path, `/initiators/${iqn}`)
    await cloud.ok('POST', '/initiator_groups', { name: 'cluster', members: [] })
    await cloud.ok('PUT', '/initiator_groups/cluster/members', { path: initiator.path, op: 'add' })
    assert.deepEqual((await cloud.ok('GET', '/initiator_groups/cluster')).members, [initiator.path])
    const groups = `${ai}/storage_instances/storage-1/acl_policy/initiator_groups`
    assert.deepEqual(await cloud.ok('GET', groups), {})
    await cloud.ok('PUT', groups, { path: '/initiator_groups/cluster', op: 'add' })
    assert.equal((await cloud.ok('GET', groups)).cluster.name, 'cluster')
    // S11
    const uuid = randomUUID()
    const snapshot = await cloud.ok('POST', `${volume}/snapshots`, { uuid })
    assert.equal(typeof snapshot.timestamp, 'string')
    const read = await cloud.ok('GET', `${volume}/snapshots/${snapshot.timestamp}`)
    assert.deepEqual([read.uuid, read.op_state], [uuid, 'available'])
    assert.deepEqual(Object.keys(await cloud.ok('GET', `${volume}/snapshots`)), [snapshot.timestamp])
    // S5: of a volume and of a snapshot, by their paths.
    for (const [index, source] of [si.volumes['volume-1'].path, snapshot.path].entries()) {
      const clone = await cloud.ok('POST', '/app_instances', { name: `clone-${index}`, clone_src: source })
      assert.equal(clone.storage_instances['storage-1'].volumes['volume-1'].size, 2)
    }
    const all = await cloud.ok('GET', '/app_instances')
    assert.deepEqual(
      Object.values<Json>(all).map(({ name }) => name),
      ['cloud-1', 'clone-0', 'clone-1'],
    )
    await cloud.ok('DELETE', `${volume}/snapshots/${snapshot.timestamp}`)
    assert.equal((await cloud.ok('GET', '/system/metrics/reads'))[0].entity_path, '/system')
    // S12
    await cloud.ok('PUT', ai, { admin_state: 'offline', force: true })
    await cloud.ok('DELETE', ai)
    assert.equal((await cloud.call('GET', ai)).body.name, 'NotFoundError')
  })
}
