import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { GiB } from '../../kernel/bytes.ts'
import { onEachEngine } from '../../kernel/db/testing.ts'
import { BackendError } from '../../kernel/errors.ts'
import { jobMigrations } from '../../kernel/jobs/migrations.ts'
import { blockMigrations } from '../db/migrations.ts'
import type { Tables } from '../db/tables.ts'
import { startTestBlock, type TestBlock } from '../testing.ts'
import { MemoryVolumeDriver } from '../volume-drivers/memory.ts'

const version = '3.60'
const connector = { initiator: 'iqn.2026-01.example:one', host: 'one', ip: '127.0.0.1', platform: 'x86_64' }

async function makeVolume(block: TestBlock, more: object = {}): Promise<string> {
  const answer = await block.request('member', 'POST', '/volumes', { body: { volume: { size: 1, ...more } } })
  assert.equal(answer.status, 202, answer.text)
  await block.idle()
  return answer.body.volume.id
}

const statusOf = async (block: TestBlock, id: string) =>
  (await block.request('admin', 'GET', `/volumes/${id}`)).body.volume.status

onEachEngine((engine) => {
  test(`an attachment is reserved, connected, completed and deleted, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const volumeId = await makeVolume(block)
    const instance = randomUUID()
    const attachment = { volume_uuid: volumeId, instance_uuid: instance }
    const created = await block.request('member', 'POST', '/attachments', { body: { attachment }, version })
    assert.equal(created.status, 200, created.text)
    const { id } = created.body.attachment
    assert.deepEqual(created.body.attachment, {
      id,
      status: 'reserved',
      instance,
      volume_id: volumeId,
      attached_at: '',
      detached_at: '',
      attach_mode: 'null',
      connection_info: {},
    })
    assert.equal(await statusOf(block, volumeId), 'reserved')
    const path = `/attachments/${id}`
    const empty = { body: { attachment: { connector: {} } }, version }
    assert.equal((await block.request('member', 'PUT', path, empty)).status, 400)
    const update = { body: { attachment: { connector } }, version }
    const updated = await block.request('member', 'PUT', path, update)
    assert.equal(updated.status, 200, updated.text)
    const info = updated.body.attachment.connection_info
    assert.equal(info.driver_volume_type, 'memory')
    assert.equal(info.attachment_id, id)
    assert.equal(info.access_mode, 'rw')
    assert.equal(info.qos_specs, null)
    assert.ok(block.driver.isAttached(volumeId, connector))
    assert.equal(await statusOf(block, volumeId), 'attaching')
    const complete = { body: { 'os-complete': {} }, version }
    assert.equal((await block.request('member', 'POST', `${path}/action`, complete)).status, 204)
    assert.equal((await block.request('member', 'POST', `${path}/action`, complete)).status, 204)
    assert.equal(await statusOf(block, volumeId), 'in-use')
    const { volume } = (await block.request('admin', 'GET', `/volumes/${volumeId}`)).body
    assert.equal(volume.attachments[0].attachment_id, id)
    assert.equal(volume.attachments[0].host_name, 'one')
    const second = await block.request('member', 'POST', '/attachments', {
      body: { attachment: { volume_uuid: volumeId, instance_uuid: randomUUID() } },
      version,
    })
    assert.equal(second.status, 400)
    const listed = await block.request('member', 'GET', `/attachments?volume_id=${volumeId}`, { version })
    assert.deepEqual(listed.body.attachments, [{ id, status: 'attached', instance, volume_id: volumeId }])
    assert.equal((await block.request('stranger', 'GET', path, { version })).status, 404)
    const deleted = await block.request('member', 'DELETE', path, { version })
    assert.deepEqual(deleted.body, { attachments: [] })
    assert.equal(await statusOf(block, volumeId), 'available')
    assert.equal(block.driver.isAttached(volumeId, connector), false)
    assert.equal((await block.request('member', 'GET', path, { version })).status, 404)
  })

  test(`an attachment with a connector is connected at once, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const volumeId = await makeVolume(block)
    const body = { attachment: { volume_uuid: volumeId, connector, mode: 'ro' } }
    const created = await block.request('member', 'POST', '/attachments', { body, version })
    assert.equal(created.status, 200, created.text)
    assert.equal(created.body.attachment.status, 'attaching')
    assert.equal(created.body.attachment.attach_mode, 'ro')
    assert.equal(created.body.attachment.connection_info.access_mode, 'ro')
    const kept = await block.database.kysely
      .selectFrom('volume_attachments')
      .select('connection_info')
      .executeTakeFirstOrThrow()
    assert.match(String(kept.connection_info), /^v1:/, 'the connection is encrypted in the database')
    assert.equal(
      (await block.request('member', 'POST', '/attachments', { body, version: '3.26' })).status,
      404,
    )
    assert.equal(
      (await block.request('member', 'POST', '/attachments', { body, version: '3.53' })).status,
      400,
    )
    const refused = { attachment: { volume_uuid: 'x' } }
    assert.equal(
      (await block.request('member', 'POST', '/attachments', { body: refused, version })).status,
      400,
    )
    const missing = { attachment: { volume_uuid: randomUUID() } }
    assert.equal(
      (await block.request('member', 'POST', '/attachments', { body: missing, version })).status,
      404,
    )
  })

  test(`a connector that the backend cannot use undoes the attachment, on ${engine.name}`, async () => {
    class Picky extends MemoryVolumeDriver {
      override async attach(): Promise<never> {
        throw new BackendError('No path to the array.', { left: 'nothing' })
      }
    }
    const driver = new Picky({ poolName: 'first', capacityBytes: 100 * GiB })
    await using block = await startTestBlock(engine, { driver })
    const volumeId = await makeVolume(block)
    const body = { attachment: { volume_uuid: volumeId, connector } }
    const answer = await block.request('member', 'POST', '/attachments', { body, version })
    assert.equal(answer.status, 500)
    assert.doesNotMatch(answer.text, /No path/)
    assert.equal(await statusOf(block, volumeId), 'available')
    const { attachments } = (await block.request('member', 'GET', '/attachments', { version })).body
    assert.deepEqual(attachments, [])
  })

  test(`a multiattach volume has several attachments; hosts stay until their last one goes, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const type = { volume_type: { name: 'shared', extra_specs: { multiattach: '<is> True' } } }
    assert.equal((await block.request('admin', 'POST', '/types', { body: type })).status, 200)
    const volumeId = await makeVolume(block, { volume_type: 'shared' })
    const attach = async () => {
      const body = { attachment: { volume_uuid: volumeId, instance_uuid: randomUUID(), connector } }
      const answer = await block.request('member', 'POST', '/attachments', { body, version })
      assert.equal(answer.status, 200, answer.text)
      return answer.body.attachment.id as string
    }
    const [first, second] = [await attach(), await attach()]
    await block.request('member', 'DELETE', `/attachments/${first}`, { version })
    assert.ok(block.driver.isAttached(volumeId, connector), 'the other attachment is of the same host')
    await block.request('member', 'DELETE', `/attachments/${second}`, { version })
    assert.equal(block.driver.isAttached(volumeId, connector), false)
  })

  test(`an attachment that a dead process left half-made is a reservation again, on ${engine.name}`, async (t) => {
    if (engine.name !== 'SQLite') return t.skip('several processes may share PostgreSQL')
    await using database = await engine.open<Tables>({ jobs: jobMigrations, block: blockMigrations })
    const driver = new MemoryVolumeDriver({ poolName: 'first', capacityBytes: 100 * GiB })
    let path: string
    let volumeId: string
    {
      await using dying = await startTestBlock(engine, { database, driver })
      volumeId = await makeVolume(dying)
      const body = { attachment: { volume_uuid: volumeId, connector } }
      const created = await dying.request('member', 'POST', '/attachments', { body, version })
      path = `/attachments/${created.body.attachment.id}`
      await database.kysely.updateTable('volume_attachments').set({ connection_info: null }).execute()
    }
    await using block = await startTestBlock(engine, { database, driver })
    const shown = await block.request('member', 'GET', path, { version })
    assert.equal(shown.body.attachment.status, 'reserved')
    assert.equal(await statusOf(block, volumeId), 'reserved')
    assert.equal((await block.request('member', 'DELETE', path, { version })).status, 200)
    assert.equal(driver.isAttached(volumeId, connector), false)
  })
})
