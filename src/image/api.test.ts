import assert from 'node:assert/strict'
import { test } from 'node:test'
import { openDatabase } from '../kernel/db/database.ts'
import { migrate } from '../kernel/db/migrate.ts'
import { jobMigrations } from '../kernel/jobs/migrations.ts'
import type { ImageTables } from './db/tables.ts'
import { startTestService } from './testing.ts'

async function memoryDatabase() {
  const database = await openDatabase<ImageTables>('sqlite://')
  await migrate(database.kysely, 'jobs', jobMigrations)
  return database
}

const multiStore = '[DEFAULT]\nenabled_backends = m:memory\n[glance_store]\ndefault_backend = m\n'

test('versions are listed without a token, at the root, at /versions and at unknown paths', async () => {
  await using database = await memoryDatabase()
  await using service = await startTestService(database)
  const versions = async (path: string, method: 'GET' | 'POST' = 'GET', accept?: string) => {
    const headers = accept === undefined ? {} : { accept }
    const answer = await service.call(undefined, method, path, undefined, { host: 'glance:9292', ...headers })
    return { status: answer.status, text: answer.text }
  }
  const root = await versions('/')
  assert.equal(root.status, 300)
  const { versions: listed } = JSON.parse(root.text) as {
    versions: { id: string; status: string; links: { rel: string; href: string }[] }[]
  }
  assert.deepEqual(
    listed.map(({ id }) => id),
    ['v2.15', 'v2.9', 'v2.17', 'v2.7', 'v2.6', 'v2.5', 'v2.4', 'v2.3', 'v2.2', 'v2.1', 'v2.0'],
  )
  assert.deepEqual(
    listed.filter(({ status }) => status === 'CURRENT').map(({ id }) => id),
    ['v2.17'],
  )
  assert.deepEqual(listed[0]?.links, [{ rel: 'self', href: 'http://glance:9292/v2/' }])
  assert.deepEqual(await versions('/versions'), { status: 200, text: root.text })
  assert.deepEqual(await versions('/v1/images', 'POST'), { status: 300, text: root.text })
  assert.deepEqual(await versions('/v2.13/images'), { status: 300, text: root.text })
  assert.deepEqual(await versions('/nonsense'), { status: 300, text: root.text })
  assert.equal((await versions('/healthcheck')).text, 'OK')
  assert.equal((await versions('/v2')).status, 401)
  assert.equal((await service.call('alice', 'GET', '/v2/')).status, 404)

  await using several = await memoryDatabase()
  await using multi = await startTestService(several, { conf: multiStore })
  const more = (await multi.call(undefined, 'GET', '/versions')).json<{ versions: { id: string }[] }>()
    .versions
  assert.deepEqual(more.map(({ id }) => id).slice(0, 8), [
    'v2.15',
    'v2.13',
    'v2.12',
    'v2.11',
    'v2.10',
    'v2.9',
    'v2.8',
    'v2.17',
  ])
  assert.equal((await multi.call('alice', 'GET', '/v2.13/images')).status, 200)
})

test('minor versions are labels of one API, in the path or in Accept, bodies included', async () => {
  await using database = await memoryDatabase()
  await using service = await startTestService(database)
  const created = await service.call('alice', 'POST', '/v2.7/images', { name: 'x' })
  assert.equal(created.status, 201)
  const { id } = created.json<{ id: string }>()
  assert.equal((await service.call('alice', 'GET', `/v2.17/images/${id}`)).json()['name'], 'x')
  const accept = { accept: 'application/vnd.openstack.images-v2.9' }
  assert.equal((await service.call('alice', 'GET', '/images?limit=1', undefined, accept)).status, 200)
  assert.equal((await service.call(undefined, 'GET', '/v2.7/images')).status, 401)
})

test('every path of the API needs a token that is valid', async () => {
  await using database = await memoryDatabase()
  await using service = await startTestService(database, {
    conf: '[keystone_authtoken]\nwww_authenticate_uri = http://keystone:5000\n',
  })
  for (const path of ['/v2/images', '/v2/nothing', '/v2/schemas/image', '/v2/info/import']) {
    const none = await service.call(undefined, 'GET', path)
    assert.equal(none.status, 401, path)
    assert.equal(none.headers['www-authenticate'], 'Keystone uri="http://keystone:5000"')
    assert.equal((await service.call('stranger', 'GET', path)).status, 401, path)
  }
  assert.equal((await service.call('alice', 'GET', '/v2/nothing')).status, 404)
})

test('errors are HTML, JSON or text, as the caller prefers, and carry the request id', async () => {
  await using database = await memoryDatabase()
  await using service = await startTestService(database)
  const get = (accept?: string) =>
    service.call('alice', 'GET', '/v2/images/<no>&such', undefined, accept === undefined ? {} : { accept })
  for (const accept of ['*/*', 'text/html', 'application/json, */*', 'text/html, application/json;q=0.5']) {
    const { headers, text } = await get(accept)
    assert.match(String(headers['content-type']), /^text\/html/, accept)
    assert.match(text, /<title>404 Not Found<\/title>/)
    assert.match(text, /<h1>404 Not Found<\/h1>\s+No image found with ID &lt;no&gt;&amp;such<br \/><br \/>/)
  }
  for (const accept of ['application/json', 'application/json, text/html;q=0.1']) {
    const body = (await get(accept)).json()
    assert.equal(body['code'], '404 Not Found')
    assert.equal(body['title'], 'Not Found')
    assert.match(String(body['message']), /^No image found/)
  }
  for (const accept of [undefined, '', 'image/png']) {
    const { headers, text } = await get(accept)
    assert.match(String(headers['content-type']), /^text\/plain/, accept)
    assert.match(text, /^404 Not Found\n\nNo image found/)
  }
  const { headers } = await get()
  assert.match(String(headers['x-openstack-request-id']), /^req-[0-9a-f-]{36}$/)
})

test('a wrong method is 405 and says which ones are right; a trailing slash is 404', async () => {
  await using database = await memoryDatabase()
  await using service = await startTestService(database)
  const images = await service.call('alice', 'DELETE', '/v2/images')
  assert.equal(images.status, 405)
  assert.equal(images.headers['allow'], 'GET, POST')
  const head = await service.call('alice', 'HEAD', '/v2/images')
  assert.equal(head.status, 405)
  const file = await service.call('alice', 'POST', '/v2/images/x/file')
  assert.deepEqual([file.status, file.headers['allow']], [405, 'GET, PUT'])
  for (const method of ['GET', 'DELETE', 'POST'] as const) {
    assert.equal((await service.call('alice', method, '/v2/images/')).status, 404, method)
  }
  assert.equal((await service.call('alice', 'GET', '/v2/images', {})).status, 400, 'a GET takes no body')
})

test('schemas are served from the objects that validate', async () => {
  await using database = await memoryDatabase()
  await using service = await startTestService(database, { conf: '[image_format]\ndisk_formats = raw,gpt\n' })
  const schema = (await service.call('alice', 'GET', '/v2/schemas/image')).json<{
    name: string
    properties: Record<string, Record<string, unknown>>
    additionalProperties: unknown
  }>()
  assert.equal(schema.name, 'image')
  assert.deepEqual(schema.properties['disk_format']?.['enum'], [null, 'raw', 'gpt'])
  assert.deepEqual(schema.additionalProperties, { type: 'string' })
  assert.equal(schema.properties['kernel_id']?.['is_base'], false)
  assert.equal(schema.properties['status']?.['readOnly'], true)
  for (const name of ['images', 'member', 'members', 'task', 'tasks']) {
    assert.equal((await service.call('alice', 'GET', `/v2/schemas/${name}`)).json()['name'], name)
  }
  assert.equal((await service.call('alice', 'GET', '/v2/schemas/nothing')).status, 404)
  assert.equal((await service.call('alice', 'POST', '/v2/images', { disk_format: 'gpt' })).status, 201)
  assert.equal((await service.call('alice', 'POST', '/v2/images', { disk_format: 'qcow2' })).status, 400)
})

test('without named stores there is no store discovery', async () => {
  await using database = await memoryDatabase()
  await using service = await startTestService(database)
  assert.equal((await service.call('alice', 'GET', '/v2/info/stores')).status, 404)
  assert.equal((await service.call('alice', 'GET', '/v2/info/stores/detail')).status, 404)
  assert.deepEqual((await service.call('alice', 'GET', '/v2/info/usage')).json(), { usage: {} })
  const created = await service.call('alice', 'POST', '/v2/images', {})
  assert.equal(created.headers['openstack-image-store-ids'], undefined)
})

test('a thousand images are listed in a moment, with their properties, tags and locations', async () => {
  await using database = await memoryDatabase()
  await using service = await startTestService(database)
  for (let index = 0; index < 1000; index += 1) {
    const body = { name: `image ${index}`, tags: ['a', 'b'], hw_a: 'x', hw_b: 'y' }
    assert.equal((await service.call('alice', 'POST', '/v2/images', body)).status, 201)
  }
  const queries: string[] = []
  const executor = database.kysely.getExecutor()
  const { executeQuery } = executor
  executor.executeQuery = (query, ...more) => {
    queries.push(query.sql)
    return executeQuery.call(executor, query, ...more) as never // the same function, with its own type
  }
  const { images, next } = (await service.call('alice', 'GET', '/v2/images?limit=1000')).json<{
    images: Record<string, unknown>[]
    next: string
  }>()
  assert.equal(images.length, 1000)
  assert.ok(next.includes('marker='))
  assert.deepEqual(images[0]?.['tags'], ['a', 'b'])
  assert.equal(images[999]?.['hw_b'], 'y')
  assert.ok(queries.length <= 4, `${queries.length} queries`)
})
