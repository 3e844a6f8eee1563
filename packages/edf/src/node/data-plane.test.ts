import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { IscsiError, readBytes } from '@emberglass/iscsi/device'
import { openIscsiDisk } from '@emberglass/iscsi/initiator'
import { type Json, NodeUnderTest, storagePath, volumePathOf } from './testing.ts'

const run = promisify(execFile)
const cancel = { signal: new AbortController().signal }
const host = 'iqn.1993-08.org.debian:01:host'
const stranger = 'iqn.1993-08.org.debian:01:stranger'

interface Login {
  readonly initiatorName?: string
  readonly lun?: number
  readonly chap?: Parameters<typeof openIscsiDisk>[0]['chap']
}

function login(si: Json, { initiatorName = host, lun = 0, chap }: Login = {}) {
  const portals = si.access.portals.map((portal: string) => {
    const [address = '', port] = portal.split(':')
    return { host: address, port: Number(port) }
  })
  return openIscsiDisk(
    {
      portals,
      targetName: si.access.iqn,
      lun,
      initiatorName,
      timeoutMs: 5000,
      recoveryTimeoutMs: 500,
      ...(chap && { chap }),
    },
    cancel,
  )
}

/** A login that ends with its session gone on both sides. */
async function visit(edf: NodeUnderTest, si: Json, options: Login = {}): Promise<void> {
  const disk = await login(si, options)
  await disk[Symbol.asyncDispose]()
  await gone(edf, si)
}

async function gone(edf: NodeUnderTest, si: Json): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if ((await edf.ok('GET', si.path)).active_initiators.length === 0) return
    await sleep(20)
  }
  assert.fail('the session did not end')
}

async function admit(edf: NodeUnderTest, ai: Json, initiator = host): Promise<Json> {
  const known = await edf.call('GET', `/initiators/${initiator}`)
  if (known.status !== 200) {
    await edf.ok('POST', '/initiators', { id: initiator, name: 'host', force: true })
  }
  await edf.ok('PUT', `${storagePath(ai)}/acl_policy`, { initiators: [{ path: `/initiators/${initiator}` }] })
  return edf.ok('GET', storagePath(ai))
}

test('a volume is written, read back and identified over iSCSI by an initiator on the list only', async (t) => {
  const edf = await NodeUnderTest.start(t)
  const ai = await edf.createVolume('disk')
  await assert.rejects(login(ai.storage_instances[0]), IscsiError)
  const si = await admit(edf, ai)
  await assert.rejects(login(si, { initiatorName: stranger }), IscsiError)
  const disk = await login(si)
  try {
    assert.equal(disk.sizeBytes, 2 ** 30)
    const bytes = randomBytes(1024 * 1024)
    await disk.write(4096, bytes, cancel)
    await disk.flush(cancel)
    assert.deepEqual(Buffer.from(await readBytes(disk, 4096, bytes.length, cancel)), bytes)
    assert.deepEqual((await edf.ok('GET', storagePath(ai))).active_initiators, [host])
    const used = await edf.ok('GET', volumePathOf(ai))
    assert.ok(used.physical_size >= bytes.length, `${used.physical_size} bytes are in use`)
  } finally {
    await disk[Symbol.asyncDispose]()
  }
  const portal = si.access.portals[0]
  const url = `iscsi://${portal}/${si.access.iqn}/0`
  const inquiry = await run('iscsi-inq', ['-i', host, '-e', '1', '-c', '128', url]).catch(
    (error: unknown) => {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
      throw error
    },
  )
  if (inquiry === undefined) {
    t.diagnostic('iscsi-inq is not installed: its part was left out')
    return
  }
  assert.ok(inquiry.stdout.includes(si.volumes[0].uuid), inquiry.stdout)
  assert.match((await run('iscsi-inq', ['-i', host, url])).stdout, /Vendor:DATERA[\s\S]*Product:IBLOCK/)
  await assert.rejects(run('iscsi-inq', ['-i', stranger, url]))
})

test('snapshots, clones and restore hold what was written at their time', async (t) => {
  const edf = await NodeUnderTest.start(t)
  const ai = await edf.createVolume('history')
  const disk = await login(await admit(edf, ai))
  const fill = (value: number) => disk.write(0, Buffer.alloc(8192, value), cancel)
  await fill(1)
  const first = await edf.ok('POST', `${volumePathOf(ai)}/snapshots`, {})
  await fill(2)
  const second = await edf.ok('POST', `${ai.path}/snapshots`, {})
  await fill(3)
  const clone = await edf.ok('POST', '/app_instances', { name: 'one', clone_snapshot_src: first })
  const whole = await edf.ok('POST', '/app_instances', { name: 'two', clone_snapshot_src: second })
  const live = await edf.ok('POST', '/app_instances', {
    name: 'three',
    clone_volume_src: { path: '/app_instances/history/storage_instances/storage-1/volumes/volume-1' },
  })
  const firstByte = async (instance: Json): Promise<number | undefined> => {
    const copy = await login(await admit(edf, instance))
    try {
      return (await readBytes(copy, 4096, 512, cancel))[0]
    } finally {
      await copy[Symbol.asyncDispose]()
    }
  }
  assert.deepEqual([await firstByte(clone), await firstByte(whole), await firstByte(live)], [1, 2, 3])
  await edf.refused(400, 'InvalidRequestError', 'PUT', volumePathOf(ai), { restore_point: first.utc_ts })
  const refusal = await edf.refused(400, 'InvalidRequestError', 'PUT', ai.path, { admin_state: 'offline' })
  assert.match(refusal.message, /override this warning/)
  await edf.refused(400, 'InvalidRequestError', 'DELETE', ai.path)
  await edf.ok('PUT', ai.path, { admin_state: 'offline', force: true })
  await assert.rejects(Promise.resolve(readBytes(disk, 0, 512, cancel)))
  await disk[Symbol.asyncDispose]()
  const restored = await edf.ok('PUT', volumePathOf(ai), { restore_point: first.utc_ts })
  assert.equal(restored.restore_point, first.utc_ts)
  await edf.refused(404, 'NotFoundError', 'PUT', volumePathOf(ai), { restore_point: '1.000000000' })
  await edf.ok('PUT', ai.path, { admin_state: 'online' })
  assert.equal(await firstByte(ai), 1)
  await edf.ok('PUT', ai.path, { admin_state: 'offline', force: true })
  await edf.ok('PUT', ai.path, { restore_point: second.utc_ts })
  await edf.ok('PUT', ai.path, { admin_state: 'online' })
  assert.equal(await firstByte(ai), 2)
})

test('a volume that grows online shows its new size and keeps its bytes; a new volume is a new unit', async (t) => {
  const edf = await NodeUnderTest.start(t)
  const ai = await edf.createVolume('growing')
  const si = await admit(edf, ai)
  const disk = await login(si)
  t.after(() => disk[Symbol.asyncDispose]())
  await disk.write(0, Buffer.alloc(512, 7), cancel)
  await edf.ok('PUT', volumePathOf(ai), { size: 2 })
  await disk.rescan(cancel)
  assert.equal(disk.sizeBytes, 2 ** 31)
  await disk.write(2 ** 31 - 512, Buffer.alloc(512, 8), cancel)
  assert.equal((await readBytes(disk, 0, 512, cancel))[0], 7)
  await edf.ok('POST', `${si.path}/volumes`, { name: 'volume-2', size: 1 })
  const second = await login(si, { lun: 1 })
  assert.equal(second.sizeBytes, 2 ** 30)
  await second[Symbol.asyncDispose]()
  await edf.refused(400, 'InvalidRequestError', 'DELETE', `${si.path}/volumes/volume-2`, {})
  await edf.ok('DELETE', `${si.path}/volumes/volume-2`, { force: true })
  await assert.rejects(login(si, { lun: 1 }))
})

test('CHAP is asked for, one way and both ways', async (t) => {
  const edf = await NodeUnderTest.start(t)
  const ai = await edf.createVolume('chap')
  const auth = `${storagePath(ai)}/auth`
  await edf.refused(422, 'ValidationFailedError', 'PUT', auth, { type: 'chap' })
  await edf.refused(422, 'ValidationFailedError', 'PUT', auth, {
    type: 'chap',
    target_user_name: 'host',
    target_pswd: 'short',
  })
  await edf.ok('PUT', auth, { type: 'chap', target_user_name: 'host', target_pswd: 'twelve-letters' })
  const si = await admit(edf, ai)
  const oneWay = { username: 'host', password: 'twelve-letters' }
  await assert.rejects(login(si), IscsiError)
  await assert.rejects(login(si, { chap: { ...oneWay, password: 'another-secret' } }), IscsiError)
  await visit(edf, si, { chap: oneWay })
  await edf.ok('PUT', auth, {
    type: 'mchap',
    target_pswd: '(hidden)',
    initiator_user_name: 'array',
    initiator_pswd: 'other-secret-here',
  })
  const mutual = { username: 'array', password: 'other-secret-here' }
  await visit(edf, si, { chap: { ...oneWay, mutual } })
  await assert.rejects(
    login(si, { chap: { ...oneWay, mutual: { ...mutual, password: 'wrong-secret-here' } } }),
    IscsiError,
  )
  const clone = await edf.ok('POST', '/app_instances', {
    name: 'chap-clone',
    clone_volume_src: { path: volumePathOf(ai) },
  })
  await assert.rejects(login(await admit(edf, clone)), IscsiError)
})

test('being taken off the list lets a session go on and refuses the next one', async (t) => {
  const edf = await NodeUnderTest.start(t)
  const ai = await edf.createVolume('taken-off')
  const si = await admit(edf, ai)
  const disk = await login(si)
  await edf.ok('PUT', `${si.path}/acl_policy`, { initiators: [] })
  await disk.write(0, Buffer.alloc(512, 1), cancel)
  await disk[Symbol.asyncDispose]()
  await gone(edf, si)
  // The target hears of the session's end a moment later.
  await sleep(50)
  await assert.rejects(login(si), IscsiError)
})

test('a group on the list admits its members, as they come and go', async (t) => {
  const edf = await NodeUnderTest.start(t)
  const ai = await edf.createVolume('grouped')
  const si = ai.storage_instances[0]
  await edf.ok('POST', '/initiators', { id: host, name: 'host' })
  const group = await edf.ok('POST', '/initiator_groups', { name: 'hosts', members: [] })
  await edf.ok('PUT', `${si.path}/acl_policy/initiator_groups`, { op: 'add', path: group.path })
  await assert.rejects(login(si), IscsiError)
  await edf.ok('PUT', `${group.path}/members`, { op: 'add', path: `/initiators/${host}` })
  await visit(edf, si)
  await edf.ok('PUT', `${group.path}/members`, { op: 'remove', path: `/initiators/${host}` })
  await assert.rejects(login(si), IscsiError)
})

test('limits of a volume hold at once, also for I/O that waits, and what was done is measured', async (t) => {
  const edf = await NodeUnderTest.start(t)
  const ai = await edf.createVolume('limited')
  const policy = `${volumePathOf(ai)}/performance_policy`
  await edf.ok('POST', policy, { write_iops_max: 20 })
  const disk = await login(await admit(edf, ai))
  const block = Buffer.alloc(4096, 1)
  const write = async (count: number): Promise<number> => {
    const startedAt = performance.now()
    for (let index = 0; index < count; index++) await disk.write(index * 4096, block, cancel)
    return performance.now() - startedAt
  }
  try {
    const limited = await write(20)
    assert.ok(limited > 700, `20 writes at 20 per second took ${limited} ms`)
    const readStarted = performance.now()
    for (let index = 0; index < 20; index++) await readBytes(disk, index * 4096, 4096, cancel)
    assert.ok(performance.now() - readStarted < limited, 'reads have no limit')
    await edf.ok('PUT', policy, { write_iops_max: 1 })
    const waiting = write(60)
    await sleep(200)
    await edf.ok('DELETE', policy, {})
    assert.ok((await waiting) < 30_000, 'writes that wait go on when the limit is lifted')
    const latest = async (metric: string, entity = ai.id): Promise<number> =>
      (await edf.ok('GET', `/metrics/io/${metric}/latest?uuid=${entity}`))[0].point.value
    assert.equal(await latest('writes'), 80)
    assert.equal(await latest('bytes_written', ai.storage_instances[0].volumes[0].uuid), 80 * 4096)
    assert.ok((await latest('reads', ai.storage_instances[0].uuid)) >= 20)
    assert.ok((await latest('iops_write')) > 0)
    const [median, slowest] = [await latest('lat_50_write'), await latest('lat_100_write')]
    assert.ok(median > 0 && median <= slowest, `${median} of ${slowest} ms`)
    const [series] = await edf.ok('GET', `/metrics/io/writes?path=${ai.path}&since=1h&ival=1m`)
    assert.equal(series.points.at(-1).value, 80)
  } finally {
    await disk[Symbol.asyncDispose]()
  }
})

test('a pool of addresses says where its targets are reached', async (t) => {
  const edf = await NodeUnderTest.start(t, { moreIscsiHosts: ['127.0.0.2', '127.0.0.3'] })
  const block = { range: 6, netmask: 24, vlan: 0, mtu: 1500 }
  const pool = await edf.ok('POST', '/access_network_ip_pools', {
    name: 'upper',
    network_paths: [{ name: 'access_1', start_ip: '127.0.0.2', ...block }],
  })
  const ai = await edf.createVolume('pooled')
  const ips = async (): Promise<string[]> => (await edf.ok('GET', storagePath(ai))).access.ips
  assert.deepEqual(await ips(), ['127.0.0.1', '127.0.0.2', '127.0.0.3'])
  const disk = await login(await admit(edf, ai))
  const ipPool = { ip_pool: { path: pool.path } }
  await edf.refused(400, 'InvalidRequestError', 'PUT', storagePath(ai), ipPool)
  await disk[Symbol.asyncDispose]()
  await gone(edf, { path: storagePath(ai) })
  await edf.ok('PUT', storagePath(ai), ipPool)
  assert.deepEqual(await ips(), ['127.0.0.2', '127.0.0.3'])
  await visit(edf, await edf.ok('GET', storagePath(ai)))
  await edf.ok('PUT', `${pool.path}/network_paths/access_1`, { start_ip: '127.0.0.3' })
  assert.deepEqual(await ips(), ['127.0.0.3', '127.0.0.3'])
  await edf.ok('PUT', pool.path, { network_paths: [{ name: 'access_1', start_ip: '192.0.2.1', ...block }] })
  assert.equal((await ips()).length, 3)
})
