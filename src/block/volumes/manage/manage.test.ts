import assert from 'node:assert/strict'
import { test } from 'node:test'
import { onEachEngine } from '../../../kernel/db/testing.ts'
import { startTestBlock, type TestBlock, type TestToken } from '../../testing.ts'

const asker =
  (block: TestBlock, version: string) =>
  async (token: TestToken, method: 'GET' | 'POST', path: string, status: number, body?: unknown) => {
    const answer = await block.request(token, method, path, { version, ...(body ? { body } : {}) })
    assert.equal(answer.status, status, answer.text)
    return answer.body
  }

const host = 'node@first#first'

onEachEngine((engine) => {
  test(`a volume is unmanaged, listed and managed again, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const ask = asker(block, '3.60')
    const { volume } = await ask('member', 'POST', '/volumes', 202, { volume: { size: 2 } })
    await block.idle()
    const list = `/manageable_volumes/detail?host=${encodeURIComponent(host)}`
    const [managed] = (await ask('admin', 'GET', list, 200))['manageable-volumes']
    assert.equal(managed.safe_to_manage, false)
    assert.equal(managed.cinder_id, volume.id)

    await ask('member', 'POST', `/volumes/${volume.id}/action`, 403, { 'os-unmanage': {} })
    await ask('admin', 'POST', `/volumes/${volume.id}/action`, 202, { 'os-unmanage': {} })
    await block.idle()
    await ask('admin', 'GET', `/volumes/${volume.id}`, 404)
    assert.deepEqual(block.driver.ids.length, 1)
    const [free] = (await ask('admin', 'GET', list, 200))['manageable-volumes']
    assert.deepEqual([free.safe_to_manage, free.size], [true, 2])

    const wanted = { host, ref: free.reference, name: 'back', metadata: { a: 'b' }, bootable: true }
    await ask('admin', 'POST', '/manageable_volumes', 400, { volume: { ref: free.reference } })
    await ask('admin', 'POST', '/manageable_volumes', 404, { volume: { ...wanted, host: 'x@y#z' } })
    const made = (await ask('admin', 'POST', '/manageable_volumes', 202, { volume: wanted })).volume
    assert.equal(made.status, 'creating')
    assert.equal('group_id' in made, false)
    await block.idle()
    const back = (await ask('admin', 'GET', `/volumes/${made.id}`, 200)).volume
    assert.deepEqual([back.status, back.size, back.bootable], ['available', 2, 'true'])
    assert.deepEqual(block.driver.ids, [made.id])
  })

  test(`what is not there cannot be managed and costs no quota, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const ask = asker(block, '3.7')
    const wanted = { host, ref: { 'source-name': 'nothing' } }
    const { volume } = await ask('admin', 'POST', '/os-volume-manage', 202, { volume: wanted })
    await block.idle()
    const failed = (await ask('admin', 'GET', `/volumes/${volume.id}`, 200)).volume
    assert.equal(failed.status, 'error')
    const { limits } = await ask('admin', 'GET', '/limits', 200)
    assert.equal(limits.absolute.totalVolumesUsed, 0)
    assert.equal((await block.request('admin', 'DELETE', `/volumes/${volume.id}`)).status, 202)
    await block.idle()
    await ask('admin', 'GET', `/volumes/${volume.id}`, 404)
  })

  test(`a snapshot is unmanaged and managed again, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const ask = asker(block, '3.60')
    const { volume } = await ask('member', 'POST', '/volumes', 202, { volume: { size: 1 } })
    await block.idle()
    const body = { snapshot: { volume_id: volume.id } }
    const { snapshot } = await ask('member', 'POST', '/snapshots', 202, body)
    await block.idle()
    await ask('admin', 'POST', `/snapshots/${snapshot.id}/action`, 202, { 'os-unmanage': {} })
    await block.idle()
    await ask('admin', 'GET', `/snapshots/${snapshot.id}`, 404)
    const list = `/manageable_snapshots?host=${encodeURIComponent(host)}`
    const [free] = (await ask('admin', 'GET', list, 200))['manageable-snapshots']
    assert.equal(free.safe_to_manage, true)
    const wanted = { snapshot: { volume_id: volume.id, ref: free.reference, name: 'again' } }
    const made = (await ask('admin', 'POST', '/manageable_snapshots', 202, wanted)).snapshot
    await block.idle()
    const back = (await ask('admin', 'GET', `/snapshots/${made.id}`, 200)).snapshot
    assert.deepEqual([back.status, back.name], ['available', 'again'])
    assert.deepEqual(block.driver.ids, [volume.id, made.id])
  })
})
