import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { sleep } from '../../kernel/call.ts'
import { onEachEngine } from '../../kernel/db/testing.ts'
import { jobMigrations } from '../../kernel/jobs/migrations.ts'
import type { ImageTables } from '../db/tables.ts'
import { startTestService, type TestService } from '../testing.ts'

const conf = (more = '') => `[DEFAULT]
enabled_backends = alpha:file, web:http
show_multiple_locations = true
show_image_direct_url = true
${more}
[glance_store]
default_backend = alpha
[alpha]
filesystem_store_datadir = $DIRECTORY/alpha
`

const data = randomBytes(70_000)
const sha512 = createHash('sha512').update(data).digest('hex')

async function withWeb(body: (url: string) => Promise<void>): Promise<void> {
  const server = createServer((request, response) => {
    if (request.url === '/image') response.writeHead(200, { 'content-length': data.byteLength }).end(data)
    else response.writeHead(404).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo // it listens on TCP
  try {
    await body(`http://127.0.0.1:${port}/image`)
  } finally {
    server.closeAllConnections()
    server.close()
  }
}

const start = (database: Parameters<typeof startTestService>[0], more?: string) =>
  startTestService(database, { conf: conf(more) })

async function create(service: TestService): Promise<string> {
  const body = { disk_format: 'raw', container_format: 'bare' }
  return (await service.call('alice', 'POST', '/v2/images', body)).json<{ id: string }>().id
}

const show = async (service: TestService, id: string) =>
  (await service.call('alice', 'GET', `/v2/images/${id}`)).json<
    Record<string, unknown> & { locations: { url: string; metadata: object }[] }
  >()

onEachEngine((engine) => {
  test(`locations are added, described anew and removed by patches, on ${engine.name}`, async () => {
    await withWeb(async (url) => {
      await using database = await engine.open<ImageTables>({ jobs: jobMigrations })
      await using service = await start(database)
      const id = await create(service)
      const type = { 'content-type': 'application/openstack-images-v2.0-json-patch' }
      const patch = (entry: object, as = 'alice', image = id) =>
        service.call(as, 'PATCH', `/v2/images/${image}`, [entry], type)
      const at = (location: string, more: object = {}) => ({ url: location, metadata: {}, ...more })

      for (const [status, entry] of [
        [400, { add: '/locations/-', value: at('gopher://info.cern.ch') }],
        [400, { add: '/locations/-', value: at('file:///etc/passwd') }],
        [400, { add: '/locations/-', value: at(`${url}-not`) }],
        [400, { add: '/locations/-', value: { url } }],
        [400, { add: '/locations/1', value: at(url) }],
        [403, { replace: '/locations', value: [] }],
        [409, { remove: '/locations/0' }],
        [
          409,
          {
            add: '/locations/-',
            value: at(url, { validation_data: { os_hash_algo: 'md5', os_hash_value: 'x' } }),
          },
        ],
      ] as const) {
        const answer = await patch(entry, 'admin')
        assert.equal(answer.status, status, `${JSON.stringify(entry)}: ${answer.text}`)
      }
      assert.equal((await show(service, id))['status'], 'queued')

      const first = await patch({ add: '/locations/-', value: { url, metadata: { foo: 'bar' } } })
      assert.equal(first.status, 200, first.text)
      const image = await show(service, id)
      assert.deepEqual([image['status'], image['size'], image['stores']], ['active', data.byteLength, 'web'])
      assert.deepEqual(image.locations, [{ url, metadata: { foo: 'bar', store: 'web' } }])
      assert.equal(image['direct_url'], url)
      assert.equal(image['os_hash_value'], null)
      assert.ok((await service.call('alice', 'GET', `/v2/images/${id}/file`)).bytes.equals(data))

      assert.equal(
        (await patch({ add: '/locations/-', value: { url, metadata: { foo: 'bar' } } })).status,
        400,
      )
      assert.equal((await patch({ add: '/locations/-', value: at(`${url}#new`) })).status, 200)
      const both = (await show(service, id)).locations
      assert.deepEqual(
        both.map((location) => location.url),
        [url, `${url}#new`],
      )
      const described = both.map((location, n) => ({ ...location, metadata: { ...location.metadata, n } }))
      assert.equal((await patch({ replace: '/locations', value: described })).status, 200)
      assert.deepEqual((await show(service, id)).locations, described)
      assert.equal((await patch({ replace: '/locations', value: [described[0]] })).status, 400)
      const other = [described[0], at(`${url}#other`)]
      assert.equal((await patch({ replace: '/locations', value: other })).status, 400)
      assert.equal((await patch({ remove: '/locations/0' })).status, 403, 'a member may not')
      assert.equal((await patch({ remove: '/locations/7' }, 'admin')).status, 400)
      assert.equal((await patch({ remove: '/locations/0' }, 'admin')).status, 200)
      assert.deepEqual(
        (await show(service, id)).locations.map((location) => location.url),
        [`${url}#new`],
      )
      assert.equal((await patch({ remove: '/locations/0' }, 'admin')).status, 403, 'the last one')
      await service.jobs.idle()

      const hashed = await create(service)
      const validation = {
        checksum: '1'.repeat(32),
        os_hash_algo: 'sha512',
        os_hash_value: 'deadbeef'.repeat(16),
      }
      const add = (validation_data: object, where = url) =>
        patch({ add: '/locations/-', value: at(where, { validation_data }) }, 'alice', hashed)
      assert.equal((await add(validation)).status, 200)
      const known = await show(service, hashed)
      assert.deepEqual([known['checksum'], known['os_hash_value']], ['1'.repeat(32), 'deadbeef'.repeat(16)])
      assert.ok(!('validation_data' in (known.locations[0] ?? {})))
      assert.equal((await add({ ...validation, checksum: '2'.repeat(32) }, `${url}#b`)).status, 409)
      assert.equal((await add(validation, `${url}#b`)).status, 200)
      assert.equal((await service.call('alice', 'DELETE', `/v2/images/${hashed}`)).status, 204)
    })
  })

  test(`a location is added by its own call, and its data hashed, on ${engine.name}`, async () => {
    await withWeb(async (url) => {
      await using database = await engine.open<ImageTables>({ jobs: jobMigrations })
      await using service = await start(database)
      const add = async (body: object, as = 'alice', image?: string) => {
        const id = image ?? (await create(service))
        const answer = await service.call(as, 'POST', `/v2/images/${id}/locations`, body)
        await service.jobs.idle()
        return { id, status: answer.status, text: answer.text }
      }
      const plain = await add({ url })
      assert.deepEqual([plain.status, plain.text], [202, ''])
      const image = await show(service, plain.id)
      assert.deepEqual(
        [image['status'], image['os_hash_algo'], image['os_hash_value']],
        ['active', 'sha512', sha512],
      )
      assert.equal(image['checksum'], createHash('md5').update(data).digest('hex'))
      assert.ok(!('os_glance_import_task' in image))
      assert.equal((await add({ url }, 'alice', plain.id)).status, 409, 'it is active')

      const right = await add({ url, validation_data: { os_hash_algo: 'sha512', os_hash_value: sha512 } })
      assert.equal((await show(service, right.id))['status'], 'active')
      const wrong = await add({
        url,
        validation_data: { os_hash_algo: 'sha512', os_hash_value: 'a'.repeat(128) },
      })
      assert.equal(wrong.status, 202)
      const queued = await show(service, wrong.id)
      assert.deepEqual([queued['status'], queued['os_hash_value'], queued.locations], ['queued', null, []])
      const { tasks } = (await service.call('alice', 'GET', `/v2/images/${wrong.id}/tasks`)).json<{
        tasks: { type: string; status: string }[]
      }>()
      assert.deepEqual([tasks[0]?.type, tasks[0]?.status], ['location_import', 'failure'])
      assert.equal((await add({ url: `${url}-not` })).status, 202)
      for (const [status, body] of [
        [400, {}],
        [400, { url, validation_data: { os_hash_algo: 'sha512' } }],
        [400, { url, validation_data: { os_hash_algo: 'crc32', os_hash_value: '00' } }],
        [403, { url: 'file:///etc/passwd' }],
        [403, { url: 'memory://m/x' }],
      ] as const) {
        assert.equal((await add(body)).status, status, JSON.stringify(body))
      }
      const list = (as: string) => service.call(as, 'GET', `/v2/images/${plain.id}/locations`)
      assert.equal((await list('alice')).status, 403)
      assert.deepEqual((await list('admin')).json(), [{ url, metadata: { store: 'web' } }])
    })
  })
})

test('without do_secure_hash nothing is read, and hashes are what the caller says', async () => {
  await withWeb(async (url) => {
    const { openDatabase } = await import('../../kernel/db/database.ts')
    const { migrate } = await import('../../kernel/db/migrate.ts')
    await using database = await openDatabase<ImageTables>('sqlite://')
    await migrate(database.kysely, 'jobs', jobMigrations)
    await using service = await start(database, 'do_secure_hash = false')
    const value = 'b'.repeat(64)
    for (const [validation, expected] of [
      [undefined, null],
      [{ os_hash_algo: 'sha256', os_hash_value: value }, value],
    ] as const) {
      const id = await create(service)
      const body = validation === undefined ? { url } : { url, validation_data: validation }
      assert.equal((await service.call('alice', 'POST', `/v2/images/${id}/locations`, body)).status, 202)
      await service.jobs.idle()
      const image = await show(service, id)
      assert.deepEqual([image['status'], image['os_hash_value']], ['active', expected])
    }
  })
})

test('images from the days of a single store find their place among several', async () => {
  const { openDatabase } = await import('../../kernel/db/database.ts')
  const { migrate } = await import('../../kernel/db/migrate.ts')
  const { mkdtemp, rm } = await import('node:fs/promises')
  const { tmpdir } = await import('node:os')
  const directory = await mkdtemp(`${tmpdir()}/image-single-`)
  await using database = await openDatabase<ImageTables>('sqlite://')
  await migrate(database.kysely, 'jobs', jobMigrations)
  let id = ''
  {
    const single = '[glance_store]\nfilesystem_store_datadir = $DIRECTORY/beta\n'
    await using service = await startTestService(database, { directory, conf: single })
    id = await create(service)
    const octets = { 'content-type': 'application/octet-stream' }
    await service.call('alice', 'PUT', `/v2/images/${id}/file`, 'data', octets)
    assert.ok(!('stores' in (await show(service, id))))
  }
  const several = `${conf().replace('alpha:file,', 'alpha:file, beta:file,')}[beta]\nfilesystem_store_datadir = $DIRECTORY/beta\n`
  await using service = await startTestService(database, { directory, conf: several })
  const signal = AbortSignal.timeout(30_000) // stores may take longer to start than the service waits
  while ((await show(service, id))['stores'] !== 'beta') await sleep(20, signal)
  assert.equal((await service.call('alice', 'GET', `/v2/images/${id}/file`)).text, 'data')
  await rm(directory, { recursive: true })
})
