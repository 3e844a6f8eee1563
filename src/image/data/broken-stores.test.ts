import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { type Bytes, counted, MiB } from '../../kernel/bytes.ts'
import type { Call } from '../../kernel/call.ts'
import { openDatabase } from '../../kernel/db/database.ts'
import { migrate } from '../../kernel/db/migrate.ts'
import { BackendError } from '../../kernel/errors.ts'
import { jobMigrations } from '../../kernel/jobs/migrations.ts'
import type { ImageTables } from '../db/tables.ts'
import { defineImageStore, type StoredImage } from '../image-store.ts'
import { MemoryStore } from '../stores/memory.ts'
import { startTestService } from '../testing.ts'

const octets = { 'content-type': 'application/octet-stream' }

/** A store that can break in the middle of an image, be switched off, or be full. */
class FragileStore extends MemoryStore {
  breaksAfterBytes = Number.POSITIVE_INFINITY
  failure: () => Error = () => new BackendError('The disk is broken.', { left: 'nothing' })
  isOff = false

  override async put(
    imageId: string,
    data: Bytes,
    sizeBytes: number | undefined,
    call: Call,
  ): Promise<StoredImage> {
    let bytes = 0
    const watched = counted(data, (length) => {
      bytes += length
      if (bytes > this.breaksAfterBytes) throw this.failure()
    })
    return await super.put(imageId, watched, sizeBytes, call)
  }

  override async *get(...args: Parameters<MemoryStore['get']>): Bytes {
    if (this.isOff) throw this.failure()
    yield* super.get(...args)
  }
}

async function serviceWith(t: TestContext, stores: Readonly<Record<string, FragileStore>>) {
  const names = Object.keys(stores)
  const definitions = Object.entries(stores).map(([name, store]) =>
    defineImageStore({ type: name, schemes: [name], options: {}, create: () => store }),
  )
  const database = await openDatabase<ImageTables>('sqlite://')
  await migrate(database.kysely, 'jobs', jobMigrations)
  const service = await startTestService(database, {
    conf: `[DEFAULT]
enabled_backends = ${names.map((name) => `${name}:${name}`).join(', ')}
[glance_store]
default_backend = ${names[0]}
`,
    definitions,
  })
  t.after(async () => {
    await service[Symbol.asyncDispose]()
    await database[Symbol.asyncDispose]()
  })
  const body = { disk_format: 'raw', container_format: 'bare' }
  const id = (await service.call('alice', 'POST', '/v2/images', body)).json<{ id: string }>().id
  const image = `/v2/images/${id}`
  return { service, image, data: randomBytes(5 * MiB) }
}

test('a store that fails, denies or fills up in the middle is told apart, and the image can be uploaded again', async (t) => {
  const store = new FragileStore('one', 8 * MiB)
  const { service, image, data } = await serviceWith(t, { one: store })
  const upload = (bytes: Buffer) => service.call('alice', 'PUT', `${image}/file`, bytes, octets)
  const details = { left: 'nothing' } as const
  const cases: readonly (readonly [number, Error])[] = [
    [500, new BackendError('The disk is broken.', details)],
    [503, new BackendError('The disk is read-only.', { ...details, details: { reason: 'denied' } })],
    [503, new BackendError('The array does not answer.', { ...details, retryAfterMs: 5_000 })],
    [500, new Error('a mistake of ours')],
  ]
  store.breaksAfterBytes = 2 * MiB
  for (const [status, failure] of cases) {
    store.failure = () => failure
    assert.equal((await upload(data)).status, status, failure.message)
    assert.equal((await service.call('alice', 'GET', image)).json()['status'], 'queued', failure.message)
    assert.deepEqual(store.imageIds, [], failure.message)
  }
  store.breaksAfterBytes = Number.POSITIVE_INFINITY
  assert.equal((await upload(Buffer.alloc(9 * MiB))).status, 413)
  assert.equal((await service.call('alice', 'GET', image)).json()['status'], 'queued')
  assert.deepEqual(store.imageIds, [])
  assert.equal((await upload(data)).status, 204)
  assert.ok((await service.call('alice', 'GET', `${image}/file`)).bytes.equals(data))
})

test('an image whose store has vanished is read from its other store', async (t) => {
  const [first, second] = [new FragileStore('first'), new FragileStore('second')]
  const { service, image, data } = await serviceWith(t, { first, second })
  assert.equal((await service.call('alice', 'PUT', `${image}/file`, data, octets)).status, 204)
  const copy = { method: { name: 'copy-image' }, stores: ['second'] }
  assert.equal((await service.call('admin', 'POST', `${image}/import`, copy)).status, 202)
  await service.jobs.idle()
  assert.equal((await service.call('alice', 'GET', image)).json()['stores'], 'first,second')

  first.isOff = true
  assert.ok((await service.call('alice', 'GET', `${image}/file`)).bytes.equals(data))
  const part = await service.call('alice', 'GET', `${image}/file`, undefined, { range: 'bytes=10-19' })
  assert.deepEqual([part.status, part.bytes], [206, data.subarray(10, 20)])
  second.isOff = true
  assert.equal((await service.call('alice', 'GET', `${image}/file`)).status, 500)
  first.isOff = false
  assert.equal((await service.call('alice', 'GET', `${image}/file`)).status, 200)
})
