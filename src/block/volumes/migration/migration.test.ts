import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { MiB } from '../../../kernel/bytes.ts'
import { uncancelled } from '../../../kernel/call.ts'
import { onEachEngine } from '../../../kernel/db/testing.ts'
import { BackendError } from '../../../kernel/errors.ts'
import { startTestBlock, type TestBlock } from '../../testing.ts'
import type { BackendVolume } from '../../volume-driver.ts'
import { MemoryVolumeDriver } from '../../volume-drivers/memory.ts'

const config = {
  DEFAULT: { enabled_backends: 'first,second' },
  first: { volume_driver: 'memory' },
  second: { volume_driver: 'memory' },
}

const facts = (id: string): BackendVolume => ({
  id,
  name: `volume-${id}`,
  sizeBytes: 1024 * MiB,
  projectId: '',
  type: undefined,
  metadata: {},
  providerLocation: undefined,
})

/** A volume on the first backend, with bytes that can be recognised. */
async function filledVolume(block: TestBlock): Promise<{ id: string; bytes: Uint8Array }> {
  const body = { volume: { size: 1, volume_type: 'first' } }
  const answer = await block.request('member', 'POST', '/volumes', { body })
  assert.equal(answer.status, 202, answer.text)
  await block.idle()
  const { id } = answer.body.volume
  const bytes = randomBytes(MiB)
  await using device = await block.driver.open(facts(id), 'rw', uncancelled())
  await device.write(64 * MiB, bytes, uncancelled())
  return { id, bytes }
}

async function bytesOn(driver: MemoryVolumeDriver, id: string): Promise<Uint8Array> {
  await using device = await driver.open(facts(id), 'r', uncancelled())
  const read = new Uint8Array(MiB)
  await device.read(64 * MiB, read, uncancelled())
  return read
}

const act = async (block: TestBlock, token: 'admin' | 'member', id: string, body: object) =>
  (await block.request(token, 'POST', `/volumes/${id}/action`, { body, version: '3.60' })).status

const shown = async (block: TestBlock, id: string) =>
  (await block.request('admin', 'GET', `/volumes/${id}`, { version: '3.60' })).body.volume

onEachEngine((engine) => {
  test(`a volume migrates with its bytes and keeps its id, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine, { config })
    const { id, bytes } = await filledVolume(block)
    const migrate = (host: string) => ({ 'os-migrate_volume': { host } })
    assert.equal(await act(block, 'member', id, migrate('node@second#second')), 403)
    assert.equal(await act(block, 'admin', id, migrate('node@nowhere#x')), 400)
    assert.equal(await act(block, 'admin', id, migrate('node@first#first')), 400)
    // the type demands the first backend
    assert.equal(await act(block, 'admin', id, migrate('node@second#second')), 202)
    await block.idle()
    assert.equal((await shown(block, id)).migration_status, 'error')
    assert.equal((await shown(block, id)).status, 'available')

    const types = (await block.request('admin', 'GET', '/types')).body.volume_types
    const anywhere = types.find((type: { name: string }) => type.name === '__DEFAULT__').name
    assert.equal(await act(block, 'member', id, { 'os-retype': { new_type: anywhere } }), 202)
    await block.idle()
    assert.equal((await shown(block, id)).volume_type, anywhere)
    const locked = { 'os-migrate_volume': { host: 'node@second#second', lock_volume: true } }
    assert.equal(await act(block, 'admin', id, locked), 202)
    await block.idle()
    const after = await shown(block, id)
    assert.equal(after.migration_status, 'success')
    assert.equal(after.status, 'available')
    assert.equal(after['os-vol-host-attr:host'], 'node@second#second')
    const [first, second] = block.drivers
    assert.ok(first && second)
    assert.deepEqual(first.ids, [])
    const kept = after['os-vol-mig-status-attr:name_id'] ?? id
    assert.deepEqual(second.ids, [kept])
    assert.deepEqual(await bytesOn(second, kept), new Uint8Array(bytes))
    const list = await block.request('admin', 'GET', '/volumes?all_tenants=1')
    assert.equal(list.body.volumes.length, 1)
    assert.equal((await block.request('member', 'DELETE', `/volumes/${id}`)).status, 202)
    await block.idle()
    assert.deepEqual(second.ids, [])
  })

  test(`a retype moves bytes only when it may, and there and back, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine, { config })
    const { id, bytes } = await filledVolume(block)
    const retype = (new_type: string, migration_policy: string) => ({
      'os-retype': { new_type, migration_policy },
    })
    assert.equal(await act(block, 'member', id, retype('second', 'sometimes')), 400)
    assert.equal(await act(block, 'member', id, retype('first', 'never')), 400)
    assert.equal(await act(block, 'member', id, retype('nothing', 'never')), 404)
    const copy = { volume: { source_volid: id, volume_type: 'second' } }
    assert.equal((await block.request('member', 'POST', '/volumes', { body: copy })).status, 400)
    assert.equal(await act(block, 'member', id, retype('second', 'never')), 202)
    await block.idle()
    const refused = await shown(block, id)
    assert.deepEqual(
      [refused.volume_type, refused.status, refused.migration_status],
      ['first', 'available', null],
    )

    for (const type of ['second', 'first']) {
      assert.equal(await act(block, 'member', id, retype(type, 'on-demand')), 202)
      await block.idle()
      const after = await shown(block, id)
      assert.deepEqual(
        [after.volume_type, after.status, after.migration_status],
        [type, 'available', 'success'],
      )
      assert.equal(after['os-vol-host-attr:host'], `node@${type}#${type}`)
    }
    const last = (await shown(block, id))['os-vol-mig-status-attr:name_id'] ?? id
    assert.deepEqual(
      block.drivers.map((driver) => driver.ids),
      [[last], []],
    )
    assert.deepEqual(await bytesOn(block.driver, last), new Uint8Array(bytes))
  })

  test(`a migration that fails leaves nothing behind, on ${engine.name}`, async () => {
    class Broken extends MemoryVolumeDriver {
      override open(...args: Parameters<MemoryVolumeDriver['open']>): ReturnType<MemoryVolumeDriver['open']> {
        if (args[1] === 'r') return Promise.reject(new BackendError('cannot be read', { left: 'nothing' }))
        return super.open(...args)
      }
    }
    const driver = new Broken({ poolName: 'first', capacityBytes: 1024 ** 5 })
    await using block = await startTestBlock(engine, { config, driver })
    const { id } = await filledVolume(block)
    const body = { 'os-retype': { new_type: 'second', migration_policy: 'on-demand' } }
    assert.equal(await act(block, 'member', id, body), 202)
    await block.idle()
    const after = await shown(block, id)
    assert.deepEqual(
      [after.volume_type, after.status, after.migration_status],
      ['first', 'available', 'error'],
    )
    assert.deepEqual(
      block.drivers.map((one) => one.ids),
      [[id], []],
    )
    const { volumes } = (await block.request('admin', 'GET', '/volumes?all_tenants=1')).body
    assert.equal(volumes.length, 1)
  })
})
