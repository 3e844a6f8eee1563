import assert from 'node:assert/strict'
import { test } from 'node:test'
import { onEachEngine } from '../../kernel/db/testing.ts'
import { jobMigrations } from '../../kernel/jobs/migrations.ts'
import type { ImageTables } from '../db/tables.ts'
import { startTestService, type TestService } from '../testing.ts'

const contents = { jobs: jobMigrations }
const patch21 = { 'content-type': 'application/openstack-images-v2.1-json-patch' }
const patch20 = { 'content-type': 'application/openstack-images-v2.0-json-patch' }

async function create(service: TestService, as: string, body: object = {}): Promise<string> {
  const answer = await service.call(as, 'POST', '/v2/images', body)
  assert.equal(answer.status, 201, answer.text)
  return answer.json<{ id: string }>().id
}

async function names(service: TestService, as: string, query: string): Promise<readonly unknown[]> {
  const answer = await service.call(as, 'GET', `/v2/images?${query}`)
  assert.equal(answer.status, 200, answer.text)
  return answer.json<{ images: { name: unknown }[] }>().images.map((image) => image.name)
}

onEachEngine((engine) => {
  test(`an image is created, shown, changed and deleted, on ${engine.name}`, async () => {
    await using database = await engine.open<ImageTables>(contents)
    await using service = await startTestService(database)
    const answer = await service.call('alice', 'POST', '/v2/images', {
      name: 'demo',
      disk_format: 'qcow2',
      container_format: 'bare',
      min_disk: 3,
      tags: ['b', 'a', 'a'],
      hw_disk_bus: 'scsi',
    })
    assert.equal(answer.status, 201)
    const image = answer.json()
    assert.equal(answer.headers['location'], `/v2/images/${image['id']}`)
    assert.equal(image['status'], 'queued')
    assert.equal(image['visibility'], 'shared')
    assert.equal(image['owner'], 'project-a')
    assert.equal(image['hw_disk_bus'], 'scsi')
    assert.deepEqual(image['tags'], ['a', 'b'])
    assert.match(String(image['created_at']), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
    for (const name of ['size', 'checksum', 'os_hash_algo', 'virtual_size']) assert.equal(image[name], null)

    const path = `/v2/images/${image['id']}`
    assert.deepEqual((await service.call('alice', 'GET', path)).json(), image)

    const changed = await service.call(
      'alice',
      'PATCH',
      path,
      [
        { op: 'replace', path: '/name', value: 'renamed' },
        { op: 'add', path: '/os_distro', value: 'debian' },
        { op: 'remove', path: '/hw_disk_bus' },
        { op: 'replace', path: '/tags', value: ['x'] },
        { op: 'replace', path: '/protected', value: true },
        { op: 'replace', path: '/min_ram', value: 512 },
      ],
      patch21,
    )
    assert.equal(changed.status, 200, changed.text)
    const after = changed.json()
    assert.equal(after['name'], 'renamed')
    assert.equal(after['os_distro'], 'debian')
    assert.equal('hw_disk_bus' in after, false)
    assert.deepEqual(after['tags'], ['x'])
    assert.equal(after['min_ram'], 512)

    assert.equal((await service.call('alice', 'DELETE', path)).status, 403, 'protected')
    await service.call('alice', 'PATCH', path, [{ replace: '/protected', value: false }], patch20)
    assert.equal((await service.call('alice', 'DELETE', path)).status, 204)
    assert.equal((await service.call('alice', 'GET', path)).status, 404)
    assert.equal((await service.call('alice', 'DELETE', path)).status, 404)
    const again = await service.call('alice', 'POST', '/v2/images', { id: image['id'] })
    assert.equal(again.status, 409, 'the id of a deleted image stays reserved')
  })

  test(`lists filter, sort and page, on ${engine.name}`, async () => {
    await using database = await engine.open<ImageTables>(contents)
    await using service = await startTestService(database)
    for (const [index, name] of ['c', 'a', null, 'b', 'a'].entries()) {
      await create(service, 'alice', {
        ...(name === null ? {} : { name }),
        disk_format: index % 2 === 0 ? 'raw' : 'qcow2',
        container_format: 'bare',
        min_disk: index,
        tags: [`t${index % 2}`, 'all'],
        colour: index > 2 ? 'red' : 'blue',
      })
    }
    await create(service, 'alice', { name: 'hidden', os_hidden: true })
    assert.deepEqual(await names(service, 'alice', 'sort=name:asc'), [null, 'a', 'a', 'b', 'c'])
    assert.deepEqual(await names(service, 'alice', 'sort_key=name&sort_dir=desc'), ['c', 'b', 'a', 'a', null])
    assert.deepEqual(await names(service, 'alice', 'name=in:c,%22b%22&sort=name'), ['c', 'b'])
    assert.deepEqual(await names(service, 'alice', 'tag=t1&tag=all&sort=name'), ['b', 'a'])
    assert.deepEqual(await names(service, 'alice', 'colour=red&sort=name'), ['b', 'a'])
    assert.deepEqual(await names(service, 'alice', 'min_disk_min=3&sort=name'), ['b', 'a'])
    assert.deepEqual(await names(service, 'alice', 'os_hidden=True'), ['hidden'])
    assert.deepEqual(await names(service, 'alice', 'limit=0'), [])
    assert.equal((await names(service, 'alice', 'created_at=gt:2020-01-01T00:00:00Z')).length, 5)
    assert.equal((await names(service, 'alice', 'created_at=lt:2020-01-01T00:00:00%2B01:00')).length, 0)

    for (const sort of [
      'name:asc',
      'name:desc',
      'size:asc,name:desc',
      'created_at:asc',
      'container_format,disk_format:asc',
    ]) {
      const whole = await service.call('alice', 'GET', `/v2/images?sort=${sort}`)
      const expected = whole.json<{ images: { id: string }[] }>().images.map(({ id }) => id)
      const paged: string[] = []
      let next: string | undefined = `/v2/images?limit=2&sort=${sort}`
      while (next !== undefined) {
        const page = await service.call('alice', 'GET', next)
        const body: { images: { id: string }[]; next?: string; first: string } = page.json()
        assert.equal(body.first.includes('marker'), false)
        paged.push(...body.images.map(({ id }) => id))
        next = body.next
      }
      assert.deepEqual(paged, expected, `pages of sort=${sort}`)
    }

    for (const query of [
      'limit=-1',
      'limit=x',
      'marker=nothing',
      'sort=colour',
      'sort=name:up',
      'sort=name&sort_key=name',
      'sort_key=name&sort_dir=asc&sort_dir=desc',
      'size_min=x',
      'created_at=gt:yesterday',
      'protected=True',
      'os_hidden=maybe',
      'visibility=secret',
      'member_status=sure',
      'changes-since=2020-01-01',
      'name=in:%22a',
      'name=gt:a',
    ]) {
      assert.equal((await service.call('alice', 'GET', `/v2/images?${query}`)).status, 400, query)
    }
  })

  test(`visibility decides who finds an image, by id and in lists, on ${engine.name}`, async () => {
    await using database = await engine.open<ImageTables>(contents)
    await using service = await startTestService(database)
    const ids: Record<string, string> = {}
    for (const visibility of ['private', 'shared', 'community', 'public']) {
      ids[visibility] = await create(service, 'alice', {
        name: visibility,
        visibility: visibility === 'public' ? 'shared' : visibility,
      })
    }
    const forbidden = await service.call(
      'alice',
      'PATCH',
      `/v2/images/${ids['public']}`,
      [{ op: 'replace', path: '/visibility', value: 'public' }],
      patch21,
    )
    assert.equal(forbidden.status, 403)
    const published = await service.call(
      'admin',
      'PATCH',
      `/v2/images/${ids['public']}`,
      [{ op: 'replace', path: '/visibility', value: 'public' }],
      patch21,
    )
    assert.equal(published.status, 200)

    const statuses = async (as: string, method: 'GET' | 'DELETE') =>
      Object.fromEntries(
        await Promise.all(
          Object.entries(ids).map(async ([name, id]) => [
            name,
            (await service.call(as, method, `/v2/images/${id}`)).status,
          ]),
        ),
      )
    assert.deepEqual(await statuses('bob', 'GET'), { private: 404, shared: 404, community: 200, public: 200 })
    assert.deepEqual(await statuses('bob', 'DELETE'), {
      private: 404,
      shared: 404,
      community: 403,
      public: 403,
    })
    assert.deepEqual(await statuses('reader', 'GET'), {
      private: 200,
      shared: 200,
      community: 200,
      public: 200,
    })
    assert.deepEqual(await statuses('reader', 'DELETE'), {
      private: 403,
      shared: 403,
      community: 403,
      public: 403,
    })

    assert.deepEqual(await names(service, 'bob', 'sort=name:asc'), ['public'])
    assert.deepEqual(await names(service, 'bob', 'visibility=community'), ['community'])
    assert.deepEqual(await names(service, 'bob', 'visibility=all&sort=name:asc'), ['community', 'public'])
    assert.deepEqual(await names(service, 'alice', 'visibility=private'), ['private'])
    assert.deepEqual(await names(service, 'admin', 'sort=name:asc'), ['private', 'public', 'shared'])
  })

  test(`a shared image is offered, accepted and taken back, on ${engine.name}`, async () => {
    await using database = await engine.open<ImageTables>(contents)
    await using service = await startTestService(database)
    const id = await create(service, 'alice', { name: 'shared' })
    const members = `/v2/images/${id}/members`
    const added = await service.call('alice', 'POST', members, { member: 'project-b' })
    assert.equal(added.status, 200)
    assert.equal(added.json()['status'], 'pending')
    assert.equal((await service.call('alice', 'POST', members, { member: 'project-b' })).status, 409)
    assert.equal((await service.call('alice', 'POST', members, { member: '' })).status, 400)
    assert.equal((await service.call('alice', 'POST', members, {})).status, 400)
    assert.equal((await service.call('bob', 'GET', `/v2/images/${id}`)).status, 200, 'visible by id at once')
    assert.deepEqual(await names(service, 'bob', ''), [])
    assert.deepEqual(await names(service, 'bob', 'member_status=pending'), ['shared'])

    const mine = `${members}/project-b`
    assert.equal((await service.call('alice', 'PUT', mine, { status: 'accepted' })).status, 403)
    assert.equal((await service.call('carol', 'PUT', mine, { status: 'accepted' })).status, 404)
    assert.equal((await service.call('bob', 'PUT', mine, { status: 'perhaps' })).status, 400)
    assert.equal(
      (await service.call('bob', 'PUT', mine, { status: 'accepted' })).json()['status'],
      'accepted',
    )
    assert.deepEqual(await names(service, 'bob', ''), ['shared'])
    assert.equal((await service.call('bob', 'GET', members)).json<{ members: unknown[] }>().members.length, 1)
    assert.equal((await service.call('carol', 'GET', members)).status, 404)
    assert.equal((await service.call('bob', 'POST', members, { member: 'project-c' })).status, 403)
    assert.equal((await service.call('bob', 'DELETE', mine)).status, 403)
    assert.equal((await service.call('bob', 'PATCH', `/v2/images/${id}`, [], patch21)).status, 403)

    assert.equal((await service.call('alice', 'DELETE', mine)).status, 204)
    assert.equal((await service.call('alice', 'DELETE', mine)).status, 404)
    assert.equal((await service.call('bob', 'GET', `/v2/images/${id}`)).status, 404)
    const hidden = await create(service, 'alice', { visibility: 'private' })
    assert.equal(
      (await service.call('alice', 'POST', `/v2/images/${hidden}/members`, { member: 'project-b' })).status,
      403,
    )
  })

  test(`tags come and go one by one, on ${engine.name}`, async () => {
    await using database = await engine.open<ImageTables>(contents)
    await using service = await startTestService(database, { conf: '[DEFAULT]\nimage_tag_quota = 2\n' })
    const id = await create(service, 'alice')
    const tag = (name: string) => `/v2/images/${id}/tags/${encodeURIComponent(name)}`
    assert.equal((await service.call('alice', 'PUT', tag('größe x'))).status, 204)
    assert.equal((await service.call('alice', 'PUT', tag('größe x'))).status, 204)
    assert.equal((await service.call('alice', 'PUT', tag('two'))).status, 204)
    assert.equal((await service.call('alice', 'PUT', tag('three'))).status, 413)
    assert.equal((await service.call('alice', 'PUT', tag('x'.repeat(256)))).status, 400)
    assert.deepEqual((await service.call('alice', 'GET', `/v2/images/${id}`)).json()['tags'], [
      'größe x',
      'two',
    ])
    assert.equal((await service.call('alice', 'DELETE', tag('two'))).status, 204)
    assert.equal((await service.call('alice', 'DELETE', tag('two'))).status, 404)
    assert.equal((await service.call('reader', 'PUT', tag('two'))).status, 403)
    assert.equal((await service.call('bob', 'PUT', tag('two'))).status, 404)
  })

  test(`two deletes of one image yield one winner, on ${engine.name}`, async () => {
    await using database = await engine.open<ImageTables>(contents)
    await using service = await startTestService(database)
    const id = await create(service, 'alice')
    const answers = await Promise.all(
      Array.from({ length: 4 }, () => service.call('alice', 'DELETE', `/v2/images/${id}`)),
    )
    assert.deepEqual(answers.map(({ status }) => status).sort(), [204, 404, 404, 404])
  })

  test(`two creations with one id yield one image, on ${engine.name}`, async () => {
    await using database = await engine.open<ImageTables>(contents)
    await using service = await startTestService(database)
    const id = '0f0e0d0c-0b0a-4908-8706-050403020100'
    const answers = await Promise.all(
      Array.from({ length: 4 }, () => service.call('alice', 'POST', '/v2/images', { id })),
    )
    assert.deepEqual(answers.map(({ status }) => status).sort(), [201, 409, 409, 409])
  })

  test(`bad bodies are refused and change nothing, on ${engine.name}`, async () => {
    await using database = await engine.open<ImageTables>(contents)
    await using service = await startTestService(database)
    const bodies: readonly (readonly [number, object | string])[] = [
      [400, '{"name":'],
      [400, '"text"'],
      [400, []],
      [400, { name: 5 }],
      [400, { name: 'x'.repeat(256) }],
      [400, { id: 'not-a-uuid' }],
      [400, { disk_format: 'floppy' }],
      [400, { container_format: 'box' }],
      [400, { min_disk: -1 }],
      [400, { min_ram: 2_147_483_648 }],
      [400, { min_ram: '5' }],
      [400, { protected: 'yes' }],
      [400, { visibility: 'secret' }],
      [400, { tags: 'a' }],
      [400, { tags: [1] }],
      [400, { custom: 5 }],
      [400, { custom: null }],
      [400, { name: '😀' }],
      [400, { custom: '😀' }],
      [400, '{"__proto__": "x"}'],
      [403, { status: 'active' }],
      [403, { size: 5 }],
      [403, { location: 'file:///x' }],
      [403, { locations: [] }],
      [403, { os_glance_foo: 'x' }],
      [403, { os_glancefoo: 'x' }],
      [403, { owner: 'project-b' }],
      [403, { visibility: 'public' }],
      [413, Object.fromEntries(Array.from({ length: 129 }, (_, index) => [`p${index}`, 'x']))],
      [413, { tags: Array.from({ length: 129 }, (_, index) => `t${index}`) }],
    ]
    for (const [status, body] of bodies) {
      const answer = await service.call('alice', 'POST', '/v2/images', body)
      assert.equal(answer.status, status, `${JSON.stringify(body).slice(0, 80)}: ${answer.text}`)
    }
    assert.deepEqual(await names(service, 'alice', ''), [])
    assert.equal((await service.call('reader', 'POST', '/v2/images', {})).status, 403)
    assert.equal((await service.call('alice', 'POST', '/v2/images')).status, 400, 'a body is needed')
  })

  test(`a patch is applied whole or not at all, on ${engine.name}`, async () => {
    await using database = await engine.open<ImageTables>(contents)
    await using service = await startTestService(database)
    const id = await create(service, 'alice', { name: 'before', colour: 'red' })
    const path = `/v2/images/${id}`
    const before = (await service.call('alice', 'GET', path)).json()
    const patches: readonly (readonly [number, Readonly<Record<string, string>>, object | string])[] = [
      [415, { 'content-type': 'application/json' }, []],
      [415, {}, []],
      [400, patch21, {}],
      [400, patch21, ['x']],
      [400, patch21, [{ op: 'move', path: '/name', from: '/colour' }]],
      [400, patch21, [{ op: 'add', path: '/name' }]],
      [400, patch21, [{ op: 'add', path: 'name', value: 'x' }]],
      [400, patch21, [{ op: 'add', path: '/name/', value: 'x' }]],
      [400, patch21, [{ op: 'add', path: '/a~2b', value: 'x' }]],
      [400, patch21, [{ op: 'add', path: '/tags/-', value: 'x' }]],
      [400, patch21, [{ op: 'replace', path: '/name', value: 5 }]],
      [400, patch21, [{ op: 'replace', path: '/disk_format', value: 'floppy' }]],
      [400, patch21, [{ op: 'add', path: '/colour', value: 5 }]],
      [400, patch20, [{ add: '/a', replace: '/b', value: 'x' }]],
      [403, patch21, [{ op: 'replace', path: '/status', value: 'active' }]],
      [403, patch21, [{ op: 'add', path: '/os_glance_x', value: 'x' }]],
      [403, patch21, [{ op: 'replace', path: '/deleted_at', value: 'x' }]],
      [403, patch21, [{ op: 'remove', path: '/name' }]],
      [403, patch21, [{ op: 'replace', path: '/owner', value: 'project-b' }]],
      [409, patch21, [{ op: 'replace', path: '/absent', value: 'x' }]],
      [409, patch21, [{ op: 'remove', path: '/absent' }]],
      [409, patch20, [{ add: '/colour', value: 'x' }]],
      [409, patch20, [{ add: '/name', value: 'x' }]],
      [
        409,
        patch21,
        [
          { op: 'replace', path: '/name', value: 'after' },
          { op: 'remove', path: '/absent' },
        ],
      ],
    ]
    for (const [status, headers, body] of patches) {
      const answer = await service.call('alice', 'PATCH', path, body, headers)
      assert.equal(answer.status, status, `${JSON.stringify(body)}: ${answer.text}`)
      if (status === 415)
        assert.match(String(answer.headers['accept-patch']), /v2\.1-json-patch.*v2\.0-json-patch/)
    }
    assert.deepEqual((await service.call('alice', 'GET', path)).json(), before)
    const pointer = [{ op: 'add', path: '/a~1b~0c', value: 'x' }]
    assert.equal((await service.call('alice', 'PATCH', path, pointer, patch21)).json()['a/b~c'], 'x')
    assert.equal((await service.call('alice', 'PATCH', path, [], patch21)).status, 200)
  })
})
