import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { onEachEngine } from '../../kernel/db/testing.ts'
import { projects, startTestBlock } from '../testing.ts'

onEachEngine((engine) => {
  test(`a volume is created, shown, listed, changed and deleted, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const created = await block.request('member', 'POST', '/volumes', {
      body: { volume: { size: 2, name: ' my disk ', metadata: { a: '1' }, description: null } },
      version: '3.60',
    })
    assert.equal(created.status, 202, created.text)
    const { volume } = created.body
    assert.equal(volume.status, 'creating')
    assert.equal(volume.name, 'my disk')
    assert.equal(volume.bootable, 'false')
    assert.equal(volume.updated_at, null)
    assert.match(volume.created_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$/)
    await block.idle()
    const path = `/volumes/${volume.id}`
    const shown = await block.request('member', 'GET', path)
    assert.equal(shown.body.volume.status, 'available')
    assert.equal(shown.body.volume['os-vol-tenant-attr:tenant_id'], projects.demo)
    assert.equal('os-vol-host-attr:host' in shown.body.volume, false)
    assert.equal('volume_image_metadata' in shown.body.volume, false)
    const byAdmin = await block.request('admin', 'GET', path)
    assert.match(byAdmin.body.volume['os-vol-host-attr:host'], /^node@first#first$/)
    assert.deepEqual(block.driver.ids, [volume.id])

    const changed = await block.request('member', 'PUT', path, {
      body: { volume: { name: 'other', metadata: { b: '2' } } },
    })
    assert.equal(changed.status, 200)
    assert.deepEqual(changed.body.volume.metadata, { a: '1', b: '2' })

    const list = await block.request('member', 'GET', '/volumes/detail')
    assert.equal(list.body.volumes.length, 1)
    assert.equal(list.body.volumes[0].name, 'other')
    const plain = await block.request('member', 'GET', '/volumes')
    assert.deepEqual(Object.keys(plain.body.volumes[0]), ['id', 'name', 'links'])

    assert.equal((await block.request('member', 'DELETE', path)).status, 202)
    await block.idle()
    assert.equal((await block.request('member', 'GET', path)).status, 404)
    assert.deepEqual(block.driver.ids, [])
  })

  test(`of two deletes at once one wins, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const id = await makeVolume(block)
    const answers = await Promise.all([
      block.request('member', 'DELETE', `/volumes/${id}`),
      block.request('member', 'DELETE', `/volumes/${id}`),
    ])
    assert.equal(answers.filter(({ status }) => status === 202).length, 1)
    assert.ok(answers.every(({ status }) => [202, 400, 404].includes(status)))
  })

  test(`two requests cannot share the last of a quota, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine, {
      config: {
        DEFAULT: { enabled_backends: 'first', quota_volumes: '3', quota_gigabytes: '100' },
        first: { volume_driver: 'memory' },
      },
    })
    const body = { volume: { size: 1 } }
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => block.request('member', 'POST', '/volumes', { body })),
    )
    const refused = answers.filter(({ status }) => status === 413)
    assert.equal(refused.length, 5)
    assert.match(
      refused[0]?.body.overLimit.message,
      /^VolumeLimitExceeded: Maximum number of volumes allowed \(3\) exceeded for quota 'volumes'\.$/,
    )
    assert.equal(refused[0]?.headers['retry-after'], '0')
    await block.idle()
    const tooLarge = await block.request('member', 'POST', '/volumes', { body: { volume: { size: 98 } } })
    assert.match(
      tooLarge.body.overLimit.message,
      /^VolumeSizeExceedsAvailableQuota: .*Requested 98G, quota is 100G and 3G/,
    )
  })

  test(`a volume grows, and not beyond the quota, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const id = await makeVolume(block)
    const extend = (newSize: unknown) =>
      block.request('member', 'POST', `/volumes/${id}/action`, {
        body: { 'os-extend': { new_size: newSize } },
      })
    assert.equal((await extend('abc')).status, 400)
    assert.equal((await extend(null)).status, 400)
    assert.equal((await extend(1)).status, 400)
    assert.equal((await extend(5000)).status, 413)
    assert.equal((await extend('4')).status, 202)
    await block.idle()
    const { body } = await block.request('member', 'GET', `/volumes/${id}`)
    assert.equal(body.volume.size, 4)
    assert.equal(body.volume.status, 'available')
  })

  test(`metadata is read, merged, replaced and guarded by its tag, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const id = await makeVolume(block)
    const path = `/volumes/${id}/metadata`
    const version = '3.15'
    const put = await block.request('member', 'PUT', path, { body: { metadata: { a: '1', b: '2' } } })
    assert.deepEqual(put.body, { metadata: { a: '1', b: '2' } })
    const post = await block.request('member', 'POST', path, { body: { metadata: { b: '3' } } })
    assert.deepEqual(post.body, { metadata: { a: '1', b: '3' } })
    const item = await block.request('member', 'PUT', `${path}/c`, { body: { meta: { c: '4' } } })
    assert.deepEqual(item.body, { meta: { c: '4' } })
    assert.equal(
      (await block.request('member', 'PUT', `${path}/c`, { body: { meta: { d: '4' } } })).status,
      400,
    )
    assert.equal((await block.request('member', 'DELETE', `${path}/c`)).status, 200)
    assert.equal((await block.request('member', 'GET', `${path}/c`)).status, 404)
    const shown = await block.request('member', 'GET', path, { version })
    const { etag } = shown.headers
    assert.equal(typeof etag, 'string')
    const stale = { 'if-match': 'something else' }
    const refused = await block.request('member', 'PUT', path, {
      body: { metadata: {} },
      version,
      headers: stale,
    })
    assert.equal(refused.status, 412)
    assert.equal(refused.text, '')
    const headers = { 'if-match': String(etag) }
    const done = await block.request('member', 'PUT', path, { body: { metadata: {} }, version, headers })
    assert.equal(done.status, 200)
  })

  test(`lists are paged, sorted and filtered, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    for (const [name, size] of [
      ['c', 3],
      ['a', 1],
      ['b', 2],
    ] as const) {
      const body = { volume: { name, size, metadata: { name } } }
      assert.equal((await block.request('member', 'POST', '/volumes', { body })).status, 202)
    }
    await block.idle()
    const names = async (query: string, version = '3.60', token: 'member' | 'admin' = 'member') => {
      const { body, status, text } = await block.request(token, 'GET', `/volumes/detail?${query}`, {
        version,
      })
      assert.equal(status, 200, text)
      return body.volumes.map((volume: { name: string }) => volume.name).join('')
    }
    assert.equal(await names('sort=name:asc'), 'abc')
    assert.equal(await names('sort_key=size&sort_dir=desc'), 'cba')
    assert.equal(await names('limit=0'), '')
    assert.equal(await names('sort=name:asc&limit=1&offset=1'), 'b')
    assert.equal(await names('name=b'), 'b')
    assert.equal(await names("metadata={'name': 'a'}"), 'a')
    assert.equal(await names('bootable=false&sort=name:asc'), 'abc')
    assert.equal(await names("status=['error','creating']"), '')
    assert.equal(await names('size=2'), 'b')
    assert.equal(await names('created_at=gt:2020-01-01T00:00:00&sort=size:asc'), 'abc')
    assert.equal(await names('created_at=lt:2020-01-01T00:00:00'), '')
    assert.equal(await names('name~=b', '3.60', 'admin'), 'b')
    assert.equal(await names('nonsense=1', '3.30'), await names(''))
    assert.equal(await names('nonsense=1', '3.60', 'admin'), '')
    const seen: string[] = []
    let query = 'sort=name:asc&limit=2&with_count=true'
    for (;;) {
      const { body } = await block.request('member', 'GET', `/volumes?${query}`, { version: '3.60' })
      assert.equal(body.count, 3)
      seen.push(...body.volumes.map((volume: { name: string }) => volume.name))
      const next = body.volumes_links?.[0]?.href
      if (next === undefined) break
      query = new URL(next).search.slice(1)
    }
    assert.equal(seen.join(''), 'abc')
    for (const bad of [
      'limit=-1',
      'limit=x',
      'offset=-1',
      'sort=nonsense',
      'sort=name:up',
      'sort=name&sort_key=name',
      'bootable=perhaps',
      'nonsense=1',
      'created_at=no:2020',
    ]) {
      const { status } = await block.request('member', 'GET', `/volumes?${bad}`, { version: '3.60' })
      assert.equal(status, 400, bad)
    }
    assert.equal((await block.request('member', 'GET', `/volumes?marker=${randomUUID()}`)).status, 404)
  })

  test(`an image-less volume is attached and detached the old way, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const id = await makeVolume(block)
    const act = (name: string, argument: unknown = {}) =>
      block.request('member', 'POST', `/volumes/${id}/action`, { body: { [name]: argument } })
    const status = async () => (await block.request('admin', 'GET', `/volumes/${id}`)).body.volume.status
    const connector = { initiator: 'iqn.2026-01.example:host', host: 'compute' }
    assert.equal((await act('os-reserve')).status, 202)
    assert.equal((await act('os-reserve')).status, 400)
    assert.equal(await status(), 'attaching')
    assert.equal((await act('os-unreserve')).status, 202)
    assert.equal((await act('os-unreserve')).status, 202)
    assert.equal(await status(), 'available')
    const connected = await act('os-initialize_connection', { connector })
    assert.equal(connected.status, 200, connected.text)
    assert.equal(connected.body.connection_info.driver_volume_type, 'memory')
    assert.equal(connected.body.connection_info.data.volume_id, id)
    assert.ok(block.driver.isAttached(id, connector))
    const server = randomUUID()
    assert.equal((await act('os-attach', { instance_uuid: server, mountpoint: '/dev/vdb' })).status, 202)
    assert.equal(await status(), 'in-use')
    const { volume } = (await block.request('member', 'GET', `/volumes/${id}`)).body
    assert.equal(volume.attachments[0].server_id, server)
    assert.equal(volume.attachments[0].host_name, null)
    assert.equal(volume.metadata.attached_mode, 'rw')
    assert.equal(
      (await act('os-attach', { instance_uuid: randomUUID(), mountpoint: '/dev/vdb' })).status,
      400,
    )
    assert.equal((await block.request('member', 'DELETE', `/volumes/${id}`)).status, 400)
    assert.equal((await act('os-begin_detaching')).status, 202)
    assert.equal((await act('os-roll_detaching')).status, 202)
    assert.equal((await act('os-begin_detaching')).status, 202)
    assert.equal((await act('os-terminate_connection', { connector })).status, 202)
    assert.equal(block.driver.isAttached(id, connector), false)
    assert.equal((await act('os-detach', { attachment_id: randomUUID() })).status, 404)
    assert.equal((await act('os-detach')).status, 202)
    assert.equal(await status(), 'available')
    assert.equal((await act('os-initialize_connection', { connector: {} })).status, 400)
    assert.equal((await act('os-nonsense')).status, 400)
  })

  test(`flags, image metadata and resets work, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const id = await makeVolume(block)
    const act = (name: string, argument: unknown, token: 'admin' | 'member' = 'member') =>
      block.request(token, 'POST', `/volumes/${id}/action`, { body: { [name]: argument } })
    assert.equal((await act('os-set_bootable', { bootable: 'True' })).status, 200)
    assert.equal((await act('os-set_bootable', { bootable: 'perhaps' })).status, 400)
    assert.equal((await act('os-update_readonly_flag', { readonly: true })).status, 202)
    const set = await act('os-set_image_metadata', { metadata: { os: 'debian' } })
    assert.deepEqual(set.body, { metadata: { os: 'debian' } })
    const { volume } = (await block.request('member', 'GET', `/volumes/${id}`)).body
    assert.equal(volume.bootable, 'true')
    assert.equal(volume.metadata.readonly, 'True')
    assert.deepEqual(volume.volume_image_metadata, { os: 'debian' })
    assert.equal((await act('os-unset_image_metadata', { key: 'none' })).status, 404)
    assert.equal((await act('os-unset_image_metadata', { key: 'os' })).status, 200)
    assert.deepEqual((await act('os-show_image_metadata', null)).body, { metadata: {} })
    const refused = await act('os-reset_status', { status: 'error' })
    assert.equal(refused.status, 403)
    assert.match(
      refused.body.forbidden.message,
      /^Policy doesn't allow volume_extension:volume_admin_actions:reset_status/,
    )
    assert.equal((await act('os-reset_status', { status: 'ERROR' }, 'admin')).status, 202)
    assert.equal((await act('os-reset_status', { status: 'nonsense' }, 'admin')).status, 400)
    assert.equal((await act('os-reset_status', { status: 'in-use' }, 'admin')).status, 400)
    assert.equal((await act('os-reset_status', {}, 'admin')).status, 400)
    assert.equal((await block.request('member', 'GET', `/volumes/${id}`)).body.volume.status, 'error')
    assert.equal((await act('os-force_delete', {}, 'admin')).status, 202)
    await block.idle()
    assert.deepEqual(block.driver.ids, [])
  })

  test(`bad requests for volumes are answered as upstream answers them, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const create = (volume: unknown, version?: string) =>
      block.request('member', 'POST', '/volumes', { body: { volume }, ...(version ? { version } : {}) })
    const unknown = randomUUID()
    const cases: readonly (readonly [unknown, number, string?])[] = [
      [{}, 400],
      [{ size: 0 }, 400],
      [{ size: -1 }, 400],
      [{ size: 1.5 }, 400],
      [{ size: 'big' }, 400],
      [{ size: true }, 400],
      [{ size: 1, name: 'x'.repeat(256) }, 400],
      [{ size: 1, name: 7 }, 400],
      [{ size: 1, metadata: { a: 1 } }, 400],
      [{ size: 1, metadata: { a: 'x'.repeat(256) } }, 400],
      [{ size: 1, metadata: { '': 'x' } }, 400],
      [{ size: 1, snapshot_id: 'no-uuid' }, 400],
      [{ size: 1, snapshot_id: unknown }, 404],
      [{ size: 1, source_volid: unknown }, 404],
      [{ size: 1, imageRef: unknown }, 400],
      [{ size: 1, imageRef: 'nonsense' }, 400],
      [{ size: 1, volume_type: 'nonsense' }, 404],
      [{ size: 1, availability_zone: 'mars' }, 400],
      [{ size: 1, snapshot_id: unknown, source_volid: unknown }, 400],
      [{ size: 1, multiattach: true }, 400],
      [{ size: 1, nonsense: 1 }, 400, '3.53'],
      [null, 400],
      ['text', 400],
    ]
    for (const [volume, status, version] of cases) {
      const answer = await create(volume, version)
      assert.equal(answer.status, status, `${JSON.stringify(volume).slice(0, 60)}: ${answer.text}`)
      const [fault] = Object.values(answer.body) as { code: number; message: string }[]
      assert.equal(fault?.code, status)
      assert.ok(fault?.message)
    }
    assert.equal((await create({ size: 1, nonsense: 1 }, '3.52')).status, 202)
    const raw = await block.request('member', 'POST', '/volumes', { body: '{"volume": ' })
    assert.equal(raw.body.badRequest.message, 'Malformed request body')
    const text = { 'content-type': 'text/plain' }
    const media = await block.request('member', 'POST', '/volumes', { body: 'x', headers: text })
    assert.equal(media.status, 415)
    assert.ok(media.body.badMediaType)
    const missing = await block.request('member', 'POST', '/volumes', { body: { nothing: {} } })
    assert.equal(missing.status, 400)
    assert.equal((await block.request('member', 'POST', '/volumes')).status, 400)
  })

  test(`projects and roles are kept apart, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const id = await makeVolume(block)
    const path = `/volumes/${id}`
    assert.equal((await block.request(undefined, 'GET', path)).status, 401)
    assert.equal((await block.request('stranger', 'GET', path)).status, 404)
    assert.equal((await block.request('stranger', 'DELETE', path)).status, 404)
    const foreign = { body: { volume: { size: 1, source_volid: id } } }
    assert.equal((await block.request('stranger', 'POST', '/volumes', foreign)).status, 404)
    assert.equal((await block.request('reader', 'GET', path)).status, 200)
    assert.equal((await block.request('reader', 'DELETE', path)).status, 403)
    assert.equal((await block.request('nobody', 'GET', path)).status, 404)
    assert.equal(
      (await block.request('reader', 'POST', '/volumes', { body: { volume: { size: 1 } } })).status,
      403,
    )
    const all = await block.request('stranger', 'GET', '/volumes?all_tenants=1')
    assert.deepEqual(all.body.volumes, [])
    const mine = await block.request('member', 'GET', `/${projects.demo}/volumes/${id}`)
    assert.equal(mine.status, 200)
    assert.match(mine.body.volume.links[0].href, new RegExp(`/v3/${projects.demo}/volumes/${id}$`))
    const wrong = await block.request('admin', 'GET', `/${projects.other}/volumes`)
    assert.equal(wrong.status, 400)
    assert.equal(wrong.body.badRequest.message, 'Malformed request url')
  })

  test(`the summary counts what the caller owns, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    await makeVolume(block)
    const { body } = await block.request('member', 'GET', '/volumes/summary', { version: '3.36' })
    assert.deepEqual(body, { 'volume-summary': { total_count: 1, total_size: 1, metadata: {} } })
    assert.equal((await block.request('member', 'GET', '/volumes/summary', { version: '3.11' })).status, 404)
  })
})

async function makeVolume(block: Awaited<ReturnType<typeof startTestBlock>>, size = 1): Promise<string> {
  const answer = await block.request('member', 'POST', '/volumes', { body: { volume: { size } } })
  assert.equal(answer.status, 202, answer.text)
  await block.idle()
  return answer.body.volume.id
}
