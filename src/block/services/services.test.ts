import assert from 'node:assert/strict'
import { test } from 'node:test'
import { onEachEngine } from '../../kernel/db/testing.ts'
import { projects, startTestBlock } from '../testing.ts'

const host = 'node@first'

onEachEngine((engine) => {
  test(`a frozen backend takes no changes, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const made = await block.request('member', 'POST', '/volumes', { body: { volume: { size: 1 } } })
    const path = `/volumes/${made.body.volume.id}`
    await block.until(path, 'volume', 'available')
    const put = (verb: string, named = host) =>
      block.request('admin', 'PUT', `/os-services/${verb}`, { body: { host: named } })
    assert.equal((await put('freeze', 'nowhere@x')).status, 400)
    assert.equal((await put('freeze')).status, 200)
    assert.equal((await put('freeze')).status, 400)
    const { services } = (await block.request('admin', 'GET', '/os-services?binary=cinder-volume')).body
    assert.equal(services[0].frozen, true)
    const refusals = [
      await block.request('member', 'DELETE', path),
      await block.request('member', 'POST', `${path}/action`, { body: { 'os-extend': { new_size: 2 } } }),
      await block.request('member', 'POST', '/snapshots', {
        body: { snapshot: { volume_id: made.body.volume.id } },
      }),
    ]
    for (const refusal of refusals) {
      assert.equal(refusal.status, 400)
      assert.match(refusal.body.badRequest.message, /frozen storage backends/)
    }
    const unplaced = await block.request('member', 'POST', '/volumes', { body: { volume: { size: 1 } } })
    await block.until(`/volumes/${unplaced.body.volume.id}`, 'volume', 'error')
    assert.equal((await put('thaw')).status, 200)
    assert.equal((await put('thaw')).status, 400)
    assert.equal((await put('failover_host')).status, 400, 'nothing replicates here')
    assert.equal((await block.request('member', 'DELETE', path)).status, 202)
  })

  test(`hosts say what each project has on them, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    for (const token of ['member', 'member', 'stranger'] as const) {
      const made = await block.request(token, 'POST', '/volumes', { body: { volume: { size: 2 } } })
      await block.until(`/volumes/${made.body.volume.id}`, 'volume', 'available')
    }
    const hosts = (await block.request('admin', 'GET', '/os-hosts')).body.hosts
    assert.deepEqual(
      hosts.map((one: { service: string }) => one.service),
      ['cinder-backup', 'cinder-scheduler', 'cinder-volume'],
    )
    const shown = await block.request('admin', 'GET', `/os-hosts/${host}`)
    const resources = shown.body.host.map((one: { resource: object }) => one.resource)
    assert.deepEqual(resources[0], {
      volume_count: '3',
      total_volume_gb: '6',
      total_snapshot_gb: '0',
      project: '(total)',
      host,
      snapshot_count: '0',
    })
    assert.deepEqual(
      resources
        .slice(1)
        .map((one: { project: string; volume_count: string }) => [one.project, one.volume_count]),
      [
        [projects.demo, '2'],
        [projects.other, '1'],
      ],
    )
    assert.equal((await block.request('admin', 'GET', '/os-hosts/unknown')).status, 404)
    assert.equal((await block.request('member', 'GET', '/os-hosts')).status, 403)
  })

  test(`log levels, clusters and cleaning up answer, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const ask = (method: 'GET' | 'PUT' | 'POST', path: string, body?: object) =>
      block.request('admin', method, path, { version: '3.71', ...(body === undefined ? {} : { body }) })
    assert.equal((await ask('PUT', '/os-services/set-log', { level: 'CRITICAL', binary: '*' })).status, 202)
    const levels = await ask('PUT', '/os-services/get-log', { binary: 'cinder-volume' })
    assert.deepEqual(levels.body.log_levels, [
      { host, binary: 'cinder-volume', levels: { emberglass: 'CRITICAL' } },
    ])
    assert.equal((await ask('PUT', '/os-services/set-log', { level: 'LOUD' })).status, 400)
    assert.equal((await ask('PUT', '/os-services/get-log', { binary: 'nova' })).status, 400)
    assert.deepEqual((await ask('GET', '/clusters')).body, { clusters: [] })
    assert.equal((await ask('GET', '/clusters/none')).status, 404)
    const up = await ask('POST', '/workers/cleanup', { is_up: true, host })
    assert.equal(up.status, 202)
    assert.equal(up.body.cleaning[0].host, host)
    const down = await ask('POST', '/workers/cleanup', {})
    assert.deepEqual(down.body, { cleaning: [], unavailable: [] })
  })
})
