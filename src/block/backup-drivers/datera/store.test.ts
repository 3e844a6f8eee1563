import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import { MemoryDevice, readBytes } from '@emberglass/iscsi'
import { MiB } from '../../../kernel/bytes.ts'
import { uncancelled } from '../../../kernel/call.ts'
import { loadConfig } from '../../../kernel/config/config.ts'
import { Misconfigured } from '../../../kernel/errors.ts'
import type { BackupDriver, NewBackup } from '../../backup-driver.ts'
import { chunkedBackupDriver } from '../chunked/chunked.ts'
import { BackupArray, initiatorName } from './datera.test-support.ts'
import { decodeHeader, encodeHeader, headerBytes } from './header.ts'
import { type DateraBackupSettings, dateraBackupOptions } from './options.ts'
import { clientOptions } from './settings.ts'
import { DateraBlobStore } from './store.ts'

const call = { ...uncancelled(), onProgress: () => {} }
let started: Promise<BackupArray> | undefined

after(async () => await (await started)?.[Symbol.asyncDispose]())

async function onArray(changes: Partial<DateraBackupSettings> = {}) {
  started ??= BackupArray.start()
  const array = await started
  const tenant = array.nextTenant()
  const settings = array.settings({ tenant, ...changes })
  const open = () => chunkedBackupDriver(new DateraBlobStore(settings, { initiatorName }), settings)
  const driver = open()
  await driver.start(call)
  return { array, tenant, driver, open, [Symbol.asyncDispose]: () => driver[Symbol.asyncDispose]() }
}

function planOf(driver: BackupDriver, sizeBytes: number): NewBackup {
  const facts = { name: undefined, description: undefined, container: undefined, volumeId: randomUUID() }
  const plan = { id: randomUUID(), sizeBytes, createdAt: new Date().toISOString(), ...facts }
  const rest = { metadataSha256: undefined, parent: undefined, volumeMetadata: '{"version": 2}' }
  return { ...plan, ...driver.place(plan), ...rest }
}

test('a header has fifty bytes, in the places where version 1 had them', () => {
  const md5 = '0123456789abcdef0123456789abcdef'
  const bytes = encodeHeader({ number: -2, payloadBytes: 5_000_000_000, md5 })
  assert.equal(bytes.byteLength, headerBytes)
  assert.equal(bytes.subarray(0, 8).toString('hex'), 'feffffff00000000')
  assert.equal(bytes.subarray(8, 16).toString('hex'), '00f2052a01000000')
  assert.equal(bytes.toString('latin1', 16, 48), md5)
  assert.deepEqual(decodeHeader(bytes), { number: -2, payloadBytes: 5_000_000_000, md5 })
})

test('options that are missing are all named; wrong ones stop the start', async () => {
  const read = async (values: Record<string, string>) => {
    const config = await loadConfig({ files: [], defaults: { DEFAULT: values } })
    const settings = config.read('DEFAULT', dateraBackupOptions)
    config.check()
    return settings
  }
  const place = { initiatorName }
  const start = async (values: Record<string, string>) => {
    await using store = new DateraBlobStore(await read(values), place)
    await store.start(call)
  }
  const refused = (pattern: RegExp) => (error: unknown) => {
    assert.ok(error instanceof Misconfigured, String(error))
    assert.match(error.message, pattern)
    return true
  }
  await assert.rejects(
    start({ backup_datera_san_login: 'admin' }),
    refused(/needs backup_datera_san_ip, backup_datera_san_password\./),
  )
  const login = {
    backup_datera_san_ip: '127.0.0.1',
    backup_datera_san_login: 'admin',
    backup_datera_san_password: 'secret',
  }
  for (const [values, pattern] of [
    [{ backup_datera_chunk_size: '0' }, /backup_datera_chunk_size/],
    [{ backup_datera_chunk_size: '-1' }, /backup_datera_chunk_size/],
    [{ backup_datera_replica_count: '6' }, /backup_datera_replica_count/],
    [{ backup_datera_placement_mode: 'tape' }, /backup_datera_placement_mode/],
    [{ backup_datera_tenant_id: 'Map' }, /backup_datera_tenant_id: 'Map'/],
    [{ backup_datera_tenant_id: 'a b' }, /backup_datera_tenant_id/],
    [{ backup_driver_client_cert_key: '/key' }, /needs backup_driver_client_cert/],
  ] as const) {
    await assert.rejects(start({ ...login, ...values }), refused(pattern), JSON.stringify(values))
  }
})

test('the array is reached with TLS, unless plain HTTP is asked for', async () => {
  const read = async (values: Record<string, string>) => {
    const config = await loadConfig({ files: [], defaults: { DEFAULT: values } })
    const { port, tls } = await clientOptions(config.read('DEFAULT', dateraBackupOptions))
    return [port, tls !== false]
  }
  assert.deepEqual(await read({}), [7718, true])
  assert.deepEqual(await read({ backup_datera_api_port: '7717' }), [7717, false])
  assert.deepEqual(await read({ backup_datera_api_port: '7717', backup_driver_use_ssl: 'true' }), [
    7717,
    true,
  ])
  assert.deepEqual(await read({ backup_datera_api_port: '8443' }), [8443, true])
  assert.deepEqual(await read({ backup_datera_api_port: '8080', backup_driver_use_ssl: 'false' }), [
    8080,
    false,
  ])
})

test('objects are found whatever else lies between them, nothing is rolled back, and nobody is let in afterwards', async () => {
  await using at = await onArray({ blockBytes: 4096 })
  const { array, tenant, driver } = at
  const device = new MemoryDevice(MiB)
  device.write(0, randomBytes(65_536), call)
  const first = planOf(driver, MiB)
  const full = { ...first, ...(await driver.backup(first, { device }, call)) }
  for (let block = 0; block < 8; block++) device.write(block * 131_072, randomBytes(512), call)
  const plan = { ...planOf(driver, MiB), volumeId: full.volumeId, parent: full }
  const backup = { ...plan, ...(await driver.backup(plan, { device }, call)) }
  assert.equal(backup.objectCount, 8)
  // somebody takes snapshots by hand
  const container = await array.containerOf(tenant, backup)
  const { client } = await array.connected()
  const { path } = container.storage_instances[0]?.volumes[0] ?? assert.fail('there is a volume')
  array.array.proxy.seen.length = 0
  const into = new MemoryDevice(MiB)
  await driver.restore([full, backup], into, { targetIsZeroed: true }, call)
  assert.ok(Buffer.from(await readBytes(into, 0, MiB, call)).equals(await readBytes(device, 0, MiB, call)))
  const { seen } = array.array.proxy
  assert.ok(seen.length > 0 && seen.every(({ body }) => !body.includes('restore_point')))
  const agents = new Set(seen.map(({ headers }) => headers['datera-driver']))
  assert.ok(
    [...agents].every((agent) => /^OpenStack-Backup-\d/.test(String(agent))),
    String([...agents]),
  )
  await client.in(tenant).snapshots(path).create({}, call)
  await assert.rejects(driver.verify([full, backup], call), /do not match its metadata: DAT-00009 is there/)
  for (const instance of await array.appInstances(tenant)) {
    assert.equal(instance.admin_state, 'offline', instance.name)
    assert.deepEqual(instance.storage_instances[0]?.acl_policy?.initiators ?? [], [], instance.name)
  }
  await driver.delete(backup, call)
  await driver.delete(full, call)
  assert.deepEqual(await array.appInstances(tenant), [])
})

test('an array that fails in the middle keeps nobody on its lists; what a killed process read from goes at the next start', async () => {
  await using at = await onArray()
  const { array, tenant, driver, open } = at
  const device = new MemoryDevice(MiB)
  device.write(0, randomBytes(4096), call)
  const plan = planOf(driver, MiB)
  array.array.proxy.decide = ({ method, path }) =>
    method === 'POST' && path.endsWith('/snapshots')
      ? { status: 400, body: { name: 'InvalidRequestError', http: 400, message: 'no snapshots today' } }
      : 'pass'
  await assert.rejects(driver.backup(plan, { device }, call), /no snapshots today/)
  array.array.proxy.decide = () => 'pass'
  const container = await array.containerOf(tenant, plan)
  assert.equal(container.admin_state, 'offline')
  assert.deepEqual(container.storage_instances[0]?.acl_policy?.initiators ?? [], [])
  const result = await driver.backup(plan, { device }, call)
  assert.equal(result.objectCount, 1, 'the same backup again')
  const { client } = await array.connected()
  const [snapshot] = await array.snapshots(tenant, await array.containerOf(tenant, plan))
  assert.ok(snapshot !== undefined)
  // the end of the name tells whose copy it is
  array.array.proxy.seen.length = 0
  await driver.verify([{ ...plan, ...result }], call)
  const ours = array.array.proxy.seen
    .map(({ body }) => /BACKUP-[0-9a-f-]{36}-R-[0-9a-f]{8}/.exec(body)?.[0])
    .find(Boolean)
  const leave = (name: string) =>
    client
      .in(tenant)
      .appInstances.create(
        { create_mode: 'openstack', name, clone_snapshot_src: { path: snapshot.path } },
        call,
      )
  await leave(`${ours}0000`)
  await leave(`BACKUP-${plan.id}-R-another00000`)
  await using next = open()
  await next.start(call)
  const names = (await array.appInstances(tenant)).map(({ name }) => name)
  assert.deepEqual(names.toSorted(), [`BACKUP-${plan.id}`, `BACKUP-${plan.id}-R-another00000`])
  await next.delete(plan, call)
  assert.deepEqual(await array.appInstances(tenant), [], 'copies of a deleted backup go with it')
})

test('without leave to make containers, a backup that needs one fails', async () => {
  await using at = await onArray({ mayCreate: false })
  const device = new MemoryDevice(MiB)
  const plan = planOf(at.driver, MiB)
  await assert.rejects(at.driver.backup(plan, { device }, call), /backup_create_containers is off/)
  assert.deepEqual(await at.array.appInstances(at.tenant), [])
})
