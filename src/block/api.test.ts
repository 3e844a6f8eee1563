import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { onEachEngine } from '../kernel/db/testing.ts'
import { projects, startTestBlock } from './testing.ts'

onEachEngine((engine) => {
  test(`versions need no token and say the range, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const root = await block.request(undefined, 'GET', '/', { unversioned: true })
    assert.equal(root.status, 300)
    const v3 = await block.request(undefined, 'GET', '/')
    assert.equal(v3.status, 200)
    assert.deepEqual(v3.body, root.body)
    assert.equal(v3.body.versions[0].version, '3.71')
    assert.equal(v3.body.versions[0].min_version, '3.0')
    assert.equal((await block.request(undefined, 'GET', '/healthcheck', { unversioned: true })).text, 'OK')
  })

  test(`microversions are negotiated, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const ask = (header?: string) =>
      block.request(
        'member',
        'GET',
        '/volumes',
        header ? { headers: { 'openstack-api-version': header } } : {},
      )
    const used = async (header?: string) => (await ask(header)).headers['openstack-api-version']
    assert.equal(await used(), 'volume 3.0')
    assert.equal(await used('volume 3.27'), 'volume 3.27')
    assert.equal(await used('volume latest'), 'volume 3.71')
    assert.equal(await used('compute 2.1, volume 3.5'), 'volume 3.5')
    for (const bad of ['volume 3', 'volume abc', 'volume 3.01', 'compute 2.1']) {
      const answer = await ask(bad)
      assert.equal(answer.status, 400, bad)
      assert.ok(answer.body.badRequest)
    }
    for (const bad of ['volume 3.72', 'volume 2.0', 'volume 4.0']) {
      const answer = await ask(bad)
      assert.equal(answer.status, 406, bad)
      assert.match(answer.body.computeFault.message, /Minimum is 3\.0 and maximum is 3\.71/)
    }
    assert.equal((await ask()).headers['vary'], 'OpenStack-API-Version')
    assert.equal((await block.request('member', 'GET', '/messages', { version: '3.2' })).status, 404)
    const error = await block.request('member', 'GET', '/volumes/none', { version: '3.9' })
    assert.equal(error.headers['openstack-api-version'], 'volume 3.9')
    assert.deepEqual(error.body, { itemNotFound: { code: 404, message: 'Volume none could not be found.' } })
  })

  test(`a missing or wrong token is refused as keystonemiddleware does, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    for (const headers of [{}, { 'x-auth-token': 'wrong' }]) {
      const answer = await block.request(undefined, 'GET', '/volumes', { headers })
      assert.equal(answer.status, 401)
      assert.match(String(answer.headers['www-authenticate']), /^Keystone uri="http:/)
      assert.equal(answer.body.error.code, 401)
    }
  })

  test(`every answer carries its request id twice; unknown URLs are not found, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const answer = await block.request('member', 'GET', '/volumes')
    assert.match(String(answer.headers['x-openstack-request-id']), /^req-/)
    assert.equal(answer.headers['x-compute-request-id'], answer.headers['x-openstack-request-id'])
    for (const path of ['/nonsense', '/volumes/a/b/c/d']) {
      const missing = await block.request('member', 'GET', path)
      assert.equal(missing.status, 404)
      assert.ok(missing.body.itemNotFound)
    }
  })

  test(`the listing operations of administration answer, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const services = await block.request('admin', 'GET', '/os-services', { version: '3.50' })
    assert.deepEqual(
      services.body.services.map((service: { binary: string; state: string }) => [
        service.binary,
        service.state,
      ]),
      [
        ['cinder-backup', 'up'],
        ['cinder-scheduler', 'up'],
        ['cinder-volume', 'up'],
      ],
    )
    assert.equal((await block.request('member', 'GET', '/os-services')).status, 403)
    const pools = await block.request('admin', 'GET', '/scheduler-stats/get_pools?detail=true')
    assert.equal(pools.body.pools[0].name, 'node@first#first')
    assert.equal(pools.body.pools[0].capabilities.volume_backend_name, 'first')
    const zones = await block.request('reader', 'GET', '/os-availability-zone')
    assert.deepEqual(zones.body.availabilityZoneInfo, [{ zoneName: 'nova', zoneState: { available: true } }])
    assert.equal((await block.request('reader', 'GET', '/extensions')).status, 200)
    const capabilities = await block.request('admin', 'GET', '/capabilities/node@first')
    assert.equal(capabilities.body.storage_protocol, 'memory')
    const filters = await block.request('reader', 'GET', '/resource_filters?resource=message', {
      version: '3.33',
    })
    assert.equal(filters.body.resource_filters.length, 1)
  })

  test(`a file says what users may filter by, and a proxy how it was reached, on ${engine.name}`, async () => {
    const directory = await mkdtemp(join(tmpdir(), 'emberglass-filters-'))
    const file = join(directory, 'resource_filters.json')
    await writeFile(file, JSON.stringify({ volume: ['name~', 'status'], snapshot: [] }))
    await using block = await startTestBlock(engine, {
      config: {
        DEFAULT: { enabled_backends: 'first', resource_query_filters_file: file },
        first: { volume_driver: 'memory' },
        oslo_middleware: { enable_proxy_headers_parsing: 'true' },
      },
    })
    await rm(directory, { recursive: true })
    const created = await block.request('member', 'POST', '/volumes', {
      body: { volume: { size: 1, name: 'some disk' } },
      headers: {
        'x-forwarded-proto': 'https',
        'x-forwarded-host': 'cloud.example',
        'x-forwarded-prefix': '/volume',
      },
    })
    const self = `https://cloud.example/volume/v3/volumes/${created.body.volume.id}`
    assert.equal(created.body.volume.links[0].href, self)
    const list = (path: string, minor = '3.34') => block.request('member', 'GET', path, { version: minor })
    for (const [path, count] of Object.entries({ 'name~=disk': 1, 'name=disk': 0, 'status=error': 0 })) {
      const { body, text } = await list(`/volumes?${path}`)
      assert.equal(body.volumes?.length, count, text)
    }
    const refused = await list('/volumes?bootable=false&size=1')
    assert.match(refused.text, /Invalid filters bootable,size are found in query options/)
    assert.equal((await list('/snapshots?name=x')).status, 400)
    assert.equal((await list('/backups?name=x')).status, 400, 'what the file does not name has no filters')
    assert.equal((await list('/volumes?bootable=false', '3.30')).status, 200)
    assert.deepEqual((await list('/resource_filters')).body.resource_filters, [
      { resource: 'volume', filters: ['name~', 'status'] },
      { resource: 'snapshot', filters: [] },
    ])
    const config = { DEFAULT: { resource_query_filters_file: file } }
    await assert.rejects(startTestBlock(engine, { config }), /resource_query_filters_file/)
  })

  test(`a disabled service gets no new volumes, and the user is told why, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const service = { host: 'node@first', binary: 'cinder-volume' }
    const toggle = (verb: string, body: object) =>
      block.request('admin', 'PUT', `/os-services/${verb}`, { body })
    assert.equal((await toggle('disable-log-reason', { ...service, disabled_reason: ' ' })).status, 400)
    assert.equal((await toggle('disable', { ...service, host: 'nowhere' })).status, 404)
    assert.equal((await toggle('disable', { host: 'node@first' })).status, 400)
    assert.equal((await toggle('disable', service)).status, 200)
    const created = await block.request('member', 'POST', '/volumes', { body: { volume: { size: 1 } } })
    await block.idle()
    const path = `/volumes/${created.body.volume.id}`
    assert.equal((await block.request('member', 'GET', path)).body.volume.status, 'error')
    const { body } = await block.request('member', 'GET', '/messages', { version: '3.3' })
    assert.equal(body.messages[0].event_id, 'VOLUME_VOLUME_001_003')
    const message = `/messages/${body.messages[0].id}`
    assert.equal((await block.request('stranger', 'GET', message, { version: '3.3' })).status, 404)
    assert.equal((await block.request('member', 'DELETE', message, { version: '3.3' })).status, 204)
    assert.equal((await block.request('member', 'DELETE', path)).status, 202)
    assert.equal(
      (await block.request('member', 'GET', path)).status,
      404,
      'it was on no backend: gone at once',
    )
    assert.equal((await toggle('enable', service)).status, 200)
  })

  test(`types, extra specs and access follow upstream's rules, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const types = (await block.request('member', 'GET', '/types')).body.volume_types
    assert.deepEqual(types.map((type: { name: string }) => type.name).sort(), ['__DEFAULT__', 'first'])
    const create = (volumeType: object, token: 'admin' | 'member' = 'admin') =>
      block.request(token, 'POST', '/types', { body: { volume_type: volumeType } })
    assert.equal((await create({ name: 'x' }, 'member')).status, 403)
    assert.equal((await create({ name: '' })).status, 400)
    assert.equal((await create({ name: 'first' })).status, 409)
    const hidden = await create({
      name: 'gold',
      'os-volume-type-access:is_public': false,
      extra_specs: { a: '1' },
    })
    assert.equal(hidden.status, 200, hidden.text)
    const { id } = hidden.body.volume_type
    const path = `/types/${id}`
    assert.equal((await block.request('stranger', 'GET', path)).status, 404)
    const volume = { body: { volume: { size: 1, volume_type: 'gold' } } }
    assert.equal((await block.request('stranger', 'POST', '/volumes', volume)).status, 404)
    const access = { body: { addProjectAccess: { project: projects.other } } }
    assert.equal((await block.request('admin', 'POST', `${path}/action`, access)).status, 202)
    assert.equal((await block.request('admin', 'POST', `${path}/action`, access)).status, 409)
    const seen = await block.request('stranger', 'GET', path)
    assert.deepEqual(seen.body.volume_type.extra_specs, {}, 'extra specs are not for everybody')
    const item = await block.request('admin', 'PUT', `${path}/extra_specs/b`, { body: { b: '2' } })
    assert.deepEqual(item.body, { b: '2' })
    assert.equal(
      (await block.request('admin', 'PUT', `${path}/extra_specs/b`, { body: { c: '2' } })).status,
      400,
    )
    assert.equal((await block.request('admin', 'DELETE', `${path}/extra_specs/b`)).status, 202)
    assert.equal((await block.request('admin', 'GET', `${path}/extra_specs/b`)).status, 404)
    assert.equal((await block.request('admin', 'DELETE', `${path}/extra_specs/a`)).status, 202)
    assert.equal((await block.request('stranger', 'POST', '/volumes', volume)).status, 202)
    await block.idle()
    assert.equal((await block.request('admin', 'DELETE', path)).status, 400, 'it is in use')
    const specs = { body: { extra_specs: { c: '3' } } }
    assert.equal((await block.request('admin', 'POST', `${path}/extra_specs`, specs)).status, 400)
    const byDefault = await block.request('member', 'GET', '/types/default')
    assert.equal(byDefault.body.volume_type.name, '__DEFAULT__')
    const standard = await block.request('admin', 'DELETE', `/types/${byDefault.body.volume_type.id}`)
    assert.equal(standard.status, 400)
    const own = { body: { default_type: { volume_type: 'first' } }, version: '3.62' }
    assert.equal((await block.request('admin', 'PUT', `/default-types/${projects.demo}`, own)).status, 200)
    assert.equal((await block.request('member', 'GET', '/types/default')).body.volume_type.name, 'first')
  })

  test(`quotas are shown, changed and kept, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const path = `/os-quota-sets/${projects.demo}`
    const made = await block.request('member', 'POST', '/volumes', { body: { volume: { size: 3 } } })
    await block.idle()
    const usage = (await block.request('member', 'GET', `${path}?usage=true`)).body.quota_set
    assert.deepEqual(usage.volumes, { limit: 10, in_use: 1, reserved: 0 })
    assert.deepEqual(usage.gigabytes___DEFAULT__, { limit: -1, in_use: 3, reserved: 0 })
    const update = (quotaSet: object, token: 'admin' | 'member' = 'admin') =>
      block.request(token, 'PUT', path, { body: { quota_set: quotaSet } })
    assert.equal((await update({ volumes: 5 }, 'member')).status, 403)
    assert.match(
      (await update({ nonsense: 5 })).body.badRequest.message,
      /^Bad key\(s\) in quota set: nonsense/,
    )
    assert.equal((await update({ volumes: 'many' })).status, 400)
    assert.equal((await update({ gigabytes: 2 })).status, 400)
    assert.equal((await update({})).status, 400)
    const done = await update({ volumes: '1', tenant_id: 'ignored' })
    assert.equal(done.body.quota_set.volumes, 1)
    const refused = await block.request('member', 'POST', '/volumes', { body: { volume: { size: 1 } } })
    assert.equal(refused.status, 413)
    assert.equal((await block.request('stranger', 'GET', path)).status, 403)
    const limits = (await block.request('member', 'GET', '/limits')).body.limits.absolute
    assert.equal(limits.maxTotalVolumes, 1)
    assert.equal(limits.totalGigabytesUsed, 3)
    assert.equal((await block.request('admin', 'DELETE', path)).status, 200)
    const wide = { body: { quota_class_set: { volumes: 7 } } }
    assert.equal((await block.request('admin', 'PUT', '/os-quota-class-sets/default', wide)).status, 200)
    assert.equal((await block.request('member', 'GET', path)).body.quota_set.volumes, 7)
    await block.request('member', 'DELETE', `/volumes/${made.body.volume.id}`)
    await block.idle()
    const after = (await block.request('member', 'GET', `${path}?usage=true`)).body.quota_set
    assert.equal(after.gigabytes.in_use, 0)
  })

  test(`bodies have a limit, health can be switched off by a file, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine, {
      config: {
        DEFAULT: { enabled_backends: 'first' },
        first: { volume_driver: 'memory' },
        oslo_middleware: { max_request_body_size: '200' },
        healthcheck: { disable_by_file_path: import.meta.filename },
      },
    })
    const tooLarge = await block.request('admin', 'POST', '/volumes', {
      body: { volume: { size: 1, description: 'x'.repeat(200) } },
    })
    assert.equal(tooLarge.status, 413)
    const health = await block.request(undefined, 'GET', '/healthcheck', { unversioned: true })
    assert.equal(health.status, 503)
    assert.equal(health.text, 'DISABLED BY FILE')
  })

  test(`pages of allowed origins may use the API, others not, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine, {
      config: {
        DEFAULT: { enabled_backends: 'first' },
        first: { volume_driver: 'memory' },
        cors: { allowed_origin: 'https://console.example' },
      },
    })
    const ask = (origin: string) => block.request('member', 'GET', '/volumes', { headers: { origin } })
    const allowed = await ask('https://console.example')
    assert.equal(allowed.headers['access-control-allow-origin'], 'https://console.example')
    assert.equal(allowed.headers['vary'], 'OpenStack-API-Version, Origin')
    assert.equal((await ask('https://other.example')).headers['access-control-allow-origin'], undefined)
    const preflight = await block.service.api.inject({
      method: 'OPTIONS',
      url: '/v3/volumes',
      headers: { origin: 'https://console.example', 'access-control-request-method': 'POST' },
    })
    assert.equal(preflight.statusCode, 200)
    assert.match(String(preflight.headers['access-control-allow-headers']), /X-Auth-Token/)
  })
})
