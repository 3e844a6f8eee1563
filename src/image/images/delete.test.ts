import assert from 'node:assert/strict'
import { test } from 'node:test'
import { onEachEngine } from '../../kernel/db/testing.ts'
import { Conflict } from '../../kernel/errors.ts'
import { jobMigrations } from '../../kernel/jobs/migrations.ts'
import type { ImageTables } from '../db/tables.ts'
import { defineImageStore } from '../image-store.ts'
import { MemoryStore } from '../stores/memory.ts'
import { startTestService } from '../testing.ts'

const octets = { 'content-type': 'application/octet-stream' }
const formats = { disk_format: 'raw', container_format: 'bare' }

onEachEngine((engine) => {
  test(`an image whose data is in use stays as it was, on ${engine.name}`, async () => {
    let inUse = true
    const memory = new MemoryStore('m')
    const definition = defineImageStore({
      type: 'memory',
      schemes: ['memory'],
      options: {},
      create: () =>
        Object.assign(Object.create(memory), {
          put: memory.put.bind(memory),
          get: memory.get.bind(memory),
          delete: async (location: string) => {
            if (inUse) throw new Conflict('A volume is a clone of the image.')
            await memory.delete(location)
          },
        }),
    })
    await using database = await engine.open<ImageTables>({ jobs: jobMigrations })
    await using service = await startTestService(database, {
      conf: '[glance_store]\nstores = memory\ndefault_store = memory\n',
      definitions: [definition],
    })
    const { id } = (await service.call('alice', 'POST', '/v2/images', formats)).json<{ id: string }>()
    await service.call('alice', 'PUT', `/v2/images/${id}/file`, 'data', octets)
    await service.call('alice', 'POST', `/v2/images/${id}/members`, { member: 'project-b' })
    assert.equal((await service.call('alice', 'DELETE', `/v2/images/${id}`)).status, 409)
    assert.equal((await service.call('bob', 'GET', `/v2/images/${id}`)).json()['status'], 'active')
    assert.equal((await service.call('alice', 'GET', `/v2/images/${id}/file`)).text, 'data')
    inUse = false
    assert.equal((await service.call('alice', 'DELETE', `/v2/images/${id}`)).status, 204)
    assert.deepEqual(memory.imageIds, [])
  })

  test(`deletion may be delayed: the data goes later, on ${engine.name}`, async () => {
    const memory = new MemoryStore('m')
    const definition = defineImageStore({
      type: 'memory',
      schemes: ['memory'],
      options: {},
      create: () => memory,
    })
    await using database = await engine.open<ImageTables>({ jobs: jobMigrations })
    await using service = await startTestService(database, {
      conf: '[DEFAULT]\ndelayed_delete = true\nscrub_time = 1\n[glance_store]\nstores = memory\ndefault_store = memory\n',
      definitions: [definition],
    })
    const { id } = (await service.call('alice', 'POST', '/v2/images', formats)).json<{ id: string }>()
    await service.call('alice', 'PUT', `/v2/images/${id}/file`, 'data', octets)
    assert.equal((await service.call('alice', 'DELETE', `/v2/images/${id}`)).status, 204)
    assert.equal((await service.call('alice', 'GET', `/v2/images/${id}`)).status, 404)
    const status = async () =>
      (await database.kysely.selectFrom('images').select('status').executeTakeFirst())?.status
    assert.deepEqual([await status(), memory.imageIds], ['pending_delete', [id]])
    const signal = AbortSignal.timeout(20_000)
    while ((await status()) !== 'deleted') {
      signal.throwIfAborted()
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    assert.deepEqual(memory.imageIds, [])
  })
})
