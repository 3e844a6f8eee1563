import assert from 'node:assert/strict'
import { test } from 'node:test'
import { onEachEngine } from '../../kernel/db/testing.ts'
import { jobMigrations } from '../../kernel/jobs/migrations.ts'
import type { ImageTables } from '../db/tables.ts'
import { startTestService, type TestService } from '../testing.ts'

const contents = { jobs: jobMigrations }
const base = '/v2/metadefs/namespaces'

/** The status of a call, and its body when there is one. */
async function ask(
  service: TestService,
  as: string,
  method: 'GET' | 'POST' | 'PUT' | 'DELETE',
  path: string,
  body?: object,
  headers: Readonly<Record<string, string>> = {},
) {
  const answer = await service.call(as, method, path, body, headers)
  const isJson = String(answer.headers['content-type']).startsWith('application/json')
  return { status: answer.status, headers: answer.headers, body: isJson ? answer.json() : {} }
}

onEachEngine((engine) => {
  test(`a namespace is made with its parts, seen, renamed and deleted, on ${engine.name}`, async () => {
    await using database = await engine.open<ImageTables>(contents)
    await using service = await startTestService(database)
    const created = await ask(service, 'admin', 'POST', base, {
      namespace: 'OS::Test',
      visibility: 'public',
      resource_type_associations: [{ name: 'OS::Glance::Image', prefix: 'hw_' }],
      properties: { cores: { title: 'Cores', type: 'integer', minimum: 1, default: 4 } },
      objects: [{ name: 'Box', required: ['a'], properties: { a: { title: 'A', type: 'string' } } }],
      tags: [{ name: 'red' }, { name: 'Blue' }],
    })
    assert.equal(created.status, 201)
    assert.equal(created.headers['location'], `${base}/OS::Test`)
    const shown = (await ask(service, 'alice', 'GET', `${base}/OS::Test`)).body
    assert.equal(shown['self'], `${base}/OS::Test`)
    assert.equal(shown['protected'], false)
    assert.ok(!('description' in shown), 'what is not set is left out')
    assert.deepEqual(shown['tags'], [{ name: 'Blue' }, { name: 'red' }])
    assert.deepEqual(shown['properties'], {
      cores: { title: 'Cores', type: 'integer', minimum: 1, default: 4 },
    })
    const prefixed = await ask(service, 'alice', 'GET', `${base}/OS::Test?resource_type=OS::Glance::Image`)
    assert.deepEqual(Object.keys(prefixed.body['properties'] as object), ['hw_cores'])
    const [box] = prefixed.body['objects'] as { required: string[]; properties: object }[]
    assert.deepEqual([box?.required, Object.keys(box?.properties ?? {})], [['hw_a'], ['hw_a']])
    const property = `${base}/OS::Test/properties/hw_cores?resource_type=OS::Glance::Image`
    assert.equal((await ask(service, 'alice', 'GET', property)).body['name'], 'hw_cores')
    assert.equal((await ask(service, 'alice', 'GET', property.replace('hw_', 'xx_'))).status, 404)
    assert.equal((await ask(service, 'alice', 'GET', `${base}/OS::Test?resource_type=Nothing`)).status, 404)

    const listed = await ask(service, 'alice', 'GET', `${base}?resource_types=OS::Glance::Image,OS::X`)
    assert.deepEqual(
      (listed.body['namespaces'] as { namespace: string }[]).map(({ namespace }) => namespace),
      ['OS::Test'],
    )
    const renamed = await ask(service, 'admin', 'PUT', `${base}/OS::Test`, { namespace: 'OS::New' })
    assert.equal(renamed.status, 200)
    assert.equal(renamed.body['visibility'], 'private', 'what is omitted has its default')
    assert.equal((await ask(service, 'alice', 'GET', `${base}/OS::New`)).status, 404, 'it is private now')
    assert.equal((await ask(service, 'admin', 'GET', `${base}/OS::Test`)).status, 404)
    assert.equal((await ask(service, 'admin', 'DELETE', `${base}/OS::New`)).status, 204)
    assert.equal((await ask(service, 'admin', 'DELETE', `${base}/OS::New`)).status, 404)
    for (const table of ['metadef_properties', 'metadef_objects', 'metadef_tags'] as const) {
      assert.deepEqual(await database.kysely.selectFrom(table).selectAll().execute(), [])
    }
  })

  test(`a namespace with a part that cannot be is not made at all, on ${engine.name}`, async () => {
    await using database = await engine.open<ImageTables>(contents)
    await using service = await startTestService(database)
    const body = { namespace: 'n', tags: [{ name: 'one' }, { name: 'ONE' }] }
    assert.equal((await ask(service, 'admin', 'POST', base, body)).status, 409)
    assert.equal((await ask(service, 'admin', 'GET', `${base}/n`)).status, 404)
  })

  test(`parts are listed, changed and deleted one by one, on ${engine.name}`, async () => {
    await using database = await engine.open<ImageTables>(contents)
    await using service = await startTestService(database)
    assert.equal((await ask(service, 'admin', 'POST', base, { namespace: 'n' })).status, 201)
    const of = (kind: string) => `${base}/n/${kind}`
    assert.deepEqual((await ask(service, 'admin', 'GET', of('properties'))).body, { properties: {} })
    const property = { name: 'p', title: 'P', type: 'string', pattern: '^a+$' }
    assert.deepEqual((await ask(service, 'admin', 'POST', of('properties'), property)).body, property)
    assert.equal((await ask(service, 'admin', 'POST', of('properties'), property)).status, 409)
    const renamed = { ...property, name: 'q' }
    assert.deepEqual((await ask(service, 'admin', 'PUT', of('properties/p'), renamed)).body, renamed)
    assert.equal((await ask(service, 'admin', 'GET', of('properties/p'))).status, 404)
    assert.equal((await ask(service, 'admin', 'DELETE', of('properties/q'))).status, 204)

    for (const name of ['a', 'b', 'c']) {
      assert.equal((await ask(service, 'admin', 'POST', of('objects'), { name })).status, 201)
    }
    const page = await ask(service, 'admin', 'GET', `${of('objects')}?sort_key=name&sort_dir=asc&limit=2`)
    assert.deepEqual(
      (page.body['objects'] as { name: string }[]).map(({ name }) => name),
      ['a', 'b'],
    )
    const object = { name: 'z', description: 'last', properties: { x: { title: 'X', type: 'boolean' } } }
    const updated = await ask(service, 'admin', 'PUT', of('objects/c'), object)
    assert.equal(updated.body['self'], `${base}/n/objects/z`)
    assert.equal((await ask(service, 'admin', 'PUT', of('objects/z'), { name: 'a' })).status, 409)
    assert.equal((await ask(service, 'admin', 'DELETE', of('objects'))).status, 204)
    assert.deepEqual((await ask(service, 'admin', 'GET', of('objects'))).body['objects'], [])

    assert.equal((await ask(service, 'admin', 'POST', of('tags/t1'))).status, 201)
    assert.equal((await ask(service, 'admin', 'POST', of('tags/T1'))).status, 409)
    const tags = { tags: [{ name: 't2' }, { name: 't3' }] }
    const append = { 'x-openstack-append': 'true' }
    assert.deepEqual((await ask(service, 'admin', 'POST', of('tags'), tags, append)).body, tags)
    const names = async () =>
      ((await ask(service, 'admin', 'GET', of('tags'))).body['tags'] as { name: string }[])
        .map(({ name }) => name)
        .sort()
    assert.deepEqual(await names(), ['t1', 't2', 't3'])
    await ask(service, 'admin', 'POST', of('tags'), tags)
    assert.deepEqual(await names(), ['t2', 't3'])
    assert.equal((await ask(service, 'admin', 'PUT', of('tags/t2'), { name: 'new' })).body['name'], 'new')
    assert.equal((await ask(service, 'admin', 'GET', of('tags/t2'))).status, 404)

    const association = { name: 'My::Own::Type', prefix: 'x_' }
    assert.equal((await ask(service, 'admin', 'POST', of('resource_types'), association)).status, 201)
    assert.equal((await ask(service, 'admin', 'POST', of('resource_types'), association)).status, 409)
    const types = (await ask(service, 'alice', 'GET', '/v2/metadefs/resource_types')).body
    const known = (types['resource_types'] as { name: string }[]).map(({ name }) => name)
    assert.ok(known.includes('OS::Nova::Server') && known.includes('My::Own::Type'))
    assert.equal((await ask(service, 'admin', 'DELETE', of('resource_types/My::Own::Type'))).status, 204)
    assert.equal((await ask(service, 'admin', 'DELETE', of('resource_types/My::Own::Type'))).status, 404)
  })

  test(`who may not see or change definitions is told so, on ${engine.name}`, async () => {
    await using database = await engine.open<ImageTables>(contents)
    await using service = await startTestService(database)
    const make = (body: object) => ask(service, 'admin', 'POST', base, body)
    await make({ namespace: 'open', visibility: 'public' })
    await make({ namespace: 'mine', owner: 'project-a' })
    await make({ namespace: 'closed', protected: true, tags: [{ name: 't' }] })
    const cases: readonly (readonly [string, 'GET' | 'POST' | 'PUT' | 'DELETE', string, object?])[] = [
      ['alice 403', 'POST', base, { namespace: 'x' }],
      ['alice 403', 'PUT', `${base}/open`, { namespace: 'open' }],
      ['alice 403', 'DELETE', `${base}/mine`],
      ['alice 404', 'DELETE', `${base}/closed`],
      ['bob 404', 'GET', `${base}/mine`],
      ['bob 404', 'GET', `${base}/mine/properties`],
      ['alice 200', 'GET', `${base}/mine/objects`],
      ['admin 403', 'DELETE', `${base}/closed`],
      ['admin 403', 'DELETE', `${base}/closed/tags`],
      ['admin 400', 'POST', base],
      ['admin 400', 'POST', base, { display_name: 'no name' }],
      ['admin 400', 'POST', base, { namespace: 'x', colour: 'red' }],
      ['admin 400', 'POST', base, { namespace: 'x'.repeat(81) }],
      ['admin 400', 'POST', base, { namespace: 'x', visibility: 'shared' }],
      ['admin 403', 'POST', base, { namespace: 'x', self: '/v2' }],
      ['admin 409', 'POST', base, { namespace: 'open' }],
      ['admin 400', 'POST', `${base}/open/properties`, { name: 'p', title: 'P', type: 'float' }],
      ['admin 400', 'POST', `${base}/open/properties`, { name: 'p', type: 'string' }],
      [
        'admin 400',
        'POST',
        `${base}/open/properties`,
        { name: 'p', title: 'P', type: 'string', pattern: '(' },
      ],
      ['admin 400', 'GET', `${base}?limit=x`],
      ['admin 400', 'GET', `${base}?marker=nothing`],
      ['admin 400', 'GET', `${base}?sort_key=colour`],
    ]
    for (const [who, method, path, body] of cases) {
      const [as = '', status = ''] = who.split(' ')
      const answer = await ask(service, as, method, path, body)
      assert.equal(answer.status, Number(status), `${who} ${method} ${path} ${JSON.stringify(body)}`)
    }
    const seen = async (as: string) =>
      ((await ask(service, as, 'GET', base)).body['namespaces'] as { namespace: string }[])
        .map(({ namespace }) => namespace)
        .sort()
    assert.deepEqual(await seen('alice'), ['mine', 'open'])
    assert.deepEqual(await seen('bob'), ['open'])
    assert.deepEqual(await seen('admin'), ['closed', 'mine', 'open'])
    const first = await ask(service, 'admin', 'GET', `${base}?limit=2&sort_key=namespace&sort_dir=asc`)
    assert.match(String(first.body['next']), /marker=mine$/)
    const next = await ask(service, 'admin', 'GET', String(first.body['next']))
    assert.deepEqual((next.body['namespaces'] as object[]).length, 1)
  })
})
