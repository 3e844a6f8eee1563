import assert from 'node:assert/strict'
import { Writable } from 'node:stream'
import { test } from 'node:test'
import { openDatabase } from '../kernel/db/database.ts'
import { migrate } from '../kernel/db/migrate.ts'
import { jobMigrations } from '../kernel/jobs/migrations.ts'
import { createLogger } from '../kernel/log.ts'
import type { ImageTables } from './db/tables.ts'
import { startTestService } from './testing.ts'

test('the log is told what happens to images and members, but for what is disabled', async () => {
  const events: string[] = []
  const sink = new Writable({
    write(chunk, _encoding, done) {
      for (const line of String(chunk)
        .split('\n')
        .filter((text) => text !== '')) {
        const { eventType, payload } = JSON.parse(line) as {
          eventType?: string
          payload?: { locations?: unknown }
        }
        if (eventType === undefined) continue
        events.push(eventType)
        assert.equal(payload?.locations, undefined, 'where data lies is nobody’s business')
      }
      done()
    },
  })
  await using database = await openDatabase<ImageTables>('sqlite://')
  await migrate(database.kysely, 'jobs', jobMigrations)
  await using service = await startTestService(database, {
    log: createLogger({ name: 'test' }, sink),
    conf: '[DEFAULT]\ndisabled_notifications = image.prepare\n[oslo_messaging_notifications]\ndriver = log\n',
  })
  const body = { disk_format: 'raw', container_format: 'bare' }
  const { id } = (await service.call('alice', 'POST', '/v2/images', body)).json<{ id: string }>()
  const octets = { 'content-type': 'application/octet-stream' }
  await service.call('alice', 'PUT', `/v2/images/${id}/file`, 'data', octets)
  await service.call('alice', 'GET', `/v2/images/${id}/file`)
  await service.call('alice', 'POST', `/v2/images/${id}/members`, { member: 'project-b' })
  await service.call('bob', 'PUT', `/v2/images/${id}/members/project-b`, { status: 'accepted' })
  await service.call('alice', 'DELETE', `/v2/images/${id}/members/project-b`)
  await service.call('alice', 'DELETE', `/v2/images/${id}`)
  assert.deepEqual(events, [
    'image.create',
    'image.upload',
    'image.activate',
    'image.send',
    'image.member.create',
    'image.member.update',
    'image.member.delete',
    'image.delete',
  ])
})
