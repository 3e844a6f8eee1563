import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { readBytes } from '@emberglass/iscsi/device'
import { GiB, MiB } from '../../kernel/bytes.ts'
import { uncancelled } from '../../kernel/call.ts'
import { onEachEngine } from '../../kernel/db/testing.ts'
import { BackendError } from '../../kernel/errors.ts'
import { defineBackupDriver } from '../backup-driver.ts'
import { chunkedBackupDriver } from '../backup-drivers/chunked/chunked.ts'
import { MemoryBlobStore } from '../backup-drivers/memory.ts'
import { startTestBlock, type TestBlock } from '../testing.ts'
import type { BackendVolume } from '../volume-driver.ts'

const call = uncancelled()
const settings = { compression: 'zlib', encryptionKeyFile: undefined } as const
const blobs = () => new MemoryBlobStore({ chunkBytes: 16 * MiB, blockBytes: 64 * 1024 })

/** Drivers that tests look into; `primary` goes by the Datera driver's name, so that names dispatch. */
function drivers(stores: Readonly<Record<string, MemoryBlobStore>>) {
  return Object.entries(stores).map(([name, store]) =>
    defineBackupDriver({
      name,
      aliases: [`cinder.backup.drivers.${name}.BackupDriver`, `cinder.backup.drivers.${name}`],
      options: {},
      create: () => chunkedBackupDriver(store, settings),
    }),
  )
}

function configOf(more: Record<string, string> = {}) {
  return { DEFAULT: { enabled_backends: 'first', ...more }, first: { volume_driver: 'memory' } }
}

const onMemory = (stores: { swift: MemoryBlobStore }, more: Record<string, string> = {}) => ({
  config: configOf({ backup_driver: 'swift', ...more }),
  backupDrivers: drivers(stores),
})

function facts(id: string): BackendVolume {
  return {
    id,
    name: id,
    sizeBytes: GiB,
    projectId: '',
    type: undefined,
    metadata: {},
    providerLocation: undefined,
  }
}

async function write(block: TestBlock, id: string, offset: number, data: Uint8Array): Promise<void> {
  await using device = await block.driver.open(facts(id), 'rw', call)
  await device.write(offset, data, call)
}

async function contents(block: TestBlock, id: string): Promise<Buffer> {
  await using device = await block.driver.open(facts(id), 'r', call)
  return Buffer.from(await readBytes(device, 0, 8 * MiB, call))
}

async function made(block: TestBlock, path: string, key: string, body: object, version?: string) {
  const answer = await block.request('member', 'POST', path, {
    body: { [key]: body },
    ...(version && { version }),
  })
  assert.ok([200, 201, 202].includes(answer.status), answer.text)
  await block.idle()
  return answer.body[key]
}

async function makeVolume(block: TestBlock, volume: object = { size: 1 }): Promise<string> {
  return (await made(block, '/volumes', 'volume', volume)).id
}

const shown = async (block: TestBlock, path: string, version = '3.64') => {
  const answer = await block.request('admin', 'GET', path, { version })
  return answer.body?.backup ?? answer.body?.volume ?? answer
}

onEachEngine((engine) => {
  test(`a backup is made, shown, listed, renamed, restored three ways and deleted, on ${engine.name}`, async () => {
    const store = blobs()
    await using block = await startTestBlock(engine, onMemory({ swift: store }))
    const volumeId = await makeVolume(block, { size: 1, name: 'source', metadata: { a: '1' } })
    const data = randomBytes(3 * MiB)
    await write(block, volumeId, MiB, data)
    const created = await made(block, '/backups', 'backup', {
      volume_id: volumeId,
      name: 'b',
      container: 'box',
    })
    assert.deepEqual(Object.keys(created).sort(), ['id', 'links', 'name'])
    const { id } = created
    const backup = await shown(block, `/backups/${id}`)
    assert.equal(backup.status, 'available', backup.fail_reason)
    assert.equal(backup.container, 'box')
    assert.equal(backup.object_count, 64)
    assert.equal(backup.is_incremental, false)
    assert.equal(backup.data_timestamp, backup.created_at)
    assert.equal((await shown(block, `/volumes/${volumeId}`)).status, 'available')
    const plain = (await block.request('member', 'GET', `/backups/${id}`)).body.backup
    assert.equal(plain.metadata, undefined)
    assert.equal(plain['os-backup-project-attr:project_id'], undefined)
    const { progress } = (await block.request('member', 'GET', `/backups/${id}/progress`)).body
    assert.equal(progress.percent, 100)
    assert.equal(progress.operation, 'backup')

    const list = await block.request(
      'member',
      'GET',
      `/backups/detail?volume_id=${volumeId}&status=available`,
    )
    assert.equal(list.body.backups.length, 1)
    const page = await block.request('member', 'GET', '/backups?limit=1&sort=name:asc&with_count=true', {
      version: '3.45',
    })
    assert.equal(page.body.count, 1)
    const put = { backup: { name: 'c', metadata: { k: 'v' } } }
    const path = `/backups/${id}`
    assert.equal((await block.request('member', 'PUT', path, { body: put, version: '3.43' })).status, 200)
    assert.equal((await block.request('member', 'PUT', path, { body: put, version: '3.8' })).status, 404)
    const none = { body: { backup: {} }, version: '3.9' }
    assert.equal((await block.request('member', 'PUT', path, none)).status, 400)
    assert.deepEqual((await shown(block, path)).metadata, { k: 'v' })

    const fresh = await made(block, `${path}/restore`, 'restore', {})
    assert.equal(fresh.volume_name, `restore_backup_${id}`)
    const target = await makeVolume(block, { size: 2, name: 'target' })
    await write(block, target, 0, randomBytes(8 * MiB))
    await made(block, `${path}/restore`, 'restore', { volume_id: target })
    const direct = await made(block, '/volumes', 'volume', { backup_id: id, size: 2 }, '3.47')
    const expected = await contents(block, volumeId)
    for (const volume of [fresh.volume_id, target, direct.id]) {
      const after = await shown(block, `/volumes/${volume}`)
      assert.equal(after.status, 'available')
      assert.deepEqual(after.metadata, { a: '1', src_backup_id: id })
      assert.ok((await contents(block, volume)).equals(expected))
    }
    assert.equal((await shown(block, `/volumes/${fresh.volume_id}`)).name, 'source')
    assert.equal((await shown(block, `/volumes/${target}`)).name, 'target')
    assert.equal((await shown(block, path)).status, 'available')

    assert.equal((await block.request('stranger', 'GET', path)).status, 404)
    assert.equal((await block.request('reader', 'DELETE', path)).status, 403)
    assert.equal((await block.request('member', 'DELETE', path)).status, 202)
    await block.idle()
    assert.equal((await block.request('member', 'GET', path)).status, 404)
    assert.deepEqual([...store.blobs.keys()], [])
  })

  test(`increments follow the project's newest backup, of snapshots too, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine, onMemory({ swift: blobs() }))
    const volumeId = await makeVolume(block)
    const create = async (more: object, token: 'member' | 'admin' | 'stranger' = 'member') => {
      const body = { backup: { volume_id: volumeId, ...more } }
      const answer = await block.request(token, 'POST', '/backups', { body })
      await block.idle()
      return answer
    }
    assert.equal((await create({ incremental: true })).status, 400)
    assert.equal((await create({}, 'stranger')).status, 404)
    const { id: full } = (await create({})).body.backup
    await write(block, volumeId, 0, randomBytes(4096))
    const snapshot = await made(block, '/snapshots', 'snapshot', { volume_id: volumeId })
    await write(block, volumeId, 4096, randomBytes(4096))
    const { id: later } = (await create({ incremental: true })).body.backup
    const answer = await create({ incremental: 'yes', snapshot_id: snapshot.id })
    const ofSnapshot = await shown(block, `/backups/${answer.body.backup.id}`)
    assert.equal(ofSnapshot.status, 'available', ofSnapshot.fail_reason)
    assert.equal(ofSnapshot.snapshot_id, snapshot.id)
    const rows = await block.database.kysely.selectFrom('backups').select(['id', 'parent_id']).execute()
    const parentOf = new Map(rows.map((row) => [row.id, row.parent_id]))
    assert.equal(parentOf.get(later), full)
    assert.equal(parentOf.get(ofSnapshot.id), full)
    assert.equal((await shown(block, `/backups/${full}`)).has_dependent_backups, true)
    assert.equal((await block.request('member', 'DELETE', `/backups/${full}`)).status, 400)
    const restored = await made(block, `/backups/${later}/restore`, 'restore', {})
    assert.ok((await contents(block, restored.volume_id)).equals(await contents(block, volumeId)))
    const old = await made(block, `/backups/${ofSnapshot.id}/restore`, 'restore', {})
    assert.ok(!(await contents(block, old.volume_id)).equals(await contents(block, volumeId)))
    const { snapshot: after } = (await block.request('member', 'GET', `/snapshots/${snapshot.id}`)).body
    assert.equal(after.status, 'available')
    assert.equal(block.driver.ids.length, 4, 'no temporary volume is left')
  })

  test(`a volume in use needs force, and is in use afterwards, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine, onMemory({ swift: blobs() }))
    const volumeId = await makeVolume(block)
    const attach = { 'os-attach': { host_name: 'h', mountpoint: '/dev/vdb' } }
    await block.request('member', 'POST', `/volumes/${volumeId}/action`, { body: attach })
    const body = (force: unknown) => ({ body: { backup: { volume_id: volumeId, force } } })
    assert.equal((await block.request('member', 'POST', '/backups', body(false))).status, 400)
    assert.equal((await block.request('member', 'POST', '/backups', body('perhaps'))).status, 400)
    const answer = await block.request('member', 'POST', '/backups', body(true))
    assert.equal(answer.status, 202)
    assert.equal((await shown(block, `/volumes/${volumeId}`)).status, 'backing-up')
    await block.idle()
    assert.equal((await shown(block, `/backups/${answer.body.backup.id}`)).status, 'available')
    assert.equal((await shown(block, `/volumes/${volumeId}`)).status, 'in-use')
    assert.deepEqual(block.driver.ids, [volumeId])
  })

  test(`records go to another installation with the same target, on ${engine.name}`, async () => {
    const store = blobs()
    await using here = await startTestBlock(engine, onMemory({ swift: store }))
    await using there = await startTestBlock(engine, onMemory({ swift: store }))
    const volumeId = await makeVolume(here)
    await write(here, volumeId, 0, randomBytes(MiB))
    const { id } = await made(here, '/backups', 'backup', { volume_id: volumeId, name: 'n' })
    const path = `/backups/${id}/export_record`
    assert.equal((await here.request('member', 'GET', path)).status, 403)
    const record = (await here.request('admin', 'GET', path)).body['backup-record']
    assert.equal(record.backup_service, 'cinder.backup.drivers.swift.BackupDriver')
    const bring = (body: object) =>
      there.request('admin', 'POST', '/backups/import_record', { body: { 'backup-record': body } })
    for (const url of [
      '%%%',
      Buffer.from('no json').toString('base64'),
      Buffer.from('{}').toString('base64'),
    ]) {
      assert.equal((await bring({ ...record, backup_url: url })).status, 400, url)
    }
    const imported = await bring(record)
    assert.equal(imported.status, 201, imported.text)
    await there.idle()
    assert.equal((await bring(record)).status, 400)
    const backup = await shown(there, `/backups/${id}`)
    assert.equal(backup.status, 'available', backup.fail_reason)
    assert.equal(backup.volume_id, volumeId)
    const restored = await made(there, `/backups/${id}/restore`, 'restore', {})
    assert.ok((await contents(there, restored.volume_id)).equals(await contents(here, volumeId)))
    // a record whose data is nowhere ends in error
    const other = JSON.parse(Buffer.from(record.backup_url, 'base64').toString())
    const lost = { ...other, id: randomUUID(), service_metadata: 'nothing' }
    await bring({ ...record, backup_url: Buffer.from(JSON.stringify(lost)).toString('base64') })
    await there.idle()
    assert.equal((await shown(there, `/backups/${lost.id}`)).status, 'error')
  })

  test(`quotas count backups and their size, on ${engine.name}`, async () => {
    const limits = { quota_backups: '1', quota_backup_gigabytes: '2' }
    await using block = await startTestBlock(engine, onMemory({ swift: blobs() }, limits))
    const small = await makeVolume(block)
    const large = await makeVolume(block, { size: 3 })
    const create = (volume_id: string) =>
      block.request('member', 'POST', '/backups', { body: { backup: { volume_id } } })
    const refused = await create(large)
    assert.equal(refused.status, 413)
    assert.match(refused.text, /Requested 3G, quota is 2G and 0G has been consumed/)
    assert.equal((await create(small)).status, 202)
    await block.idle()
    assert.match((await create(small)).text, /Maximum number of backups allowed \(1\) exceeded/)
    assert.equal((await shown(block, `/volumes/${large}`)).status, 'available')
  })

  test(`a damaged object fails the restore, names itself, and leaves no good volume, on ${engine.name}`, async () => {
    const store = blobs()
    await using block = await startTestBlock(engine, onMemory({ swift: store }))
    const volumeId = await makeVolume(block)
    await write(block, volumeId, 0, randomBytes(MiB))
    const { id } = await made(block, '/backups', 'backup', { volume_id: volumeId })
    const [name] = [...store.blobs.keys()].filter((key) => key.endsWith('-00001'))
    assert.ok(name !== undefined)
    const blob = store.blobs.get(name)
    assert.ok(blob !== undefined)
    blob[100] = (blob[100] ?? 0) ^ 1
    const verify = { body: { 'emberglass-verify': null } }
    assert.equal((await block.request('member', 'POST', `/backups/${id}/action`, verify)).status, 202)
    await block.idle()
    const { progress } = (await block.request('member', 'GET', `/backups/${id}/progress`)).body
    assert.match(progress.error, /-00001 .*is damaged/)
    const restored = await made(block, `/backups/${id}/restore`, 'restore', {})
    assert.equal((await shown(block, `/volumes/${restored.volume_id}`)).status, 'error_restoring')
    assert.equal((await shown(block, `/backups/${id}`)).status, 'available')
    const { messages } = (await block.request('member', 'GET', '/messages', { version: '3.3' })).body
    assert.equal(messages[0].event_id, 'VOLUME_VOLUME_BACKUP_015_026')
    assert.match(messages[0].user_message, /-00001/)
  })

  test(`what a process was doing when it died ends in error, and leaves nothing, on ${engine.name}`, async () => {
    const store = blobs()
    await using before = await startTestBlock(engine, { ...onMemory({ swift: store }), runJobs: false })
    const { database, driver } = before
    const again = () => startTestBlock(engine, { ...onMemory({ swift: store }), database, driver })
    let volumeId = ''
    let backupId = ''
    {
      await using running = await again()
      volumeId = await makeVolume(running)
      backupId = (await made(running, '/backups', 'backup', { volume_id: volumeId })).id
    }
    const ask = async (path: string, body: object) => {
      const answer = await before.request('member', 'POST', path, { body })
      assert.equal(answer.status, 202, answer.text)
      // as a process leaves it that was killed in the middle
      await database.kysely
        .updateTable('jobs')
        .set({ state: '{"begun":true}', attempts: 1 })
        .where('run_at', 'is not', null)
        .execute()
      return answer.body
    }
    const { backup } = await ask('/backups', { backup: { volume_id: volumeId } })
    {
      await using running = await again()
      await running.idle()
      const failed = await shown(running, `/backups/${backup.id}`)
      assert.equal(failed.status, 'error')
      assert.match(failed.fail_reason, /stopped/)
      assert.equal((await shown(running, `/volumes/${volumeId}`)).status, 'available')
      assert.ok([...store.blobs.keys()].every((name) => name.includes(backupId)))
    }
    await ask(`/backups/${backupId}/restore`, { restore: { volume_id: volumeId } })
    await using last = await again()
    await last.idle()
    assert.equal((await shown(last, `/backups/${backupId}`)).status, 'available')
    assert.equal((await shown(last, `/volumes/${volumeId}`)).status, 'error_restoring')
  })

  test(`a running backup is cancelled by force, a running restore by a reset, on ${engine.name}`, async () => {
    const store = blobs()
    const gate = Promise.withResolvers<void>()
    const put = store.open.bind(store)
    let reached = () => {}
    const arrived = () => new Promise<void>((resolve) => (reached = resolve))
    store.open = async (place) => {
      const container = await put(place)
      const wait = async (signal: AbortSignal) => {
        reached()
        const aborted = new Promise<never>((_, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason), { once: true })
        })
        await Promise.race([gate.promise, aborted])
      }
      return {
        ...container,
        async put(name, data, putCall) {
          await wait(putCall.signal)
          await container.put(name, data, putCall)
        },
      }
    }
    await using block = await startTestBlock(engine, onMemory({ swift: store }))
    const volumeId = await makeVolume(block)
    const waiting = arrived()
    const answer = await block.request('member', 'POST', '/backups', {
      body: { backup: { volume_id: volumeId } },
    })
    const { id } = answer.body.backup
    await waiting
    assert.equal((await block.request('member', 'DELETE', `/backups/${id}`)).status, 400)
    const force = { body: { 'os-force_delete': {} } }
    assert.equal((await block.request('member', 'POST', `/backups/${id}/action`, force)).status, 403)
    assert.equal((await block.request('admin', 'POST', `/backups/${id}/action`, force)).status, 202)
    await block.idle()
    assert.equal((await block.request('member', 'GET', `/backups/${id}`)).status, 404)
    assert.equal((await shown(block, `/volumes/${volumeId}`)).status, 'available')
    assert.deepEqual([...store.blobs.keys()], [])
    gate.resolve()
  })

  test(`names choose among enabled drivers, and the recorded one stays, whatever the name becomes, on ${engine.name}`, async () => {
    const stores = { datera: blobs(), ceph: blobs(), swift: blobs() }
    const config = {
      backup_driver: 'cinder.backup.drivers.datera',
      backup_datera_secondary_backup_drivers: 'cinder.backup.drivers.ceph',
    }
    const options = { config: configOf(config), backupDrivers: drivers(stores) }
    await using block = await startTestBlock(engine, options)
    const volumeId = await makeVolume(block)
    const keptBy = () =>
      Object.entries(stores).flatMap(([key, { blobs: kept }]) => (kept.size > 0 ? [key] : []))
    for (const [name, expected] of [
      [null, 'datera'],
      ['datera_cassandra1_backup', 'datera'],
      ['ceph_hadoop1_backup', 'ceph'],
      ['CEPH_x', 'ceph'],
      ['nightly', 'datera'],
      ['my_ceph_backup', 'datera'],
      ['cephalopod', 'datera'],
    ] as const) {
      const { id } = await made(block, '/backups', 'backup', { volume_id: volumeId, name })
      assert.deepEqual(keptBy(), [expected], String(name))
      const rename = { body: { backup: { name: 'ceph_later' } }, version: '3.9' }
      await block.request('member', 'PUT', `/backups/${id}`, rename)
      const increment = {
        backup: { volume_id: volumeId, incremental: true, name: expected === 'ceph' ? 'datera_x' : 'ceph_x' },
      }
      assert.equal((await block.request('member', 'POST', '/backups', { body: increment })).status, 400)
      await made(block, `/backups/${id}/restore`, 'restore', { volume_id: volumeId })
      assert.equal((await shown(block, `/volumes/${volumeId}`)).status, 'available')
      const record = (await block.request('admin', 'GET', `/backups/${id}/export_record`)).body[
        'backup-record'
      ]
      assert.equal(record.backup_service, 'cinder.backup.drivers.datera.BackupDriver')
      assert.equal(JSON.parse(Buffer.from(record.backup_url, 'base64').toString()).handler, expected)
      await block.request('member', 'DELETE', `/backups/${id}`)
      await block.idle()
      assert.deepEqual(keptBy(), [])
    }
    // a driver that operators know and that is not enabled is not replaced by another one
    const { id } = await made(block, '/backups', 'backup', { volume_id: volumeId, name: 'swift_x' })
    const failed = await shown(block, `/backups/${id}`)
    assert.equal(failed.status, 'error')
    assert.match(failed.fail_reason, /swift.*enabled are: datera, ceph/)
    assert.equal((await shown(block, `/volumes/${volumeId}`)).status, 'available')
  })

  test(`a record that names no driver is looked for: by its service, on the array, by its name, on ${engine.name}`, async () => {
    const stores = { datera: blobs(), ceph: blobs(), swift: blobs() }
    const config = {
      backup_driver: 'datera',
      backup_datera_secondary_backup_drivers: 'ceph,cinder.backup.drivers.swift.BackupDriver',
    }
    const options = { config: configOf(config), backupDrivers: drivers(stores) }
    await using block = await startTestBlock(engine, options)
    const volumeId = await makeVolume(block)
    for (const [name, service, expected] of [
      ['ceph_x', 'cinder.backup.drivers.ceph.BackupDriver', 'ceph'],
      ['ceph_x', 'swift', 'swift'],
      ['ceph_x', 'a.module.of.somebody', 'datera'], // it is on the array, whatever it is called
      ['ceph_y', 'a.module.of.somebody', 'ceph'],
      ['nightly', 'a.module.of.somebody', 'datera'],
    ] as const) {
      const kept = name === 'ceph_y' ? 'ceph_x' : expected === 'datera' ? 'nightly' : `${expected}_x`
      const { id } = await made(block, '/backups', 'backup', { volume_id: volumeId, name: kept })
      const path = `/backups/${id}`
      const record = (await block.request('admin', 'GET', `${path}/export_record`)).body['backup-record']
      const { handler: _, ...told } = JSON.parse(Buffer.from(record.backup_url, 'base64').toString())
      const old = Buffer.from(JSON.stringify({ ...told, display_name: name, service })).toString('base64')
      await block.database.kysely.deleteFrom('backups').where('id', '=', id).execute()
      const body = { body: { 'backup-record': { backup_service: service, backup_url: old } } }
      assert.equal((await block.request('admin', 'POST', '/backups/import_record', body)).status, 201)
      await block.idle()
      const imported = await shown(block, path)
      assert.equal(imported.status, 'available', `${name} ${service}: ${imported.fail_reason}`)
      await block.request('member', 'DELETE', path)
      await block.idle()
      assert.ok(Object.values(stores).every((store) => store.blobs.size === 0))
    }
  })

  test(`a backup whose driver is not enabled any more is left as it is, and the driver is named, on ${engine.name}`, async () => {
    const stores = { datera: blobs(), ceph: blobs() }
    const options = (secondaries: string) => ({
      config: configOf({ backup_driver: 'datera', backup_datera_secondary_backup_drivers: secondaries }),
      backupDrivers: drivers(stores),
    })
    await using before = await startTestBlock(engine, { ...options('ceph'), runJobs: false })
    const { database, driver } = before
    let volumeId = ''
    let id = ''
    {
      await using running = await startTestBlock(engine, { ...options('ceph'), database, driver })
      volumeId = await makeVolume(running)
      id = (await made(running, '/backups', 'backup', { volume_id: volumeId, name: 'ceph_x' })).id
    }
    {
      await using without = await startTestBlock(engine, { ...options(''), database, driver })
      await made(without, `/backups/${id}/restore`, 'restore', { volume_id: volumeId })
      assert.equal((await shown(without, `/backups/${id}`)).status, 'available')
      assert.equal((await shown(without, `/volumes/${volumeId}`)).status, 'error_restoring')
      const { messages } = (await without.request('member', 'GET', '/messages', { version: '3.3' })).body
      assert.match(messages[0].user_message, /backup driver ceph is not enabled; enabled are: datera/)
      assert.equal((await without.request('member', 'DELETE', `/backups/${id}`)).status, 202)
      await without.idle()
      const left = await shown(without, `/backups/${id}`)
      assert.equal(left.status, 'error_deleting')
      assert.match(left.fail_reason, /backup driver ceph is not enabled/)
    }
    assert.ok(stores.ceph.blobs.size > 0)
    await using again = await startTestBlock(engine, { ...options('ceph'), database, driver })
    const reset = { body: { 'os-reset_status': { status: 'available' } } }
    assert.equal((await again.request('admin', 'POST', `/backups/${id}/action`, reset)).status, 202)
    await again.request('member', 'DELETE', `/backups/${id}`)
    await again.idle()
    assert.equal((await again.request('member', 'GET', `/backups/${id}`)).status, 404)
    assert.equal(stores.ceph.blobs.size, 0)
  })

  test(`a driver that is not known, or named twice, stops the start; one that fails disables only itself, on ${engine.name}`, async () => {
    const stores = { datera: blobs(), ceph: blobs() }
    const start = (secondaries: string) =>
      startTestBlock(engine, {
        config: configOf({ backup_driver: 'datera', backup_datera_secondary_backup_drivers: secondaries }),
        backupDrivers: drivers(stores),
      })
    await assert.rejects(
      start('your.backup.driver.module'),
      /your\.backup\.driver\.module is not a backup driver/,
    )
    await assert.rejects(start('ceph,cinder.backup.drivers.ceph'), /ceph is named twice/)
    await assert.rejects(start('datera'), /datera is named twice/)
    stores.ceph.start = async () => {
      throw new BackendError('no monitor answers', { left: 'nothing' })
    }
    await using block = await start('ceph')
    const volumeId = await makeVolume(block)
    const { id } = await made(block, '/backups', 'backup', { volume_id: volumeId, name: 'ceph_x' })
    assert.match((await shown(block, `/backups/${id}`)).fail_reason, /ceph is down: no monitor answers/)
    const { id: other } = await made(block, '/backups', 'backup', { volume_id: volumeId })
    assert.equal((await shown(block, `/backups/${other}`)).status, 'available')
  })

  test(`without a backup service nothing is begun, and it is said, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine, onMemory({ swift: blobs() }))
    const volumeId = await makeVolume(block)
    const { id } = await made(block, '/backups', 'backup', { volume_id: volumeId })
    const record = (await block.request('admin', 'GET', `/backups/${id}/export_record`)).body['backup-record']
    const disable = { body: { host: 'node', binary: 'cinder-backup' } }
    assert.equal((await block.request('admin', 'PUT', '/os-services/disable', disable)).status, 200)
    const imported = { body: { 'backup-record': record } }
    assert.equal((await block.request('admin', 'POST', '/backups/import_record', imported)).status, 503)
    assert.equal((await block.request('admin', 'DELETE', `/backups/${id}`)).status, 404)
    const restore = { body: { restore: {} } }
    assert.equal((await block.request('admin', 'POST', `/backups/${id}/restore`, restore)).status, 404)
    const { id: stuck } = await made(block, '/backups', 'backup', { volume_id: volumeId })
    assert.equal((await shown(block, `/backups/${stuck}`)).status, 'error')
    const { messages } = (await block.request('member', 'GET', '/messages', { version: '3.3' })).body
    assert.equal(messages[0].event_id, 'VOLUME_VOLUME_BACKUP_013_024')
  })
})
