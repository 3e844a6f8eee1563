import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { GiB } from '../../kernel/bytes.ts'
import type { Call } from '../../kernel/call.ts'
import { onEachEngine } from '../../kernel/db/testing.ts'
import { BackendError } from '../../kernel/errors.ts'
import { startTestBlock, type TestBlock } from '../testing.ts'
import type { BackendVolume } from '../volume-driver.ts'
import { MemoryVolumeDriver } from '../volume-drivers/memory.ts'

async function makeVolume(block: TestBlock, volume: object = { size: 1 }): Promise<string> {
  const answer = await block.request('member', 'POST', '/volumes', { body: { volume } })
  assert.equal(answer.status, 202, answer.text)
  await block.idle()
  return answer.body.volume.id
}

async function makeSnapshot(block: TestBlock, volumeId: string, more: object = {}): Promise<string> {
  const body = { snapshot: { volume_id: volumeId, ...more } }
  const answer = await block.request('member', 'POST', '/snapshots', { body })
  assert.equal(answer.status, 202, answer.text)
  await block.idle()
  return answer.body.snapshot.id
}

onEachEngine((engine) => {
  test(`a snapshot is taken, shown, listed, changed and deleted, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const volumeId = await makeVolume(block)
    const id = await makeSnapshot(block, volumeId, { name: 's', metadata: { a: '1' } })
    const path = `/snapshots/${id}`
    const shown = (await block.request('member', 'GET', path, { version: '3.65' })).body.snapshot
    assert.equal(shown.status, 'available')
    assert.equal(shown['os-extended-snapshot-attributes:progress'], '100%')
    assert.equal(shown.consumes_quota, true)
    assert.equal(shown.volume_id, volumeId)
    const [listed] = (await block.request('member', 'GET', '/snapshots')).body.snapshots
    assert.deepEqual(Object.keys(listed).sort(), [
      'created_at',
      'description',
      'id',
      'metadata',
      'name',
      'size',
      'status',
      'updated_at',
      'volume_id',
    ])
    const put = await block.request('member', 'PUT', path, { body: { snapshot: { name: 't' } } })
    assert.equal(put.body.snapshot.name, 't')
    const meta = await block.request('member', 'PUT', `${path}/metadata/b`, { body: { meta: { b: '2' } } })
    assert.equal(meta.status, 200)
    const metadata = (await block.request('member', 'GET', `${path}/metadata`)).body.metadata
    assert.deepEqual(metadata, { a: '1', b: '2' })
    assert.equal((await block.request('stranger', 'GET', path)).status, 404)
    assert.equal((await block.request('reader', 'DELETE', path)).status, 403)
    const found = await block.request(
      'member',
      'GET',
      `/snapshots/detail?volume_id=${volumeId}&status=available`,
    )
    assert.equal(found.body.snapshots.length, 1)
    assert.equal((await block.request('member', 'DELETE', path)).status, 202)
    await block.idle()
    assert.equal((await block.request('member', 'GET', path)).status, 404)
    assert.deepEqual(block.driver.ids, [volumeId])
  })

  test(`volumes with snapshots stay, copies live on in any order, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const volumeId = await makeVolume(block)
    const snapshotId = await makeSnapshot(block, volumeId)
    const fromSnapshot = await makeVolume(block, { snapshot_id: snapshotId, size: 2 })
    const clone = await makeVolume(block, { source_volid: fromSnapshot })
    const refused = await block.request('member', 'DELETE', `/volumes/${volumeId}`)
    assert.equal(refused.status, 400)
    const gone = async (path: string) => {
      assert.equal((await block.request('member', 'DELETE', path)).status, 202)
      await block.idle()
      assert.equal((await block.request('member', 'GET', path)).status, 404)
    }
    await gone(`/snapshots/${snapshotId}`)
    await gone(`/volumes/${volumeId}`)
    const { volume } = (await block.request('member', 'GET', `/volumes/${fromSnapshot}`)).body
    assert.equal(volume.snapshot_id, snapshotId)
    assert.equal(volume.size, 2)
    await gone(`/volumes/${fromSnapshot}`)
    assert.equal((await block.request('member', 'GET', `/volumes/${clone}`)).body.volume.size, 2)
    assert.deepEqual(block.driver.ids, [clone])
  })

  test(`a cascading delete takes the snapshots along, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const volumeId = await makeVolume(block)
    const snapshotId = await makeSnapshot(block, volumeId)
    assert.equal((await block.request('member', 'DELETE', `/volumes/${volumeId}?cascade=true`)).status, 202)
    await block.idle()
    assert.equal((await block.request('member', 'GET', `/snapshots/${snapshotId}`)).status, 404)
    assert.deepEqual(block.driver.ids, [])
  })

  test(`a clone that waits its turn is made although its source is deleted, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const source = await makeVolume(block)
    const [clone, deletion] = await Promise.all([
      block.request('member', 'POST', '/volumes', { body: { volume: { source_volid: source } } }),
      block.request('member', 'DELETE', `/volumes/${source}`),
    ])
    assert.equal(deletion.status, 202)
    await block.idle()
    if (clone.status !== 202) return // the deletion was first
    const { body } = await block.request('member', 'GET', `/volumes/${clone.body.volume.id}`)
    assert.equal(body.volume.status, 'available')
    assert.deepEqual(block.driver.ids, [clone.body.volume.id])
  })

  test(`the force flag means what its microversion says, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const volumeId = await makeVolume(block)
    const attach = { 'os-attach': { host_name: 'h', mountpoint: '/dev/vdb' } }
    await block.request('member', 'POST', `/volumes/${volumeId}/action`, { body: attach })
    const snap = (force: unknown, version: string) =>
      block.request('member', 'POST', '/snapshots', {
        body: { snapshot: { volume_id: volumeId, ...(force === undefined ? {} : { force }) } },
        version,
      })
    assert.equal((await snap(undefined, '3.65')).status, 400)
    assert.equal((await snap(false, '3.65')).status, 400)
    assert.equal((await snap('maybe', '3.65')).status, 400)
    assert.equal((await snap('True', '3.65')).status, 202)
    assert.equal((await snap(undefined, '3.66')).status, 202)
    assert.equal((await snap(true, '3.66')).status, 202)
    assert.equal((await snap(false, '3.66')).status, 400)
    const nowhere = { body: { snapshot: { volume_id: randomUUID() } } }
    assert.equal((await block.request('member', 'POST', '/snapshots', nowhere)).status, 404)
    const nothing = { body: { snapshot: { volume_id: null } } }
    assert.equal((await block.request('member', 'POST', '/snapshots', nothing)).status, 404)
  })

  test(`failures of the backend become error states with messages, on ${engine.name}`, async () => {
    const failure = new BackendError('The array is on fire.', { left: 'unknown' })
    class Failing extends MemoryVolumeDriver {
      broken = false
      override async delete(volume: BackendVolume, call: Call): Promise<void> {
        if (this.broken) throw failure
        await super.delete(volume, call)
      }
      override async extend(volume: BackendVolume, sizeBytes: number, call: Call): Promise<void> {
        if (this.broken) throw failure
        await super.extend(volume, sizeBytes, call)
      }
    }
    const driver = new Failing({ poolName: 'first', capacityBytes: 100 * GiB })
    await using block = await startTestBlock(engine, { driver })
    const id = await makeVolume(block)
    driver.broken = true
    const status = async () => (await block.request('member', 'GET', `/volumes/${id}`)).body.volume.status
    await block.request('member', 'POST', `/volumes/${id}/action`, { body: { 'os-extend': { new_size: 2 } } })
    await block.idle()
    assert.equal(await status(), 'error_extending')
    const { body } = await block.request('member', 'GET', '/messages', { version: '3.3' })
    assert.equal(body.messages[0].event_id, 'VOLUME_VOLUME_007_010')
    await block.request('member', 'DELETE', `/volumes/${id}`)
    await block.idle()
    assert.equal(await status(), 'error_deleting')
    driver.broken = false
    await block.request('admin', 'POST', `/volumes/${id}/action`, { body: { 'os-force_delete': {} } })
    await block.idle()
    assert.deepEqual(driver.ids, [])
  })

  test(`admins reset snapshots and delete them by force, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const id = await makeSnapshot(block, await makeVolume(block))
    const act = (token: 'admin' | 'member', body: object) =>
      block.request(token, 'POST', `/snapshots/${id}/action`, { body })
    assert.equal((await act('member', { 'os-reset_status': { status: 'error' } })).status, 403)
    assert.equal((await act('admin', { 'os-reset_status': { status: 'nonsense' } })).status, 400)
    assert.equal((await act('admin', { 'os-reset_status': { status: 'creating' } })).status, 202)
    const update = { status: 'available', progress: '80%' }
    assert.equal((await act('member', { 'os-update_snapshot_status': update })).status, 202)
    assert.equal((await act('member', { 'os-update_snapshot_status': update })).status, 400)
    assert.equal((await act('admin', { 'os-reset_status': { status: 'deleting' } })).status, 202)
    assert.equal((await act('admin', { 'os-force_delete': {} })).status, 202)
    await block.idle()
    assert.equal((await block.request('admin', 'GET', `/snapshots/${id}`)).status, 404)
  })
})
