import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import { onEachEngine } from '../../kernel/db/testing.ts'
import { BackendError } from '../../kernel/errors.ts'
import { startTestBlock, type TestAnswer, type TestBlock, type TestToken } from '../testing.ts'
import { MemoryVolumeDriver } from '../volume-drivers/memory.ts'

const version = '3.60'

async function ok(answer: Promise<TestAnswer>, status: number): Promise<TestAnswer['body']> {
  const { status: got, text, body } = await answer
  assert.equal(got, status, text)
  return body
}

/** A driver whose first snapshots of a group are taken, but it is away before it has said so. */
function interruptedOnce() {
  const driver = new MemoryVolumeDriver({ poolName: 'p', capacityBytes: 100 * 1024 ** 4 })
  const taken: (readonly string[])[] = []
  const deleted: string[] = []
  const { snapshot } = driver.groups
  driver.groups.snapshot = async (snapshots, call) => {
    const created = await snapshot(snapshots, call)
    taken.push(snapshots.map(({ id }) => id).sort())
    if (taken.length === 1) throw new BackendError('away', { left: 'unknown', retryAfterMs: 1 })
    return created
  }
  const remove = driver.snapshots.delete
  driver.snapshots.delete = async (one, call) => {
    deleted.push(one.id)
    await remove(one, call)
  }
  return { driver, taken, deleted }
}

/** A group type, a volume type, and how to make groups and volumes of them. */
async function groupsOf(block: TestBlock) {
  const ask = (token: TestToken, method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown) =>
    block.request(token, method, path, { version, ...(body === undefined ? {} : { body }) })
  const groupType = await ok(ask('admin', 'POST', '/group_types', { group_type: { name: 'plain' } }), 202)
  const { volume_types: types } = await ok(ask('admin', 'GET', '/types'), 200)
  const typeId: string = types[0].id
  return {
    ask,
    typeId,
    groupTypeId: groupType.group_type.id as string,
    async group(name = 'g'): Promise<string> {
      const body = { group: { group_type: 'plain', volume_types: [typeId], name } }
      const { group } = await ok(ask('member', 'POST', '/groups', body), 202)
      assert.deepEqual(Object.keys(group), ['id', 'name'])
      await block.idle()
      assert.equal((await ok(ask('member', 'GET', `/groups/${group.id}`), 200)).group.status, 'available')
      return group.id
    },
    async volume(groupId: string): Promise<string> {
      const body = { volume: { size: 1, volume_type: typeId, group_id: groupId } }
      const { volume } = await ok(ask('member', 'POST', '/volumes', body), 202)
      assert.equal(volume.group_id, groupId)
      await block.idle()
      return volume.id
    },
  }
}

onEachEngine((engine) => {
  test(`group types and their specs are made, changed and removed, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const { ask, groupTypeId } = await groupsOf(block)
    const path = `/group_types/${groupTypeId}`
    await ok(ask('member', 'POST', '/group_types', { group_type: { name: 'x' } }), 403)
    await ok(ask('admin', 'POST', '/group_types', { group_type: { name: 'plain' } }), 409)
    await ok(ask('admin', 'POST', `${path}/group_specs`, { group_specs: { a: '1' } }), 202)
    await ok(ask('admin', 'PUT', `${path}/group_specs/b`, { b: '2' }), 200)
    await ok(ask('admin', 'PUT', `${path}/group_specs/b`, { c: '2' }), 400)
    assert.deepEqual(await ok(ask('admin', 'GET', `${path}/group_specs/b`), 200), { b: '2' })
    await ok(ask('admin', 'DELETE', `${path}/group_specs/b`), 202)
    await ok(ask('admin', 'GET', `${path}/group_specs/b`), 404)
    const byAdmin = await ok(ask('admin', 'GET', path), 200)
    assert.deepEqual(byAdmin.group_type.group_specs, { a: '1' })
    assert.equal('group_specs' in (await ok(ask('member', 'GET', path), 200)).group_type, false)
    await ok(ask('admin', 'DELETE', path), 202)
    await ok(ask('admin', 'GET', path), 404)
    await ok(ask('admin', 'GET', '/group_types/default'), 404)
    await ok(block.request('admin', 'GET', '/group_types', { version: '3.10' }), 404)
  })

  test(`a group and its snapshot are made, copied and deleted with their members, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const { ask, group, volume, typeId } = await groupsOf(block)
    const groupId = await group()
    const members = [await volume(groupId), await volume(groupId)]
    const shown = await ok(ask('member', 'GET', `/groups/${groupId}?list_volume=true`), 200)
    assert.deepEqual([...shown.group.volumes].sort(), [...members].sort())
    assert.deepEqual(shown.group.volume_types, [typeId])
    await ok(ask('member', 'DELETE', `/volumes/${members[0]}`), 400)

    const body = { group_snapshot: { group_id: groupId, name: 'gs' } }
    const { group_snapshot: snapshot } = await ok(ask('member', 'POST', '/group_snapshots', body), 202)
    await block.idle()
    const path = `/group_snapshots/${snapshot.id}`
    assert.equal((await ok(ask('member', 'GET', path), 200)).group_snapshot.status, 'available')
    const { snapshots } = await ok(ask('member', 'GET', '/snapshots/detail'), 200)
    assert.deepEqual(
      snapshots.map((one: { group_snapshot_id: string }) => one.group_snapshot_id),
      [snapshot.id, snapshot.id],
    )
    await ok(ask('member', 'DELETE', `/snapshots/${snapshots[0].id}`), 400)
    await ok(ask('member', 'POST', `/groups/${groupId}/action`, { delete: { 'delete-volumes': true } }), 400)

    const from = { 'create-from-src': { group_snapshot_id: snapshot.id, name: 'copy' } }
    const { group: copy } = await ok(ask('member', 'POST', '/groups/action', from), 202)
    await block.idle()
    const copied = await ok(ask('member', 'GET', `/groups/${copy.id}?list_volume=true`), 200)
    assert.equal(copied.group.status, 'available')
    assert.equal(copied.group.volumes.length, 2)
    assert.equal(copied.group.group_snapshot_id, snapshot.id)

    await ok(ask('member', 'DELETE', path), 202)
    await block.idle()
    await ok(ask('member', 'GET', path), 404)
    for (const id of [groupId, copy.id]) {
      await ok(ask('member', 'POST', `/groups/${id}/action`, { delete: { 'delete-volumes': false } }), 400)
      await ok(ask('member', 'POST', `/groups/${id}/action`, { delete: { 'delete-volumes': true } }), 202)
    }
    await block.idle()
    assert.deepEqual((await ok(ask('member', 'GET', '/groups'), 200)).groups, [])
    assert.deepEqual(block.driver.ids, [])
  })

  test(`a consistent snapshot is taken of all members at one moment, attached ones too, on ${engine.name}`, async () => {
    const { driver, taken, deleted } = interruptedOnce()
    await using block = await startTestBlock(engine, { driver })
    const { ask, group, volume, groupTypeId } = await groupsOf(block)
    const group_specs = { consistent_group_snapshot_enabled: '<is> True' }
    await ok(ask('admin', 'POST', `/group_types/${groupTypeId}/group_specs`, { group_specs }), 202)
    const groupId = await group()
    const members = [await volume(groupId), await volume(groupId)]
    const attach = { 'os-attach': { instance_uuid: randomUUID(), mountpoint: '/dev/vdb' } }
    await ok(ask('admin', 'POST', `/volumes/${members[0]}/action`, attach), 202)
    const take = async () => {
      const { group_snapshot: taken } = await ok(
        ask('member', 'POST', '/group_snapshots', { group_snapshot: { group_id: groupId } }),
        202,
      )
      const deadline = Date.now() + 60_000 // a job that is to be tried again later does not keep `idle` waiting
      for (;;) {
        const shown = await ok(ask('member', 'GET', `/group_snapshots/${taken.id}`), 200)
        if (shown.group_snapshot.status !== 'creating') return shown.group_snapshot
        assert.ok(Date.now() < deadline, 'the group snapshot is still being taken')
        await wait(10)
      }
    }
    const first = await take()
    assert.equal(first.status, 'available')
    const { snapshots } = await ok(ask('member', 'GET', '/snapshots'), 200)
    const ids = snapshots.map((one: { id: string }) => one.id).sort()
    assert.deepEqual(taken, [ids, ids], 'as a whole, and as a whole again after an interruption')
    assert.deepEqual(deleted.sort(), ids, 'what the interrupted run took is not kept')
    const second = await take()
    for (const { id } of [first, second]) await ok(ask('member', 'DELETE', `/group_snapshots/${id}`), 202)
    await block.idle()
    assert.deepEqual((await ok(ask('member', 'GET', '/group_snapshots'), 200)).group_snapshots, [])

    driver.groups.snapshot = async () => {
      throw new BackendError('the array is full', { left: 'nothing' })
    }
    assert.equal((await take()).status, 'error')
    const failed = (await ok(ask('member', 'GET', '/snapshots'), 200)).snapshots
    assert.deepEqual(
      failed.map((one: { status: string }) => one.status),
      ['error', 'error'],
    )
  })

  test(`volumes move into and out of a group, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const { ask, group, volume, typeId } = await groupsOf(block)
    const groupId = await group()
    const member = await volume(groupId)
    const outside = await ok(
      ask('member', 'POST', '/volumes', { volume: { size: 1, volume_type: typeId } }),
      202,
    )
    await block.idle()
    const path = `/groups/${groupId}`
    const change = { add_volumes: outside.volume.id, remove_volumes: member, name: 'renamed' }
    await ok(ask('member', 'PUT', path, { group: change }), 202)
    const after = (await ok(ask('member', 'GET', `${path}?list_volume=true`), 200)).group
    assert.deepEqual([after.name, after.volumes], ['renamed', [outside.volume.id]])
    await ok(ask('member', 'PUT', path, { group: { name: 'renamed' } }), 400)
    await ok(ask('member', 'PUT', path, { group: { remove_volumes: member } }), 400)
    await ok(ask('stranger', 'GET', path), 404)
    await ok(ask('member', 'POST', `${path}/action`, { reset_status: { status: 'error' } }), 403)
    await ok(ask('admin', 'POST', `${path}/action`, { reset_status: { status: 'in-use' } }), 400)
    await ok(ask('admin', 'POST', `${path}/action`, { reset_status: { status: 'ERROR' } }), 202)
    await ok(ask('member', 'POST', `${path}/action`, { enable_replication: {} }), 400)
  })

  test(`consistency groups have an API of their own, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const { ask, typeId } = await groupsOf(block)
    const body = { consistencygroup: { name: 'cg', volume_types: `${typeId},` } }
    const { consistencygroup: cg } = await ok(ask('member', 'POST', '/consistencygroups', body), 202)
    await block.idle()
    const path = `/consistencygroups/${cg.id}`
    assert.equal((await ok(ask('member', 'GET', path), 200)).consistencygroup.status, 'available')
    await ok(ask('member', 'GET', `/groups/${cg.id}`), 400)
    assert.deepEqual((await ok(ask('member', 'GET', '/groups'), 200)).groups, [])
    const wanted = { volume: { size: 1, volume_type: typeId, consistencygroup_id: cg.id } }
    const { volume } = await ok(ask('member', 'POST', '/volumes', wanted), 202)
    assert.equal(volume.consistencygroup_id, cg.id)
    await block.idle()
    const listed = await ok(ask('member', 'GET', '/volumes/detail'), 200)
    assert.equal(listed.volumes[0].consistencygroup_id, cg.id)

    const snap = { cgsnapshot: { consistencygroup_id: cg.id, name: 's' } }
    const { cgsnapshot } = await ok(ask('member', 'POST', '/cgsnapshots', snap), 202)
    await block.idle()
    assert.equal(
      (await ok(ask('member', 'GET', `/cgsnapshots/${cgsnapshot.id}`), 200)).cgsnapshot.status,
      'available',
    )
    await ok(ask('member', 'DELETE', `/cgsnapshots/${cgsnapshot.id}`), 202)
    await block.idle()
    await ok(ask('member', 'POST', `${path}/delete`, { consistencygroup: { force: false } }), 400)
    await ok(ask('member', 'POST', `${path}/delete`, { consistencygroup: { force: true } }), 202)
    await block.idle()
    await ok(ask('member', 'GET', path), 404)
    assert.deepEqual(block.driver.ids, [])
  })
})
