import assert from 'node:assert/strict'
import { test } from 'node:test'
import { onEachEngine } from '../../kernel/db/testing.ts'
import { projects, startTestBlock, type TestBlock, type TestToken } from '../testing.ts'

const asker =
  (block: TestBlock) =>
  async (
    token: TestToken,
    method: 'GET' | 'POST' | 'DELETE',
    path: string,
    wanted: { body?: unknown; version?: string; status: number },
  ) => {
    const { status, version = '3.60', body } = wanted
    const answer = await block.request(token, method, path, { version, ...(body ? { body } : {}) })
    assert.equal(answer.status, status, answer.text)
    return answer.body
  }

onEachEngine((engine) => {
  test(`a volume goes to another project with its snapshots, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const ask = asker(block)
    const { volume } = await ask('member', 'POST', '/volumes', { body: { volume: { size: 1 } }, status: 202 })
    await block.idle()
    await ask('member', 'POST', '/snapshots', { body: { snapshot: { volume_id: volume.id } }, status: 202 })
    await block.idle()

    const body = { transfer: { volume_id: volume.id, name: 'gift' } }
    const { transfer } = await ask('member', 'POST', '/volume-transfers', { body, status: 202 })
    assert.match(transfer.auth_key, /^[0-9a-f]{16}$/)
    const { auth_key: key, ...rest } = transfer
    const path = `/volume-transfers/${transfer.id}`
    const shown = await ask('member', 'GET', path, { status: 200 })
    assert.deepEqual(shown.transfer, rest)
    assert.equal(shown.transfer.source_project_id, projects.demo)
    await ask('member', 'POST', '/volume-transfers', { body, status: 400 })
    await ask('member', 'DELETE', `/volumes/${volume.id}`, { status: 400 })
    await ask('stranger', 'GET', path, { status: 404 })
    const wrong = { accept: { auth_key: 'wrong' } }
    await ask('stranger', 'POST', `${path}/accept`, { body: wrong, status: 400 })

    const right = { accept: { auth_key: key } }
    const accepted = await ask('stranger', 'POST', `${path}/accept`, { body: right, status: 202 })
    assert.deepEqual(Object.keys(accepted.transfer).sort(), ['id', 'links', 'name', 'volume_id'])
    await ask('stranger', 'POST', `${path}/accept`, { body: right, status: 404 })
    const taken = await ask('stranger', 'GET', `/volumes/${volume.id}`, { status: 200 })
    assert.equal(taken.volume.status, 'available')
    assert.equal(taken.volume['os-vol-tenant-attr:tenant_id'], projects.other)
    await ask('member', 'GET', `/volumes/${volume.id}`, { status: 404 })
    const { snapshots } = await ask('stranger', 'GET', '/snapshots', { status: 200 })
    assert.equal(snapshots.length, 1)
  })

  test(`an older transfer leaves snapshots behind, and can be withdrawn, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const ask = asker(block)
    const { volume } = await ask('member', 'POST', '/volumes', { body: { volume: { size: 1 } }, status: 202 })
    await block.idle()
    const older = { version: '3.0' }
    const refused = { transfer: { volume_id: volume.id, no_snapshots: true } }
    await ask('member', 'POST', '/os-volume-transfer', { ...older, body: refused, status: 400 })
    const body = { transfer: { volume_id: volume.id } }
    const { transfer } = await ask('member', 'POST', '/os-volume-transfer', { ...older, body, status: 202 })
    assert.equal('no_snapshots' in transfer, false)
    const { transfers } = await ask('member', 'GET', '/os-volume-transfer/detail', { ...older, status: 200 })
    assert.equal(transfers[0].id, transfer.id)
    await ask('member', 'DELETE', `/os-volume-transfer/${transfer.id}`, { ...older, status: 202 })
    const shown = await ask('member', 'GET', `/volumes/${volume.id}`, { status: 200 })
    assert.equal(shown.volume.status, 'available')
  })

  test(`whoever takes a volume needs the quota for it, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const ask = asker(block)
    const { volume } = await ask('member', 'POST', '/volumes', { body: { volume: { size: 1 } }, status: 202 })
    await block.idle()
    const body = { transfer: { volume_id: volume.id } }
    const { transfer } = await ask('member', 'POST', '/volume-transfers', { body, status: 202 })
    const quota = { quota_set: { volumes: 0 } }
    const answer = await block.request('admin', 'PUT', `/os-quota-sets/${projects.other}`, { body: quota })
    assert.equal(answer.status, 200)
    const accept = { accept: { auth_key: transfer.auth_key } }
    const path = `/volume-transfers/${transfer.id}/accept`
    const refused = await ask('stranger', 'POST', path, { body: accept, status: 413 })
    assert.match(refused.overLimit.message, /VolumeLimitExceeded/)
    await ask('member', 'GET', `/volume-transfers/${transfer.id}`, { status: 200 })
  })
})
