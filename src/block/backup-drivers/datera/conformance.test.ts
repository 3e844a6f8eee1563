import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import type { EdfClient } from '@emberglass/edf'
import { TestArray } from '../../../../packages/edf/src/client/array.test-support.ts'
import { uncancelled } from '../../../kernel/call.ts'
import { Misconfigured } from '../../../kernel/errors.ts'
import { Secret } from '../../../kernel/secret.ts'
import { type BackupDriverFixture, backupDriverConformance } from '../../backup-driver.conformance.ts'
import { chunkedBackupDriver } from '../chunked/chunked.ts'
import { decodeHeader, encodeHeader, headerBytes } from './header.ts'
import { type DateraBackupSettings, dateraBackupOptions } from './options.ts'
import { DateraBlobStore } from './store.ts'

const call = uncancelled()
let started: Promise<{ array: TestArray; client: EdfClient }> | undefined
let cases = 0

after(async () => {
  const running = await started
  await running?.client.close()
  await running?.array[Symbol.asyncDispose]()
})

async function start(): Promise<{ array: TestArray; client: EdfClient }> {
  const array = await TestArray.start()
  return { array, client: await array.connect() }
}

function settingsFor(array: TestArray, changes: Partial<DateraBackupSettings>): DateraBackupSettings {
  const defaults = Object.entries(dateraBackupOptions).map(([key, option]) => [key, option.default])
  return {
    // Sound: the options have exactly the properties of the settings, each with a default of its type.
    ...(Object.fromEntries(defaults) as DateraBackupSettings),
    host: '127.0.0.1',
    apiPort: array.proxy.port,
    login: array.node.login,
    password: new Secret(array.node.password),
    replicaCount: 1,
    blockBytes: 65_536,
    ...changes,
  }
}

async function onArray(): Promise<BackupDriverFixture> {
  started ??= start()
  const { array, client } = await started
  cases += 1
  const tenant = `/root/case-${cases}`
  const settings = settingsFor(array, { tenant })
  const host = { initiatorName: 'iqn.2026-01.org.emberglass:test-backups' }
  const open = () => chunkedBackupDriver(new DateraBlobStore(settings, host), settings)
  const driver = open()
  return {
    driver,
    reopen: async () => open(),
    leftovers: async () => (await client.in(tenant).appInstances.list({}, call)).map(({ name }) => name),
    [Symbol.asyncDispose]: () => driver[Symbol.asyncDispose](),
  }
}

backupDriverConformance('datera', onArray)

test('a header has fifty bytes, in the places where version 1 had them', () => {
  const md5 = '0123456789abcdef0123456789abcdef'
  const bytes = encodeHeader({ number: -2, payloadBytes: 5_000_000_000, md5 })
  assert.equal(bytes.byteLength, headerBytes)
  assert.equal(bytes.subarray(0, 8).toString('hex'), 'feffffff00000000')
  assert.equal(bytes.subarray(8, 16).toString('hex'), '00f2052a01000000')
  assert.equal(bytes.toString('latin1', 16, 48), md5)
  assert.deepEqual(decodeHeader(bytes), { number: -2, payloadBytes: 5_000_000_000, md5 })
})

test('options that are missing are all named', async () => {
  started ??= start()
  const { array } = await started
  const settings = settingsFor(array, { host: '', password: undefined })
  await using store = new DateraBlobStore(settings, { initiatorName: 'iqn.2026-01.org.emberglass:t' })
  await assert.rejects(store.start(call), (error) => {
    assert.ok(error instanceof Misconfigured)
    assert.match(error.message, /backup_datera_san_ip, backup_datera_san_password/)
    return true
  })
})
