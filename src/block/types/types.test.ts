import assert from 'node:assert/strict'
import { test } from 'node:test'
import { onEachEngine } from '../../kernel/db/testing.ts'
import { projects, startTestBlock } from '../testing.ts'

onEachEngine((engine) => {
  test(`a type is encrypted once, and never while it has volumes, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const made = await block.request('admin', 'POST', '/types', { body: { volume_type: { name: 'safe' } } })
    const path = `/types/${made.body.volume_type.id}/encryption`
    assert.deepEqual((await block.request('admin', 'GET', path)).body, {})
    const encryption = { provider: 'luks', control_location: 'front-end', key_size: '256', cipher: 'aes' }
    const post = () => block.request('admin', 'POST', path, { body: { encryption } })
    const created = await post()
    assert.equal(created.status, 200)
    assert.equal(created.body.encryption.key_size, '256')
    assert.equal((await post()).status, 400)
    const shown = (await block.request('admin', 'GET', path)).body
    assert.equal(shown.encryption_id, created.body.encryption.encryption_id)
    assert.equal(shown.key_size, 256)
    assert.deepEqual((await block.request('admin', 'GET', `${path}/cipher`)).body, { cipher: 'aes' })
    assert.equal((await block.request('admin', 'GET', `${path}/nothing`)).status, 404)
    const put = await block.request('admin', 'PUT', `${path}/provider`, {
      body: { encryption: { key_size: 512 } },
    })
    assert.deepEqual(put.body, { encryption: { key_size: 512 } })
    assert.equal((await block.request('member', 'GET', path)).status, 403)
    const unkeyed = await block.request('admin', 'POST', '/volumes', {
      body: { volume: { size: 1, volume_type: 'safe' } },
    })
    assert.equal(unkeyed.status, 400, 'nobody keeps keys')
    assert.match(unkeyed.body.badRequest.message, /key manager/)
    assert.equal((await block.request('admin', 'DELETE', `${path}/provider`)).status, 202)
    assert.equal((await block.request('admin', 'DELETE', `${path}/provider`)).status, 404)

    await block.request('admin', 'POST', '/volumes', { body: { volume: { size: 1, volume_type: 'safe' } } })
    const late = await post()
    assert.equal(late.status, 400)
    assert.match(late.body.badRequest.message, /Volume type in use/)
  })

  test(`a type's quotas follow its name and go with it, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const made = await block.request('admin', 'POST', '/types', { body: { volume_type: { name: 'old' } } })
    const { id } = made.body.volume_type
    const quotas = `/os-quota-sets/${projects.demo}`
    await block.request('admin', 'PUT', quotas, { body: { quota_set: { volumes_old: 1 } } })
    await block.request('admin', 'PUT', `/types/${id}`, { body: { volume_type: { name: 'new' } } })
    const renamed = (await block.request('admin', 'GET', quotas)).body.quota_set
    assert.equal(renamed.volumes_new, 1)
    assert.equal('volumes_old' in renamed, false)
    const create = () =>
      block.request('member', 'POST', '/volumes', { body: { volume: { size: 1, volume_type: 'new' } } })
    assert.equal((await create()).status, 202)
    const refused = await create()
    assert.equal(refused.status, 413)
    assert.match(refused.body.overLimit.message, /exceeded for quota 'volumes_new'/)
    await block.idle()
    for (const { id: volume } of (await block.request('member', 'GET', '/volumes')).body.volumes) {
      await block.request('member', 'DELETE', `/volumes/${volume}`)
    }
    await block.idle()
    assert.equal((await block.request('admin', 'DELETE', `/types/${id}`)).status, 202)
    await block.request('admin', 'POST', '/types', { body: { volume_type: { name: 'new' } } })
    assert.equal((await block.request('admin', 'GET', quotas)).body.quota_set.volumes_new, -1)
  })

  test(`types are filtered by publicity and extra specs, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const make = (name: string, facts: object) =>
      block.request('admin', 'POST', '/types', { body: { volume_type: { name, ...facts } } })
    await make('ssd', { extra_specs: { media: 'ssd', multiattach: '<is> True' } })
    await make('hidden', { 'os-volume-type-access:is_public': false })
    const names = async (token: 'admin' | 'member' | 'stranger', query: string, version = '3.71') => {
      const answer = await block.request(token, 'GET', `/types?${query}`, { version })
      assert.equal(answer.status, 200, answer.text)
      return answer.body.volume_types.map((type: { name: string }) => type.name).sort()
    }
    const all = ['__DEFAULT__', 'first', 'ssd']
    assert.deepEqual(await names('admin', ''), all)
    assert.deepEqual(await names('admin', 'is_public=None'), [...all.slice(0, 2), 'hidden', 'ssd'])
    assert.deepEqual(await names('admin', 'is_public=false'), ['hidden'])
    assert.deepEqual(await names('stranger', 'is_public=false'), all)
    assert.deepEqual(await names('admin', "extra_specs={'media':'ssd'}"), ['ssd'])
    assert.deepEqual(await names('stranger', "extra_specs={'media':'ssd'}"), [])
    assert.deepEqual(await names('stranger', "extra_specs={'multiattach':'<is> True'}"), ['ssd'])
    assert.deepEqual(await names('stranger', 'name=ssd', '3.30'), all, 'dropped before 3.31')
    assert.equal((await block.request('stranger', 'GET', '/types?name=ssd', { version: '3.71' })).status, 400)
  })
})
