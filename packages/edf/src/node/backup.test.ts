import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readBytes } from '@emberglass/iscsi/device'
import { openIscsiDisk } from '@emberglass/iscsi/initiator'
import { type CallOptions, type Json, NodeUnderTest } from './testing.ts'

const cancel = { signal: new AbortController().signal }
const iqn = 'iqn.1993-08.org.debian:01:backup'
/** What the driver's older HTTP layer sends: v2.1, always JSON, `null` without a body. */
const here: CallOptions = {
  version: '2.1',
  headers: { tenant: '/root', 'datera-driver': 'OpenStack-Backup-1' },
}
const empty: CallOptions = {
  ...here,
  raw: 'null',
  headers: { ...here.headers, 'content-type': 'application/json' },
}

/** The calls of the Cinder backup driver in their order, by name. (EDF API specification, section 3.3.) */
for (const productVersion of ['3.2.5.0', '3.3.0.0']) {
  test(`the backup driver writes, restores and deletes backups on product ${productVersion}`, async (t) => {
    const edf = await NodeUnderTest.start(t, { productVersion })
    const ai = '/app_instances/BACKUP-7d1e'
    const si = `${ai}/storage_instances/storage-1`
    const volume = `${si}/volumes/volume-1`
    const missing = await edf.refused(404, 'NotFoundError', 'GET', ai, undefined, empty)
    assert.match(missing.message, /not exist/)
    const volumes = [
      { name: 'volume-1', size: 1, placement_mode: 'hybrid', replica_count: 3, snapshot_policies: [] },
    ]
    const creation = {
      create_mode: 'openstack',
      name: 'BACKUP-7d1e',
      access_control_mode: 'deny_all',
      storage_instances: [{ name: 'storage-1', volumes }],
    }
    await edf.ok('POST', '/app_instances', creation, here)
    const initiator = { id: iqn, name: 'OpenStack_ab12_cd34' }
    await edf.ok('POST', '/initiators', initiator, here)
    await edf.refused(409, 'ConflictError', 'POST', '/initiators', initiator, here)

    /** Online, on the list, available; then the device. */
    const attach = async () => {
      const online = await edf.ok('PUT', ai, { admin_state: 'online' }, here)
      const { access } = online.storage_instances.find((item: Json) => item.name === 'storage-1')
      const acl = await edf.ok('GET', `${si}/acl_policy`, undefined, empty)
      const initiators = [...acl.initiators, { path: `/initiators/${iqn}` }]
      const list = { initiators, initiator_groups: acl.initiator_groups }
      assert.equal((await edf.ok('PUT', `${si}/acl_policy`, list, here)).initiators.length, 1)
      assert.equal((await edf.ok('GET', si, undefined, empty)).op_state, 'available')
      const port = Number(edf.node.iscsiPortal.split(':')[1])
      const portals = [{ host: access.ips[0], port }]
      const login = { portals, targetName: access.iqn, lun: 0, initiatorName: iqn }
      return openIscsiDisk({ ...login, timeoutMs: 10_000, recoveryTimeoutMs: 500 }, cancel)
    }
    for (const chunk of [1, 2, 3]) {
      const disk = await attach()
      await disk.write(0, Buffer.alloc(4096, chunk), cancel)
      await disk.flush(cancel)
      const made = await edf.call('POST', `${volume}/snapshots`, {}, here)
      assert.equal(made.status, 200)
      // The driver polls what the envelope says, and the snapshot's own path is of the form with ids.
      assert.equal(made.body.path, made.body.data.path)
      assert.equal((await edf.ok('GET', made.body.path, undefined, empty)).op_state, 'available')
      await disk[Symbol.asyncDispose]()
    }
    const list = await edf.call('GET', `${volume}/snapshots`, undefined, empty)
    assert.deepEqual(list.body.metadata, { total: 3 })
    const times: string[] = list.body.data.map((item: Json) => item.utc_ts)
    assert.deepEqual(times, times.toSorted())

    for (const [index, utcTs] of times.entries()) {
      await edf.ok('PUT', ai, { admin_state: 'offline', force: true }, here)
      await edf.ok('PUT', volume, { restore_point: utcTs }, here)
      const disk = await attach()
      assert.equal((await readBytes(disk, 0, 512, cancel))[0], index + 1)
      await disk[Symbol.asyncDispose]()
      assert.equal((await edf.ok('GET', `${volume}/snapshots`, undefined, empty)).length, 3)
    }
    await edf.refused(400, 'InvalidRequestError', 'PUT', volume, { restore_point: times[0] }, here)
    const withoutTenant = { ...empty, headers: { ...empty.headers, tenant: undefined } }
    await edf.ok('DELETE', `${volume}/snapshots/${times[0]}`, undefined, withoutTenant)
    await edf.ok('PUT', ai, { admin_state: 'offline', force: true }, here)
    await edf.refused(404, 'NotFoundError', 'PUT', volume, { restore_point: times[0] }, here)
    await edf.ok('DELETE', ai, undefined, empty)
    await edf.refused(404, 'NotFoundError', 'DELETE', ai, undefined, empty)
  })
}
