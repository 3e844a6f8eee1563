import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { join } from 'node:path'
import { test } from 'node:test'
import { MiB } from '../../kernel/bytes.ts'
import { sleep } from '../../kernel/call.ts'
import { onEachEngine } from '../../kernel/db/testing.ts'
import { jobMigrations } from '../../kernel/jobs/migrations.ts'
import type { ImageTables } from '../db/tables.ts'
import { defineImageStore } from '../image-store.ts'
import { MemoryStore } from '../stores/memory.ts'
import { startTestService, type TestService } from '../testing.ts'

const contents = { jobs: jobMigrations }
const octets = { 'content-type': 'application/octet-stream' }
const twoStores = `[DEFAULT]
enabled_backends = fast:memory, slow:file, web:http
[glance_store]
default_backend = slow
[slow]
filesystem_store_datadir = $DIRECTORY/images
store_description = "Big and slow"
[fast]
weight = 10
[web]
store_description = Elsewhere
[os_glance_staging_store]
filesystem_store_datadir = $DIRECTORY/staging
[os_glance_tasks_store]
filesystem_store_datadir = $DIRECTORY/tasks
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

async function stored(service: TestService): Promise<readonly string[]> {
  return await readdir(join(service.directory, 'images'))
}

/** Waits for what happens after an answer has been sent, or with nobody to answer. */
async function until(condition: () => Promise<boolean>): Promise<void> {
  const signal = AbortSignal.timeout(10_000)
  while (!(await condition())) await sleep(10, signal)
}

/** A minimal qcow2 header of version 3. */
function qcow2(options: { backingFileOffset?: number; virtualSize?: number } = {}): Buffer {
  const header = Buffer.alloc(65_536)
  header.write('QFI\xfb', 0, 'latin1')
  header.writeUInt32BE(3, 4)
  header.writeBigUInt64BE(BigInt(options.backingFileOffset ?? 0), 8)
  if (options.backingFileOffset !== undefined) header.writeUInt32BE(8, 16)
  header.writeUInt32BE(16, 20)
  header.writeBigUInt64BE(BigInt(options.virtualSize ?? 10 * MiB), 24)
  header.writeUInt32BE(104, 100)
  return header
}

onEachEngine((engine) => {
  test(`data is stored with its digests and comes back whole and in ranges, on ${engine.name}`, async () => {
    await using database = await engine.open<ImageTables>(contents)
    await using service = await startTestService(database)
    const base = await service.listen()
    const id = await create(service)
    const data = randomBytes(9 * MiB + 123)
    const file = `${base}/v2/images/${id}/file`
    const alice = { 'x-auth-token': 'alice' }
    assert.equal((await fetch(file, { headers: alice })).status, 204, 'no data yet')

    const put = await fetch(file, { method: 'PUT', headers: { ...alice, ...octets }, body: data })
    assert.equal(put.status, 204, await put.text())
    const image = await show(service, id)
    assert.equal(image['status'], 'active')
    assert.equal(image['size'], data.byteLength)
    assert.equal(image['virtual_size'], data.byteLength)
    assert.equal(image['checksum'], createHash('md5').update(data).digest('hex'))
    assert.equal(image['os_hash_algo'], 'sha512')
    assert.equal(image['os_hash_value'], createHash('sha512').update(data).digest('hex'))
    assert.deepEqual(await stored(service), [id])

    const got = await fetch(file, { headers: alice })
    assert.equal(got.status, 200)
    assert.equal(got.headers.get('content-md5'), image['checksum'])
    assert.equal(got.headers.get('content-length'), String(data.byteLength))
    assert.ok(Buffer.from(await got.arrayBuffer()).equals(data))

    const size = data.byteLength
    const ranges: readonly (readonly [string, string, number, number])[] = [
      ['range', 'bytes=0-0', 0, 1],
      ['range', 'bytes=5-1048580', 5, 1_048_581],
      ['range', `bytes=${size - 1}-`, size - 1, size],
      ['range', 'bytes=-100', size - 100, size],
      ['range', `bytes=100-${size + 5}`, 100, size],
      ['range', `bytes=-${size + 5}`, 0, size],
      ['content-range', 'bytes 7-99/*', 7, 100],
    ]
    for (const [name, value, start, end] of ranges) {
      const part = await fetch(file, { headers: { ...alice, [name]: value } })
      assert.equal(part.status, 206, value)
      assert.equal(part.headers.get('content-range'), `bytes ${start}-${end - 1}/${size}`)
      assert.equal(part.headers.get('content-length'), String(end - start))
      assert.ok(Buffer.from(await part.arrayBuffer()).equals(data.subarray(start, end)), value)
    }
    for (const [value, status] of [
      ['bytes=0-1,5-6', 400],
      [`bytes=${size}-`, 416],
      ['bytes=9-5', 416],
      ['bytes=x', 416],
      ['furlongs=0-1', 416],
    ] as const) {
      const refused = await fetch(file, { headers: { ...alice, range: value } })
      assert.equal(refused.status, status, value)
      await refused.text()
    }
    assert.equal((await service.call('reader', 'GET', `/v2/images/${id}/file`)).status, 403)
    assert.equal((await service.call('bob', 'GET', `/v2/images/${id}/file`)).status, 404)
    assert.equal((await service.call('alice', 'PUT', `/v2/images/${id}/file`, 'x', octets)).status, 409)

    assert.equal((await service.call('alice', 'POST', `/v2/images/${id}/actions/deactivate`)).status, 204)
    assert.equal((await service.call('alice', 'POST', `/v2/images/${id}/actions/deactivate`)).status, 204)
    assert.equal((await service.call('alice', 'GET', `/v2/images/${id}/file`)).status, 403)
    assert.equal((await service.call('alice', 'POST', `/v2/images/${id}/actions/reactivate`)).status, 204)

    assert.equal((await service.call('alice', 'DELETE', `/v2/images/${id}`)).status, 204)
    await service.jobs.idle()
    assert.deepEqual(await stored(service), [], 'the data goes with the image')
  })

  test(`uploads that cannot be accepted leave the image queued and the store empty, on ${engine.name}`, async () => {
    await using database = await engine.open<ImageTables>(contents)
    await using service = await startTestService(database, { conf: '[DEFAULT]\nimage_size_cap = 2000000\n' })
    const raw = await create(service)
    const boxed = await create(service, { disk_format: 'qcow2' })
    const bare = (await service.call('alice', 'POST', '/v2/images', {})).json<{ id: string }>().id
    const data = Buffer.alloc(5_000, 1)
    const cases: readonly (readonly [number, string, Buffer, Readonly<Record<string, string>>, string])[] = [
      [415, raw, data, { 'content-type': 'application/json' }, 'another content type'],
      [415, raw, data, {}, 'no content type'],
      [400, raw, data, { ...octets, 'x-openstack-image-size': 'many' }, 'a size that is no number'],
      [400, raw, data, { ...octets, 'x-openstack-image-size': '5001' }, 'fewer bytes than announced'],
      [400, raw, data, { ...octets, 'x-openstack-image-size': '4999' }, 'more bytes than announced'],
      [413, raw, Buffer.alloc(2_000_001), octets, 'too many bytes'],
      [413, raw, data, { ...octets, 'x-openstack-image-size': '2000001' }, 'too many announced'],
      [400, bare, data, octets, 'an image without formats'],
      [415, boxed, data, octets, 'raw data in an image declared as qcow2'],
      [415, boxed, qcow2({ backingFileOffset: 200 }), octets, 'a qcow2 with a backing file'],
      [415, raw, qcow2({ backingFileOffset: 200 }), octets, 'the same, disguised as raw'],
      [404, '00000000-0000-4000-8000-000000000000', data, octets, 'an unknown image'],
    ]
    for (const [status, id, body, headers, what] of cases) {
      const answer = await service.call('alice', 'PUT', `/v2/images/${id}/file`, body, headers)
      assert.equal(answer.status, status, `${what}: ${answer.text}`)
    }
    assert.equal((await service.call('bob', 'PUT', `/v2/images/${raw}/file`, data, octets)).status, 404)
    assert.equal((await service.call('reader', 'PUT', `/v2/images/${raw}/file`, data, octets)).status, 403)
    for (const id of [raw, boxed, bare]) {
      const image = await show(service, id)
      assert.equal(image['status'], 'queued')
      assert.equal(image['size'], null)
    }
    assert.deepEqual(await stored(service), [])
    const good = qcow2({ virtualSize: 7 * MiB })
    assert.equal((await service.call('alice', 'PUT', `/v2/images/${boxed}/file`, good, octets)).status, 204)
    assert.equal((await show(service, boxed))['virtual_size'], 7 * MiB)
    assert.equal((await service.call('alice', 'PUT', `/v2/images/${raw}/file`, '', octets)).status, 204)
    assert.equal((await show(service, raw))['size'], 0)
    const empty = await service.call('alice', 'GET', `/v2/images/${raw}/file`)
    assert.deepEqual([empty.status, empty.text], [200, ''])
  })

  test(`a client that hangs up leaves the image queued and the store empty, on ${engine.name}`, async () => {
    await using database = await engine.open<ImageTables>(contents)
    await using service = await startTestService(database)
    const base = await service.listen()
    for (const headers of [{ 'content-length': String(8 * MiB) }, {}]) {
      const id = await create(service)
      const upload = httpRequest(`${base}/v2/images/${id}/file`, {
        method: 'PUT',
        headers: { 'x-auth-token': 'alice', ...octets, ...headers },
      })
      upload.on('error', () => {}) // we hang up ourselves
      upload.write(Buffer.alloc(2 * MiB))
      await until(
        async () => (await show(service, id))['status'] === 'saving' && (await stored(service)).length > 0,
      )
      upload.destroy()
      await until(async () => (await show(service, id))['status'] === 'queued')
      assert.deepEqual(await stored(service), [])
      const again = await service.call('alice', 'PUT', `/v2/images/${id}/file`, 'data', octets)
      assert.equal(again.status, 204, 'it can be uploaded again')
      await service.call('alice', 'DELETE', `/v2/images/${id}`)
      await service.jobs.idle()
    }
  })

  test(`a client that stalls is cut off, on ${engine.name}`, async () => {
    await using database = await engine.open<ImageTables>(contents)
    await using service = await startTestService(database, { conf: '[DEFAULT]\nclient_socket_timeout = 1\n' })
    const base = await service.listen()
    const id = await create(service)
    const upload = httpRequest(`${base}/v2/images/${id}/file`, {
      method: 'PUT',
      headers: { 'x-auth-token': 'alice', ...octets },
    })
    const cut = new Promise((resolve) => upload.once('error', resolve))
    upload.write(Buffer.alloc(100_000))
    await cut
    await until(async () => (await show(service, id))['status'] === 'queued')
    assert.deepEqual(await stored(service), [])
  })

  test(`a client that stops reading is cut off, on ${engine.name}`, async () => {
    await using database = await engine.open<ImageTables>(contents)
    await using service = await startTestService(database, { conf: '[DEFAULT]\nclient_socket_timeout = 1\n' })
    const base = await service.listen()
    const id = await create(service)
    const path = `/v2/images/${id}/file`
    assert.equal((await service.call('alice', 'PUT', path, Buffer.alloc(40 * MiB), octets)).status, 204)
    const broken = Promise.withResolvers<unknown>()
    const download = httpRequest(`${base}${path}`, { headers: { 'x-auth-token': 'alice' } }, (response) => {
      response.once('error', broken.resolve)
      setTimeout(() => response.resume(), 3_000) // meanwhile nothing is read
    })
    download.on('error', broken.resolve)
    download.end()
    assert.match(String(await broken.promise), /aborted|hang up|ECONNRESET/)
  })

  test(`of several uploads at once one wins, on ${engine.name}`, async () => {
    await using database = await engine.open<ImageTables>(contents)
    await using service = await startTestService(database)
    const id = await create(service)
    const images = Array.from({ length: 4 }, () => randomBytes(500_000))
    const answers = await Promise.all(
      // inject hands the very buffer over, and the store gives its memory back
      images.map((data) => service.call('alice', 'PUT', `/v2/images/${id}/file`, Buffer.from(data), octets)),
    )
    const won = answers.findIndex(({ status }) => status === 204)
    assert.deepEqual(answers.map(({ status }) => status).sort(), [204, 409, 409, 409])
    const got = await service.call('alice', 'GET', `/v2/images/${id}/file`)
    assert.ok(images[won] !== undefined && got.bytes.equals(images[won]))
  })

  test(`an image deleted while its data arrives takes the data with it, on ${engine.name}`, async () => {
    await using database = await engine.open<ImageTables>(contents)
    await using service = await startTestService(database)
    const base = await service.listen()
    const id = await create(service)
    const answered = Promise.withResolvers<number | undefined>()
    const upload = httpRequest(
      `${base}/v2/images/${id}/file`,
      { method: 'PUT', headers: { 'x-auth-token': 'alice', ...octets } },
      (response) => {
        response.resume()
        answered.resolve(response.statusCode)
      },
    )
    upload.write(Buffer.alloc(200_000))
    await until(async () => (await show(service, id))['status'] === 'saving')
    assert.equal((await service.call('alice', 'DELETE', `/v2/images/${id}`)).status, 204)
    upload.end()
    assert.equal(await answered.promise, 410)
    assert.deepEqual(await stored(service), [])
  })

  test(`stores are named, described and chosen, on ${engine.name}`, async () => {
    await using database = await engine.open<ImageTables>(contents)
    await using service = await startTestService(database, { conf: twoStores })
    const created = await service.call('alice', 'POST', '/v2/images', {
      disk_format: 'raw',
      container_format: 'bare',
    })
    assert.equal(created.headers['openstack-image-store-ids'], 'fast,slow,web')
    const id = created.json<{ id: string }>().id
    const upload = (image: string, store?: string) =>
      service.call('alice', 'PUT', `/v2/images/${image}/file`, 'data', {
        ...octets,
        ...(store === undefined ? {} : { 'x-image-meta-store': store }),
      })
    assert.equal((await upload(id, 'nowhere')).status, 400)
    assert.equal((await upload(id, 'os_glance_staging_store')).status, 400)
    assert.equal((await upload(id, 'fast')).status, 204)
    assert.equal((await show(service, id))['stores'], 'fast')
    const other = await create(service)
    assert.equal((await upload(other)).status, 204)
    assert.equal((await show(service, other))['stores'], 'slow')
    assert.deepEqual(await stored(service), [other])
    assert.equal((await service.call('alice', 'GET', `/v2/images/${id}/file?prefer=slow`)).text, 'data')
    assert.equal((await service.call('alice', 'GET', `/v2/images/${id}/file?prefer=x`)).status, 400)

    for (const path of ['/v2/info/stores', '/v2/stores/info']) {
      assert.deepEqual((await service.call('alice', 'GET', path)).json(), {
        stores: [
          { id: 'fast' },
          { id: 'slow', description: 'Big and slow', default: 'true' },
          { id: 'web', description: 'Elsewhere', 'read-only': 'true' },
        ],
      })
    }
    assert.match((await upload(await create(service), 'web')).text, /read-only/)
    assert.equal((await service.call('alice', 'GET', '/v2/info/stores/detail')).status, 403)
    const detail = await service.call('admin', 'GET', '/v2/info/stores/detail')
    const stores = detail.json<{
      stores: { id: string; type: string; weight: number; properties: object }[]
    }>().stores
    assert.deepEqual(
      stores.map(({ type, weight }) => [type, weight]),
      [
        ['memory', 10],
        ['file', 0],
        ['http', 0],
      ],
    )
    assert.ok('data_dir' in (stores[1]?.properties ?? {}))
  })

  test(`data is deleted even when its store is away for a while, on ${engine.name}`, async () => {
    let away = true
    const memory = new MemoryStore('m')
    const flaky = defineImageStore({
      type: 'memory',
      schemes: ['memory'],
      options: {},
      create: () =>
        Object.assign(Object.create(memory), {
          put: memory.put.bind(memory),
          delete: async (location: string) => {
            if (away) throw new Error('away')
            await memory.delete(location)
          },
        }),
    })
    const conf = '[glance_store]\nstores = memory\ndefault_store = memory\n'
    await using database = await engine.open<ImageTables>(contents)
    {
      await using service = await startTestService(database, {
        conf,
        definitions: [flaky],
      })
      const id = await create(service)
      assert.equal((await service.call('alice', 'PUT', `/v2/images/${id}/file`, 'data', octets)).status, 204)
      assert.equal((await service.call('alice', 'DELETE', `/v2/images/${id}`)).status, 204)
      await sleep(100, new AbortController().signal)
      assert.deepEqual(memory.imageIds, [id], 'the store does not let go of it yet')
    }
    away = false
    await using next = await startTestService(database, {
      conf,
      definitions: [flaky],
    })
    await until(async () => memory.imageIds.length === 0)
    await next.jobs.idle()
  })
})
