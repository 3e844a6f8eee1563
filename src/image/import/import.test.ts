import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { MiB } from '../../kernel/bytes.ts'
import { sleep } from '../../kernel/call.ts'
import { onEachEngine } from '../../kernel/db/testing.ts'
import { NoCapacity } from '../../kernel/errors.ts'
import { jobMigrations } from '../../kernel/jobs/migrations.ts'
import type { ImageTables } from '../db/tables.ts'
import { defineImageStore } from '../image-store.ts'
import { MemoryStore } from '../stores/memory.ts'
import { startTestService, type TestService } from '../testing.ts'

const contents = { jobs: jobMigrations }
const octets = { 'content-type': 'application/octet-stream' }

/** Two writable stores of files, in alphabetical order, and what else a test needs. */
const conf = (more = '') => `[DEFAULT]
enabled_backends = alpha:file, beta:file
${more.includes('[') ? '' : more}
[glance_store]
default_backend = alpha
[alpha]
filesystem_store_datadir = $DIRECTORY/alpha
[beta]
filesystem_store_datadir = $DIRECTORY/beta
[os_glance_staging_store]
filesystem_store_datadir = $DIRECTORY/staging
[import_filtering_opts]
allowed_ports = []
${more.includes('[') ? more : ''}
`

async function create(service: TestService, body: object = {}): Promise<string> {
  const answer = await service.call('alice', 'POST', '/v2/images', {
    disk_format: 'raw',
    container_format: 'bare',
    ...body,
  })
  assert.equal(answer.status, 201, answer.text)
  return answer.json<{ id: string }>().id
}

async function show(service: TestService, id: string): Promise<Record<string, unknown>> {
  return (await service.call('alice', 'GET', `/v2/images/${id}`)).json()
}

async function stage(service: TestService, data: Buffer, body: object = {}): Promise<string> {
  const id = await create(service, body)
  const answer = await service.call('alice', 'PUT', `/v2/images/${id}/stage`, data, octets)
  assert.equal(answer.status, 204, answer.text)
  return id
}

/** Asks for an import and waits until it has come to an end. */
async function importNow(service: TestService, id: string, body: object, as = 'alice') {
  const answer = await service.call(as, 'POST', `/v2/images/${id}/import`, body)
  await service.jobs.idle()
  return answer
}

async function lastTask(service: TestService, id: string) {
  const { tasks } = (await service.call('alice', 'GET', `/v2/images/${id}/tasks`)).json<{
    tasks: Record<string, unknown>[]
  }>()
  return tasks.at(-1) ?? {}
}

const files = (service: TestService, name: string) => readdir(join(service.directory, name))

/** A web server with the given files, by path. */
async function serve(pages: Readonly<Record<string, Buffer | { redirect: string }>>) {
  const server = createServer((request, response) => {
    const page = pages[request.url ?? '']
    if (page === undefined) response.writeHead(404).end()
    else if ('redirect' in page) response.writeHead(302, { location: page.redirect }).end()
    else response.writeHead(200, { 'content-length': page.byteLength }).end(page)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo // it listens on TCP
  return {
    url: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      server.close()
    },
  }
}

const direct = { method: { name: 'glance-direct' } }

onEachEngine((engine) => {
  test(`staged data is imported into all stores, and the task can be read at once, on ${engine.name}`, async () => {
    await using database = await engine.open<ImageTables>(contents)
    await using service = await startTestService(database, { conf: conf() })
    const data = randomBytes(2 * MiB + 11)
    const id = await stage(service, data)
    const staged = await show(service, id)
    assert.deepEqual([staged['status'], staged['size']], ['uploading', data.byteLength])
    assert.deepEqual(await files(service, 'staging'), [id])

    const accepted = await service.call('alice', 'POST', `/v2/images/${id}/import`, {
      ...direct,
      all_stores: true,
    })
    assert.deepEqual([accepted.status, accepted.text], [202, ''])
    const task = await lastTask(service, id)
    assert.equal(task['type'], 'api_image_import')
    assert.equal(task['request_id'], accepted.headers['x-openstack-request-id'])
    assert.match(String(task['created_at']), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$/)
    const input = task['input'] as { import_req: { method: { name: string } } }
    assert.equal(input.import_req.method.name, 'glance-direct')

    await service.jobs.idle()
    const image = await show(service, id)
    assert.equal(image['status'], 'active')
    assert.equal(image['stores'], 'alpha,beta')
    assert.equal(image['os_glance_importing_to_stores'], '')
    assert.equal(image['os_glance_failed_import'], '')
    assert.ok(!('os_glance_import_task' in image))
    assert.equal(image['checksum'], createHash('md5').update(data).digest('hex'))
    assert.equal(image['os_hash_value'], createHash('sha512').update(data).digest('hex'))
    for (const store of ['alpha', 'beta']) {
      assert.ok((await readFile(join(service.directory, store, id))).equals(data))
    }
    assert.deepEqual(await files(service, 'staging'), [])
    const done = await lastTask(service, id)
    assert.deepEqual([done['status'], done['result']], ['success', { image_id: id }])
    assert.equal((await service.call('alice', 'POST', `/v2/images/${id}/import`, direct)).status, 409)
  })

  test(`several stores are written in one pass when the configuration says so, on ${engine.name}`, async () => {
    await using database = await engine.open<ImageTables>(contents)
    await using service = await startTestService(database, {
      conf: conf('[image_import_opts]\nmax_parallel_stores = 4'),
    })
    const data = randomBytes(5 * MiB)
    const id = await stage(service, data)
    await importNow(service, id, { ...direct, stores: ['beta', 'alpha', 'beta'] })
    assert.equal((await show(service, id))['status'], 'active')
    for (const store of ['alpha', 'beta']) {
      assert.ok((await readFile(join(service.directory, store, id))).equals(data))
    }
  })

  test(`imports that cannot be are refused, in upstream's order, on ${engine.name}`, async () => {
    await using database = await engine.open<ImageTables>(contents)
    await using service = await startTestService(database, { conf: conf() })
    const queued = await create(service)
    const staged = await stage(service, Buffer.from('data'))
    const bare = (await service.call('alice', 'POST', '/v2/images', {})).json<{ id: string }>().id
    const web = (uri: string) => ({ method: { name: 'web-download', uri } })
    const cases: readonly (readonly [number, string, object, string?])[] = [
      [400, queued, {}],
      [400, queued, { method: 'glance-direct' }],
      [400, queued, { method: {} }],
      [400, queued, { method: { name: 'glance-download' } }],
      [400, queued, { ...direct, all_stores: 'perhaps' }],
      [400, staged, { ...direct, stores: [] }],
      [404, '00000000-0000-4000-8000-000000000000', direct],
      [404, staged, direct, 'bob'],
      [403, staged, direct, 'reader'],
      [409, queued, direct],
      [409, queued, { method: { name: 'copy-image' }, all_stores: true }, 'admin'],
      [409, bare, web('http://example.org/')],
      [400, staged, { ...direct, all_stores: true, stores: ['alpha'] }],
      [409, staged, { ...direct, stores: ['nowhere'] }],
      [409, staged, { ...direct, stores: ['os_glance_staging_store'] }],
      [400, queued, { method: { name: 'web-download' } }],
      [400, queued, web('ftp://example.org/file')],
      [400, queued, web('http://')],
      [400, queued, web('http://0x7f000001/file')],
    ]
    for (const [status, id, body, as = 'alice'] of cases) {
      const answer = await service.call(as, 'POST', `/v2/images/${id}/import`, body)
      assert.equal(answer.status, status, `${JSON.stringify(body)}: ${answer.text}`)
    }
    const filtered = await service.call('alice', 'POST', `/v2/images/${queued}/import`, web('http://10.1/'))
    assert.match(filtered.text, /does not pass filtering/)
    const header = { 'x-image-meta-store': 'beta' }
    const twice = await service.call(
      'alice',
      'POST',
      `/v2/images/${staged}/import`,
      { ...direct, stores: ['alpha'] },
      header,
    )
    assert.equal(twice.status, 400)
    assert.equal((await show(service, staged))['status'], 'uploading', 'nothing has begun')
    assert.equal((await service.call('alice', 'PUT', `/v2/images/${staged}/stage`, 'x', octets)).status, 409)
  })

  test(`data is downloaded from the web, through redirects that pass the filter, on ${engine.name}`, async () => {
    const data = randomBytes(300_000)
    await using web = await serve({
      '/image': data,
      '/moved': { redirect: '/image' },
      '/away': { redirect: 'ftp://127.0.0.1/image' },
      '/unknown': { redirect: 'http://no-such-host.invalid/image' },
      '/inside': { redirect: 'http://127.0.0.2/image' },
    })
    await using database = await engine.open<ImageTables>(contents)
    await using service = await startTestService(database, {
      conf: `${conf()}disallowed_hosts = [127.0.0.2/32]\n`,
    })
    const fetchFrom = (path: string) => ({ method: { name: 'web-download', uri: `${web.url}${path}` } })
    for (const path of ['/image', '/moved']) {
      const id = await create(service)
      assert.equal((await importNow(service, id, fetchFrom(path))).status, 202)
      const image = await show(service, id)
      assert.deepEqual([image['status'], image['stores']], ['active', 'alpha'], path)
      assert.ok((await service.call('alice', 'GET', `/v2/images/${id}/file`)).bytes.equals(data))
    }
    for (const [path, message] of [
      ['/away', /does not pass filtering/],
      ['/inside', /does not pass filtering/],
      ['/nothing', /answers 404/],
      ['/unknown', /no such host/],
    ] as const) {
      const id = await create(service)
      assert.equal((await importNow(service, id, fetchFrom(path))).status, 202)
      const image = await show(service, id)
      assert.equal(image['status'], 'queued', path)
      assert.equal(image['os_glance_failed_import'], 'alpha')
      const task = await lastTask(service, id)
      assert.equal(task['status'], 'failure')
      assert.match(String(task['message']), message)
    }
    assert.deepEqual(await files(service, 'staging'), [])
  })

  test(`an active image is copied to another store, and deleted from one, on ${engine.name}`, async () => {
    await using database = await engine.open<ImageTables>(contents)
    await using service = await startTestService(database, { conf: conf() })
    const data = randomBytes(700_000)
    const id = await create(service)
    // inject hands the very buffer over, and the store gives its memory back
    const sent = Buffer.from(data)
    assert.equal((await service.call('alice', 'PUT', `/v2/images/${id}/file`, sent, octets)).status, 204)
    const copy = { method: { name: 'copy-image' } }
    assert.equal((await importNow(service, id, { ...copy, stores: ['beta'] })).status, 403)
    assert.equal((await importNow(service, id, { ...copy, stores: ['alpha'] }, 'admin')).status, 400)
    assert.equal((await importNow(service, id, { ...copy, all_stores: true }, 'admin')).status, 202)
    const image = await show(service, id)
    assert.deepEqual([image['status'], image['stores']], ['active', 'alpha,beta'])
    assert.equal((await importNow(service, id, { ...copy, all_stores: true }, 'admin')).status, 202)

    const remove = (store: string, as = 'admin') => service.call(as, 'DELETE', `/v2/stores/${store}/${id}`)
    assert.equal((await remove('alpha', 'alice')).status, 403)
    assert.equal((await remove('nowhere')).status, 409)
    assert.equal((await remove('alpha')).status, 204)
    assert.deepEqual(await files(service, 'alpha'), [])
    assert.equal((await remove('beta')).status, 403, 'the last one')
    assert.equal((await show(service, id))['stores'], 'beta')
    assert.ok((await service.call('alice', 'GET', `/v2/images/${id}/file`)).bytes.equals(data))
  })

  test(`a store that fails stops an import, or only itself, as was asked, on ${engine.name}`, async () => {
    const full = new MemoryStore('full')
    const definition = defineImageStore({
      type: 'full',
      schemes: ['full'],
      options: {},
      create: () =>
        Object.assign(Object.create(full), {
          async put(_id: string, data: AsyncIterable<Uint8Array>) {
            for await (const _chunk of data) throw new NoCapacity('full')
          },
        }),
    })
    const { imageStores } = await import('../stores/index.ts')
    const three = conf('[image_import_opts]\nmax_parallel_stores = 3').replace(
      'beta:file',
      'beta:file, gamma:full',
    )
    await using database = await engine.open<ImageTables>(contents)
    await using service = await startTestService(database, {
      conf: three,
      definitions: [...imageStores, definition],
    })
    const data = randomBytes(3 * MiB)
    const strict = await stage(service, data)
    await importNow(service, strict, { ...direct, all_stores: true })
    const failed = await show(service, strict)
    assert.equal(failed['status'], 'queued')
    assert.equal(failed['size'], null)
    assert.match(String(failed['os_glance_failed_import']), /gamma/)
    assert.equal(failed['os_glance_importing_to_stores'], '')
    assert.equal((await lastTask(service, strict))['status'], 'failure')
    assert.deepEqual([await files(service, 'alpha'), await files(service, 'beta')], [[], []])
    assert.deepEqual(await files(service, 'staging'), [])

    const lenient = await stage(service, data)
    await importNow(service, lenient, { ...direct, all_stores: true, all_stores_must_succeed: false })
    const image = await show(service, lenient)
    assert.deepEqual([image['status'], image['stores']], ['active', 'alpha,beta'])
    assert.equal(image['os_glance_failed_import'], 'gamma')
    assert.ok((await service.call('alice', 'GET', `/v2/images/${lenient}/file`)).bytes.equals(data))
    assert.equal((await lastTask(service, lenient))['status'], 'success')
  })

  test(`hostile and mistaken data fails its import, and nothing is left, on ${engine.name}`, async () => {
    await using database = await engine.open<ImageTables>(contents)
    await using service = await startTestService(database, { conf: conf() })
    const backed = Buffer.alloc(65_536)
    backed.write('QFI\xfb', 0, 'latin1')
    backed.writeUInt32BE(3, 4)
    backed.writeBigUInt64BE(512n, 8)
    for (const [format, data] of [
      ['raw', backed],
      ['qcow2', backed],
      ['qcow2', Buffer.alloc(4_096, 7)],
    ] as const) {
      const id = await stage(service, data, { disk_format: format })
      assert.equal((await importNow(service, id, direct)).status, 202)
      assert.equal((await show(service, id))['status'], 'queued')
      assert.equal((await lastTask(service, id))['status'], 'failure')
    }
    assert.deepEqual([await files(service, 'alpha'), await files(service, 'staging')], [[], []])
  })

  test(`an image that is deleted while it is imported leaves nothing, on ${engine.name}`, async () => {
    const slow = createServer((_request, response) => {
      response.writeHead(200)
      response.write(Buffer.alloc(100_000)) // and then nothing
    })
    await new Promise<void>((resolve) => slow.listen(0, '127.0.0.1', resolve))
    const { port } = slow.address() as AddressInfo // it listens on TCP
    await using database = await engine.open<ImageTables>(contents)
    await using service = await startTestService(database, { conf: conf() })
    const id = await create(service)
    const uri = `http://127.0.0.1:${port}/`
    const body = { method: { name: 'web-download', uri } }
    assert.equal((await service.call('alice', 'POST', `/v2/images/${id}/import`, body)).status, 202)
    const signal = AbortSignal.timeout(10_000)
    while ((await files(service, 'staging')).length === 0) await sleep(10, signal)
    assert.equal((await service.call('alice', 'DELETE', `/v2/images/${id}`)).status, 204)
    await service.jobs.idle()
    assert.deepEqual(await files(service, 'staging'), [])
    slow.closeAllConnections()
    slow.close()
  })

  test(`an import goes on after its process has died, on ${engine.name}`, async () => {
    await using database = await engine.open<ImageTables>(contents)
    const data = randomBytes(400_000)
    const first = await startTestService(database, { conf: conf() })
    const id = await stage(first, data)
    await first.jobs[Symbol.asyncDispose]() // the runner is dead: what is accepted now waits
    assert.equal(
      (await first.call('alice', 'POST', `/v2/images/${id}/import`, { ...direct, all_stores: true })).status,
      202,
    )
    // the dead run had stored the data in one store, and not recorded it
    await writeFile(join(first.directory, 'beta', id), 'half of it')
    await database.kysely.updateTable('jobs').set({ attempts: 1 }).execute()
    await using _directory = {
      [Symbol.asyncDispose]: async () => {
        await first.service[Symbol.asyncDispose]()
      },
    }
    await using next = await startTestService(database, { conf: conf(), directory: first.directory })
    await next.jobs.idle()
    const image = await show(next, id)
    assert.deepEqual([image['status'], image['stores']], ['active', 'alpha,beta'])
    assert.ok((await readFile(join(next.directory, 'beta', id))).equals(data))
    assert.deepEqual(await files(next, 'staging'), [])
  })
})

test('the older task import makes an image, and takes it away again when it fails', async () => {
  const data = randomBytes(50_000)
  await using web = await serve({ '/image': data })
  const { openDatabase } = await import('../../kernel/db/database.ts')
  const { migrate } = await import('../../kernel/db/migrate.ts')
  await using database = await openDatabase<ImageTables>('sqlite://')
  await migrate(database.kysely, 'jobs', jobMigrations)
  await using service = await startTestService(database, { conf: conf() })
  const post = (input: unknown, type = 'import', as = 'admin') =>
    service.call(as, 'POST', '/v2/tasks', { type, input })
  const input = (path: string) => ({
    import_from: `${web.url}${path}`,
    import_from_format: 'raw',
    image_properties: { name: 'of a task', container_format: 'bare' },
  })
  assert.equal((await post(input('/image'), 'import', 'alice')).status, 403)
  assert.equal((await post(input('/image'), 'export')).status, 400)
  assert.equal((await post({ import_from: `${web.url}/image` })).status, 400)
  assert.equal((await post({ ...input(''), import_from: 'file:///etc/passwd' })).status, 400)

  const created = await post(input('/image'))
  assert.equal(created.status, 201, created.text)
  const { id, self } = created.json<{ id: string; self: string }>()
  assert.equal(created.headers['location'], `/v2/tasks/${id}`)
  await service.jobs.idle()
  const done = (await service.call('admin', 'GET', self)).json()
  assert.equal(done['status'], 'success', JSON.stringify(done))
  const { image_id: imageId } = done['result'] as { image_id: string }
  const image = (await service.call('admin', 'GET', `/v2/images/${imageId}`)).json()
  assert.deepEqual([image['status'], image['name']], ['active', 'of a task'])

  const failing = (await post(input('/nothing'))).json<{ id: string; image_id: string }>()
  await service.jobs.idle()
  assert.equal((await service.call('admin', 'GET', `/v2/tasks/${failing.id}`)).json()['status'], 'failure')
  assert.equal((await service.call('admin', 'GET', `/v2/images/${failing.image_id}`)).status, 404)
  const listed = (await service.call('admin', 'GET', '/v2/tasks?status=failure&type=import')).json<{
    tasks: { id: string }[]
  }>()
  assert.deepEqual(
    listed.tasks.map((task) => task.id),
    [failing.id],
  )
  assert.equal((await service.call('admin', 'GET', '/v2/tasks?marker=x')).status, 400)
  assert.equal((await service.call('admin', 'DELETE', `/v2/tasks/${id}`)).status, 405)
})

test('compressed data is unpacked on import, and bombs are not', async () => {
  const { openDatabase } = await import('../../kernel/db/database.ts')
  const { migrate } = await import('../../kernel/db/migrate.ts')
  await using database = await openDatabase<ImageTables>('sqlite://')
  await migrate(database.kysely, 'jobs', jobMigrations)
  await using service = await startTestService(database, {
    conf: conf(
      '[image_import_opts]\nimage_import_plugins = [image_decompression]\n[image_decompression]\nmax_expansion_ratio = 50',
    ),
  })
  const data = Buffer.concat([randomBytes(100_000), Buffer.alloc(300_000)])
  const scratch = join(service.directory, 'plain.img')
  await writeFile(scratch, data)
  const packed = (program: string, ...args: string[]) =>
    execFileSync(program, [...args, scratch], { maxBuffer: 64 * MiB })
  const zip = join(service.directory, 'one.zip')
  const zipOf = (...names: string[]) =>
    execFileSync('python3', [
      '-c',
      'import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1], "w", zipfile.ZIP_DEFLATED)\nfor n in sys.argv[3:]: z.write(sys.argv[2], n)\nz.close()',
      zip,
      scratch,
      ...names,
    ])
  zipOf('a')
  const one = await readFile(zip)
  zipOf('a', 'b')
  const two = await readFile(zip)
  const cases: readonly (readonly [string, Buffer, string])[] = [
    ['gzip', gzipSync(data), 'active'],
    ['bzip2', packed('bzip2', '-kc'), 'active'],
    ['xz', packed('xz', '-kc'), 'active'],
    ['zip', one, 'active'],
    ['not compressed', data, 'active'],
    ['a zip of two', two, 'queued'],
    ['damaged gzip', gzipSync(data).subarray(0, 50_000), 'queued'],
    ['damaged xz', packed('xz', '-kc').subarray(0, 50_000), 'queued'],
    ['a bomb', gzipSync(Buffer.alloc(8 * MiB)), 'queued'],
  ]
  for (const [what, body, status] of cases) {
    const id = await stage(service, body)
    await importNow(service, id, direct)
    const image = await show(service, id)
    const task = await lastTask(service, id)
    assert.equal(image['status'], status, `${what}: ${String(task['message'])}`)
    if (status === 'active') {
      assert.ok((await service.call('alice', 'GET', `/v2/images/${id}/file`)).bytes.equals(data), what)
    }
  }
  const meant = await stage(service, gzipSync(data), { container_format: 'compressed' })
  await importNow(service, meant, direct)
  assert.equal((await show(service, meant))['size'], gzipSync(data).byteLength)
  assert.deepEqual(await files(service, 'staging'), [])
})

test('imported images are converted, and given properties', async () => {
  const { openDatabase } = await import('../../kernel/db/database.ts')
  const { migrate } = await import('../../kernel/db/migrate.ts')
  for (const target of ['raw', 'vmdk'] as const) {
    await using database = await openDatabase<ImageTables>('sqlite://')
    await migrate(database.kysely, 'jobs', jobMigrations)
    await using service = await startTestService(database, {
      conf: conf(
        `[image_import_opts]\nimage_import_plugins = [inject_image_metadata, image_conversion]\n[inject_metadata_properties]\ninject = made_by:us,os_glance_x:no\n[image_conversion]\noutput_format = ${target}`,
      ),
    })
    const plain = join(service.directory, 'plain.raw')
    const boxed = join(service.directory, 'boxed.qcow2')
    const data = Buffer.concat([randomBytes(MiB), Buffer.alloc(3 * MiB)])
    await writeFile(plain, data)
    execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', plain, boxed])
    const id = await stage(service, await readFile(boxed), { disk_format: 'qcow2' })
    await importNow(service, id, direct)
    const image = await show(service, id)
    assert.equal(image['status'], 'active', JSON.stringify(await lastTask(service, id)))
    assert.equal(image['disk_format'], target)
    assert.equal(image['virtual_size'], data.byteLength)
    assert.equal(image['made_by'], 'us')
    assert.ok(!('os_glance_x' in image))
    if (target === 'raw') {
      assert.ok((await service.call('alice', 'GET', `/v2/images/${id}/file`)).bytes.equals(data))
    }
    const wrong = await stage(service, data, { disk_format: 'qcow2' })
    await importNow(service, wrong, direct)
    const refused = await show(service, wrong)
    assert.deepEqual([refused['status'], refused['disk_format']], ['queued', 'qcow2'])
    assert.ok(!('made_by' in refused), 'what the plugins changed is as it was')
    assert.deepEqual(await files(service, 'staging'), [])
  }
})
