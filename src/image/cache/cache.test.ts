import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { sleep } from '../../kernel/call.ts'
import { onEachEngine } from '../../kernel/db/testing.ts'
import { jobMigrations } from '../../kernel/jobs/migrations.ts'
import type { ImageTables } from '../db/tables.ts'
import { startTestService, type TestService } from '../testing.ts'

const octets = { 'content-type': 'application/octet-stream' }
const conf = `[DEFAULT]
image_cache_dir = $DIRECTORY/cache
image_cache_max_size = 250000
worker_self_reference_url = http://node-1:9292
[paste_deploy]
flavor = keystone+cachemanagement
`

async function upload(service: TestService, data: Buffer): Promise<string> {
  const body = { disk_format: 'raw', container_format: 'bare' }
  const { id } = (await service.call('alice', 'POST', '/v2/images', body)).json<{ id: string }>()
  const sent = Buffer.from(data) // inject hands the very buffer over
  assert.equal((await service.call('alice', 'PUT', `/v2/images/${id}/file`, sent, octets)).status, 204)
  return id
}

interface CacheState {
  readonly cached_images: { image_id: string; hits: number; size: number; last_accessed: number }[]
  readonly queued_images: string[]
}

const state = async (service: TestService) =>
  (await service.call('admin', 'GET', '/v2/cache')).json<CacheState & Record<string, unknown>>()

/** Waits until the cache holds these images. */
async function untilCached(service: TestService, ...ids: string[]): Promise<CacheState> {
  const signal = AbortSignal.timeout(30_000)
  for (;;) {
    const now = await state(service)
    const held = now.cached_images.map((entry) => entry.image_id)
    if (JSON.stringify(held.sort()) === JSON.stringify(ids.sort())) return now
    await sleep(10, signal)
  }
}

onEachEngine((engine) => {
  test(`a downloaded image is kept, and served from the cache, on ${engine.name}`, async () => {
    await using database = await engine.open<ImageTables>({ jobs: jobMigrations })
    await using service = await startTestService(database, { conf })
    const data = randomBytes(100_000)
    const id = await upload(service, data)
    const file = `/v2/images/${id}/file`
    assert.ok(
      (await service.call('alice', 'GET', file, undefined, { range: 'bytes=0-9' })).bytes.equals(
        data.subarray(0, 10),
      ),
    )
    assert.deepEqual((await state(service)).cached_images, [], 'a part is not kept')
    assert.ok((await service.call('alice', 'GET', file)).bytes.equals(data))
    await untilCached(service, id)

    await rm(join(service.directory, 'images', id))
    const hit = await service.call('alice', 'GET', file)
    assert.ok(hit.bytes.equals(data), 'the store has it no more')
    assert.equal(hit.headers['content-length'], String(data.byteLength))
    const range = await service.call('alice', 'GET', file, undefined, { range: 'bytes=500-999' })
    assert.ok(range.bytes.equals(data.subarray(500, 1_000)))
    assert.equal((await state(service)).cached_images[0]?.hits, 2)
    assert.equal((await service.call('reader', 'GET', file)).status, 403, 'policies hold for hits too')
    assert.equal((await service.call('bob', 'GET', file)).status, 404)
    await service.call('alice', 'POST', `/v2/images/${id}/actions/deactivate`)
    assert.equal((await service.call('alice', 'GET', file)).status, 403)
    const nodes = await service.call('admin', 'GET', `/v2/cache/nodes/${id}`)
    assert.deepEqual(nodes.json(), ['http://node-1:9292'])

    assert.equal((await service.call('alice', 'DELETE', `/v2/images/${id}`)).status, 204)
    assert.deepEqual(await readdir(join(service.directory, 'cache')), [])
  })

  test(`images are fetched when they are asked for, and the oldest make room, on ${engine.name}`, async () => {
    await using database = await engine.open<ImageTables>({ jobs: jobMigrations })
    await using service = await startTestService(database, { conf })
    const first = await upload(service, randomBytes(100_000))
    const second = await upload(service, randomBytes(100_000))
    const third = await upload(service, randomBytes(100_000))
    const put = (id: string, as = 'admin') => service.call(as, 'PUT', `/v2/cache/${id}`)
    assert.equal((await put(first, 'alice')).status, 403)
    assert.equal((await put('not-an-id')).status, 404)
    const queued = (await service.call('alice', 'POST', '/v2/images', {})).json<{ id: string }>().id
    assert.equal((await put(queued)).status, 400)
    for (const id of [first, second]) {
      assert.equal((await put(id)).status, 202)
      await untilCached(service, ...(id === first ? [first] : [first, second]))
    }
    await service.call('alice', 'GET', `/v2/images/${first}/file`) // the second is now the older one
    assert.equal((await put(third)).status, 202)
    await untilCached(service, first, third)
    assert.deepEqual((await service.call('admin', 'POST', '/v2/cache/prune')).json(), {
      total_files_pruned: 0,
      total_bytes_pruned: 0,
    })
    const stray = join(service.directory, 'cache', second)
    await writeFile(stray, 'left over')
    assert.equal((await service.call('admin', 'POST', '/v2/cache/clean')).status, 200)
    assert.deepEqual((await readdir(join(service.directory, 'cache'))).sort(), [first, third].sort())

    assert.equal((await service.call('admin', 'DELETE', `/v2/cache/${first}`)).status, 204)
    assert.equal(
      (await service.call('admin', 'DELETE', `/v2/cache/${first}`)).status,
      204,
      'the image is there',
    )
    assert.equal((await service.call('admin', 'DELETE', '/v2/cache/not-an-id')).status, 404)
    const clear = (target: string) =>
      service.call('admin', 'DELETE', '/v2/cache', undefined, { 'x-image-cache-clear-target': target })
    assert.equal((await clear('everything')).status, 400)
    assert.equal((await clear('queue')).status, 204)
    await untilCached(service, third)
    assert.equal((await clear('')).status, 204)
    await untilCached(service)
    assert.deepEqual((await service.call('admin', 'GET', '/v2/cached_images')).json(), { cached_images: [] })
    assert.equal((await service.call('admin', 'PUT', `/v2/queued_images/${first}`)).status, 200)
    await untilCached(service, first)
    assert.deepEqual((await service.call('admin', 'DELETE', '/v2/cached_images')).json(), { num_deleted: 1 })
    assert.deepEqual((await service.call('admin', 'DELETE', '/v2/queued_images')).json(), { num_deleted: 0 })
  })
})

test('without a directory there is no cache', async () => {
  const { openDatabase } = await import('../../kernel/db/database.ts')
  const { migrate } = await import('../../kernel/db/migrate.ts')
  await using database = await openDatabase<ImageTables>('sqlite://')
  await migrate(database.kysely, 'jobs', jobMigrations)
  await using service = await startTestService(database)
  assert.equal((await service.call('alice', 'GET', '/v2/cache')).status, 403)
  assert.equal((await service.call('admin', 'GET', '/v2/cache')).status, 404)
  assert.equal((await service.call('admin', 'GET', '/v2/cached_images')).status, 404)
})
