import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { onEachEngine, testEngines } from '../../kernel/db/testing.ts'
import { silentLogger } from '../../kernel/log.ts'
import { Webhook } from '../../kernel/notifications/webhook.ts'
import { defineBackupDriver } from '../backup-driver.ts'
import { chunkedBackupDriver } from '../backup-drivers/chunked/chunked.ts'
import { MemoryBlobStore } from '../backup-drivers/memory.ts'
import { startTestBlock } from '../testing.ts'

interface Told {
  readonly event_type: string
  readonly publisher_id: string
  readonly payload: Readonly<Record<string, unknown>>
}

/** A receiver that refuses the first `refusals` requests. */
async function receiver(refusals = 0) {
  const received: Told[] = []
  let left = refusals
  const server = createServer(async (request, response) => {
    const body = await text(request)
    if (left-- > 0) return void response.writeHead(503).end()
    received.push(JSON.parse(body) as Told)
    response.writeHead(204).end()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const until = async (count: number) => {
    const deadline = Date.now() + 60_000
    while (received.length < count) {
      assert.ok(Date.now() < deadline, `${received.length} of ${count} notifications came`)
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    return received
  }
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`,
    until,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
    },
  }
}

onEachEngine((engine) => {
  test(`a webhook is told what happens to volumes and snapshots, on ${engine.name}`, async () => {
    await using hook = await receiver()
    await using block = await startTestBlock(engine, {
      config: {
        DEFAULT: { enabled_backends: 'first' },
        first: { volume_driver: 'memory' },
        oslo_messaging_notifications: { driver: 'webhook', webhook_url: hook.url },
      },
    })
    const act = async (method: 'POST' | 'PUT' | 'DELETE', path: string, body?: object, version = '3.60') => {
      const answer = await block.request('admin', method, path, { body, version })
      assert.ok(answer.status < 300, answer.text)
      await block.idle()
      return answer.body
    }
    const { volume } = await act('POST', '/volumes', { volume: { size: 1, name: 'disk' } })
    await act('PUT', `/volumes/${volume.id}`, { volume: { name: 'other' } })
    await act('POST', `/volumes/${volume.id}/action`, { 'os-extend': { new_size: 2 } })
    const { snapshot } = await act('POST', '/snapshots', { snapshot: { volume_id: volume.id } })
    await act('DELETE', `/snapshots/${snapshot.id}`)
    const { transfer } = await act('POST', '/volume-transfers', { transfer: { volume_id: volume.id } })
    await act('DELETE', `/volume-transfers/${transfer.id}`)
    assert.equal((await block.request('admin', 'PUT', `/volumes/${volume.id}`, { body: {} })).status, 400)
    await act('DELETE', `/volumes/${volume.id}`)
    const told = await hook.until(16)
    const pair = (event: string) => [`${event}.start`, `${event}.end`]
    assert.deepEqual(
      told.map((one) => one.event_type),
      [
        ...pair('volume.create'),
        ...pair('volume.update'),
        ...pair('volume.resize'),
        ...pair('snapshot.create'),
        ...pair('snapshot.delete'),
        ...pair('volume.transfer.create'),
        ...pair('volume.transfer.delete'),
        ...pair('volume.delete'),
      ],
    )
    const [start, end] = told
    assert.equal(start?.payload['status'], 'creating')
    assert.equal(end?.payload['status'], 'available')
    assert.equal(end?.payload['volume_id'], volume.id)
    assert.equal(end?.publisher_id, 'volume.node@first')
    assert.equal(told[5]?.payload['size'], 2)
    assert.equal(told.at(-1)?.payload['status'], 'deleted')
  })
})

test('a backup on the array tells how far it is by the clock, when backup_datera_progress_timer says so', async () => {
  await using hook = await receiver()
  const [engine] = testEngines().engines
  assert.ok(engine)
  const store = new MemoryBlobStore({ chunkBytes: 16 * 1024 ** 2, blockBytes: 1024 ** 2 })
  const open = store.open.bind(store)
  // the backup does not go on before the clock has told of it: two notifications, after that of the start
  store.open = async (place) => {
    const container = await open(place)
    const put: typeof container.put = async (name, data, call) => {
      await hook.until(3)
      await container.put(name, data, call)
    }
    return { ...container, put }
  }
  const settings = { compression: 'zlib', encryptionKeyFile: undefined } as const
  const create = () => chunkedBackupDriver(store, settings)
  await using block = await startTestBlock(engine, {
    config: {
      DEFAULT: {
        enabled_backends: 'first',
        disabled_notifications: 'volume',
        backup_driver: 'datera',
        backup_datera_progress_timer: 'true',
        backup_timer_interval: '1',
        backup_object_number_per_notification: '1000',
      },
      first: { volume_driver: 'memory' },
      oslo_messaging_notifications: { driver: 'webhook', webhook_url: hook.url },
    },
    backupDrivers: [defineBackupDriver({ name: 'datera', aliases: [], options: {}, create })],
  })
  const made = await block.request('member', 'POST', '/volumes', { body: { volume: { size: 1 } } })
  await block.idle()
  const body = { backup: { volume_id: made.body.volume.id } }
  const { id } = (await block.request('member', 'POST', '/backups', { body })).body.backup
  await block.idle()
  let told = await hook.until(5)
  while (told.at(-1)?.event_type !== 'backup.create.end') told = await hook.until(told.length + 1)
  const percents = told.flatMap(({ event_type: event, payload }) =>
    event === 'backup.createprogress' ? [payload['backup_percent']] : [],
  )
  assert.equal(told[0]?.event_type, 'backup.create.start')
  assert.equal(percents.at(-1), 100)
  assert.equal(percents[0], 0)
  assert.ok(told.every(({ payload }) => payload['backup_id'] === id))
})

test('groups, their snapshots, types and QoS specs are told of', async () => {
  await using hook = await receiver()
  const [engine] = testEngines().engines
  assert.ok(engine)
  await using block = await startTestBlock(engine, {
    config: {
      DEFAULT: { enabled_backends: 'first', disabled_notifications: 'volume,snapshot' },
      first: { volume_driver: 'memory' },
      oslo_messaging_notifications: { driver: 'webhook', webhook_url: hook.url },
    },
  })
  const act = async (method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: object) => {
    const answer = await block.request('admin', method, path, { body, version: '3.60' })
    assert.ok(answer.status < 300, answer.text)
    await block.idle()
    return answer.body
  }
  const { volume_type: type } = await act('POST', '/types', { volume_type: { name: 'gold' } })
  await act('POST', `/types/${type.id}/extra_specs`, { extra_specs: { a: '1' } })
  await act('DELETE', `/types/${type.id}/extra_specs/a`)
  const { qos_specs: qos } = await act('POST', '/qos-specs', { qos_specs: { name: 'fast', limit: '5' } })
  await act('GET', `/qos-specs/${qos.id}/associate?vol_type_id=${type.id}`)
  await act('GET', `/qos-specs/${qos.id}/disassociate_all`)
  await act('DELETE', `/qos-specs/${qos.id}`)
  await act('POST', '/group_types', { group_type: { name: 'plain' } })
  const { group } = await act('POST', '/groups', { group: { group_type: 'plain', volume_types: [type.id] } })
  await act('POST', '/volumes', { volume: { size: 1, volume_type: type.id, group_id: group.id } })
  const { group_snapshot: snapshot } = await act('POST', '/group_snapshots', {
    group_snapshot: { group_id: group.id },
  })
  const from = { group_snapshot_id: snapshot.id }
  const { group: copy } = await act('POST', '/groups/action', { 'create-from-src': from })
  await act('DELETE', `/group_snapshots/${snapshot.id}`)
  for (const { id } of [group, copy]) {
    await act('POST', `/groups/${id}/action`, { delete: { 'delete-volumes': true } })
  }
  await act('DELETE', `/types/${type.id}`)
  const told = await hook.until(20)
  const pair = (event: string) => [`${event}.start`, `${event}.end`]
  assert.deepEqual(
    told.map((one) => one.event_type),
    [
      'volume_type.create',
      'volume_type_extra_specs.create',
      'volume_type_extra_specs.delete',
      'qos_specs.create',
      'qos_specs.associate',
      'qos_specs.disassociate_all',
      'qos_specs.delete',
      ...pair('group.create'),
      ...pair('group_snapshot.create'),
      ...pair('group.create'),
      ...pair('group_snapshot.delete'),
      ...pair('group.delete'),
      ...pair('group.delete'),
      'volume_type.delete',
    ],
  )
  assert.equal(told[0]?.publisher_id, 'volumeType.node')
  assert.deepEqual(told[4]?.payload, { id: qos.id, type_id: type.id })
  const taken = told[10]
  assert.equal(taken?.publisher_id, 'group_snapshot.node@first')
  assert.equal(taken?.payload['status'], 'available')
  assert.equal(taken?.payload['group_snapshot_id'], snapshot.id)
})

test('a webhook that refuses is asked again, and one that is away holds up nobody', async () => {
  await using hook = await receiver(2)
  await using webhook = new Webhook(hook.url, silentLogger(), 1)
  webhook.enqueue({ event_type: 'first' })
  webhook.enqueue({ event_type: 'second' })
  const told = await hook.until(2)
  assert.deepEqual(
    told.map((one) => one.event_type),
    ['first', 'second'],
  )
  await using nobody = new Webhook('http://127.0.0.1:1/', silentLogger(), 60_000)
  for (let i = 0; i < 5_000; i++) nobody.enqueue({ i }) // returns at once, and disposing waits for none of it
})
