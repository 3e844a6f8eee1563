import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { onEachEngine } from '../../kernel/db/testing.ts'
import { startTestBlock, type TestBlock } from '../testing.ts'
import { qosSpecsFor, typeFacts } from '../types/queries.ts'

async function create(block: TestBlock, path: string, key: string, body: object): Promise<string> {
  const answer = await block.request('admin', 'POST', path, { body: { [key]: body } })
  assert.equal(answer.status, 200, answer.text)
  return answer.body[key].id
}

onEachEngine((engine) => {
  test(`QoS specs are made, changed, listed and removed, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const made = await block.request('admin', 'POST', '/qos-specs', {
      body: { qos_specs: { name: 'fast', consumer: 'both', read_iops: '100', write_iops: '50' } },
    })
    assert.equal(made.status, 200)
    const { id } = made.body.qos_specs
    assert.deepEqual(made.body.qos_specs, {
      id,
      name: 'fast',
      consumer: 'both',
      specs: { read_iops: '100', write_iops: '50' },
    })
    assert.equal(made.body.links[0].rel, 'self')
    const twice = await block.request('admin', 'POST', '/qos-specs', {
      body: { qos_specs: { name: 'fast' } },
    })
    assert.equal(twice.status, 409)
    const bad = await block.request('admin', 'POST', '/qos-specs', {
      body: { qos_specs: { name: 'x', consumer: 'nobody' } },
    })
    assert.equal(bad.status, 400)
    assert.equal((await block.request('member', 'GET', `/qos-specs/${id}`)).status, 403)
    assert.equal((await block.request('admin', 'GET', `/qos-specs/${randomUUID()}`)).status, 404)

    const changed = await block.request('admin', 'PUT', `/qos-specs/${id}`, {
      body: { qos_specs: { read_iops: '200', consumer: 'back-end' } },
    })
    assert.deepEqual(changed.body, { qos_specs: { read_iops: '200', consumer: 'back-end' } })
    const removed = (keys: string[]) =>
      block.request('admin', 'PUT', `/qos-specs/${id}/delete_keys`, { body: { keys } })
    assert.equal((await removed(['write_iops'])).status, 202)
    assert.equal((await removed(['write_iops'])).status, 404)
    const shown = await block.request('admin', 'GET', `/qos-specs/${id}`)
    assert.deepEqual(shown.body.qos_specs.specs, { read_iops: '200' })

    await create(block, '/qos-specs', 'qos_specs', { name: 'slow' })
    const page = await block.request('admin', 'GET', '/qos-specs?limit=1&sort=name:asc')
    assert.deepEqual(
      page.body.qos_specs.map((one: { name: string }) => one.name),
      ['fast'],
    )
    assert.match(page.body.qos_specs_links[0].href, /marker=/)
    assert.equal((await block.request('admin', 'DELETE', `/qos-specs/${id}`)).status, 202)
    assert.equal((await block.request('admin', 'DELETE', `/qos-specs/${id}`)).status, 404)
  })

  test(`QoS specs reach the drivers or the hypervisor through types, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const both = await create(block, '/qos-specs', 'qos_specs', { name: 'both', consumer: 'both', a: '1' })
    const front = await create(block, '/qos-specs', 'qos_specs', {
      name: 'front',
      consumer: 'front-end',
      b: '2',
    })
    const type = await create(block, '/types', 'volume_type', { name: 'gold' })
    const act = (id: string, verb: string) =>
      block.request('admin', 'GET', `/qos-specs/${id}/${verb}?vol_type_id=${type}`)
    const backEnd = async () => (await typeFacts(block.database.kysely, type))?.qosSpecs
    assert.equal((await block.request('admin', 'GET', `/qos-specs/${both}/associate`)).status, 400)
    assert.equal((await act(both, 'associate')).status, 202)
    assert.deepEqual(await backEnd(), { a: '1' })
    assert.equal((await act(front, 'associate')).status, 400, 'a type has one')
    const associations = await block.request('admin', 'GET', `/qos-specs/${both}/associations`)
    assert.deepEqual(associations.body.qos_associations, [
      { id: type, name: 'gold', association_type: 'volume_type' },
    ])
    const shown = await block.request('admin', 'GET', `/types/${type}`)
    assert.equal(shown.body.volume_type.qos_specs_id, both)
    assert.equal(
      'qos_specs_id' in (await block.request('member', 'GET', `/types/${type}`)).body.volume_type,
      false,
    )
    assert.equal((await block.request('admin', 'DELETE', `/qos-specs/${both}`)).status, 400)
    assert.equal((await block.request('admin', 'DELETE', `/qos-specs/${both}?force=true`)).status, 202)
    assert.deepEqual(await backEnd(), {})
    assert.equal((await act(front, 'associate')).status, 202)
    assert.deepEqual(await backEnd(), {}, 'the hypervisor enforces it')
    const forHypervisor = await qosSpecsFor(block.database.kysely, { qos_specs_id: front }, 'front-end')
    assert.deepEqual(forHypervisor, { b: '2' })
    assert.equal((await act(front, 'disassociate_all')).status, 202)
    assert.equal((await block.request('admin', 'DELETE', `/qos-specs/${front}`)).status, 202)
  })
})
