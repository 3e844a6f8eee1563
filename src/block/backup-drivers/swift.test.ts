import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { MemoryDevice, readBytes } from '@emberglass/iscsi'
import { KiB, MiB } from '../../kernel/bytes.ts'
import { uncancelled } from '../../kernel/call.ts'
import { defaultsOf } from '../../kernel/config/options.ts'
import { Misconfigured } from '../../kernel/errors.ts'
import { Secret } from '../../kernel/secret.ts'
import { swiftAuthV1 } from '../../swift/auth.ts'
import { SwiftClient } from '../../swift/client.ts'
import { testSwift, whyNoSwift } from '../../swift/test-support.ts'
import { type BackupDriverFixture, backupDriverConformance, flipped } from '../backup-driver.conformance.ts'
import { chunkedBackupDriver } from './chunked/chunked.ts'
import { SwiftBlobStore } from './swift.ts'
import { openSwiftAccount } from './swift-account.ts'
import { type SwiftBackupSettings, swiftBackupOptions } from './swift-options.ts'

const call = uncancelled()
const why = whyNoSwift()

/** A container of its own on the real Swift. */
async function onSwift(): Promise<BackupDriverFixture> {
  const { authUrl, user, key } = await testSwift()
  const settings = {
    ...defaultsOf(swiftBackupOptions),
    authUrl,
    user,
    key: new Secret(key),
    container: `backups-${randomUUID()}`,
    objectBytes: 2 * MiB,
    blockBytes: 32_768,
  }
  const open = () => chunkedBackupDriver(new SwiftBlobStore(settings, 'nova'), settings)
  const client = new SwiftClient({ auth: swiftAuthV1({ authUrl, user, key: settings.key }) })
  await client.putContainer(settings.container, {}, call)
  const driver = open()
  const names = async (prefix: string) => {
    const found: string[] = []
    for await (const { name } of client.list(settings.container, prefix, call)) found.push(name)
    return found
  }
  return {
    driver,
    reopen: async () => open(),
    leftovers: () => names(''),
    objects: ({ prefix }) => names(prefix),
    async flip({ container }, name) {
      const bytes = await flipped(client.getObject(container, name, undefined, call))
      await client.putObject(container, name, bytes, {}, call)
    },
    async [Symbol.asyncDispose]() {
      await driver[Symbol.asyncDispose]()
      await client.deleteContainer(settings.container, call)
      await client[Symbol.asyncDispose]()
    },
  }
}

if (why === undefined) backupDriverConformance('swift', onSwift)
else test('swift', { skip: why }, () => assert.fail('never reached'))

test('a token that Swift refuses in the middle of a backup is replaced, and the object is written again', {
  skip: why ?? false,
}, async () => {
  const { authUrl, user, key } = await testSwift()
  let refusals = 1
  await using front = await refusing(authUrl, ({ method, url }) => {
    return method === 'PUT' && url?.endsWith('-00003') === true && refusals-- > 0
  })
  const container = `backups-${randomUUID()}`
  const objectBytes = 256 * KiB
  const settings = { ...defaultsOf(swiftBackupOptions), container, objectBytes, retryBackoffSeconds: 0.01 }
  const login = { authUrl: front.authUrl, user, key: new Secret(key) }
  await using driver = chunkedBackupDriver(new SwiftBlobStore({ ...settings, ...login }, 'nova'), settings)
  await driver.start(call)
  const device = new MemoryDevice(2 * MiB)
  device.write(0, randomBytes(2 * MiB), call)
  const facts = { name: undefined, description: undefined, container: undefined }
  const plan = {
    id: randomUUID(),
    volumeId: randomUUID(),
    sizeBytes: 2 * MiB,
    createdAt: '2026-11-29T01:02:03Z',
  }
  const backup = { ...plan, ...facts, ...driver.place({ ...plan, ...facts }), metadataSha256: undefined }
  const seen: number[] = []
  const watching = { ...call, onProgress: (bytes: number) => seen.push(bytes) }
  const more = { parent: undefined, volumeMetadata: '{"version": 2}' }
  const made = await driver.backup({ ...backup, ...more }, { device }, watching)
  assert.equal(refusals, -1, 'one was refused, and sent again')
  assert.equal(made.objectCount, 8)
  assert.equal(seen.at(-1), 2 * MiB)
  assert.deepEqual(
    seen,
    seen.toSorted((one, other) => one - other),
  )
  const into = new MemoryDevice(2 * MiB)
  const progress = { ...call, onProgress: () => {} }
  await driver.restore([{ ...backup, ...made }], into, { targetIsZeroed: true }, progress)
  assert.ok(
    Buffer.from(await readBytes(into, 0, 2 * MiB, call)).equals(await readBytes(device, 0, 2 * MiB, call)),
  )
  await driver.delete(backup, call)
  await using client = new SwiftClient({ auth: swiftAuthV1({ authUrl, user, key: new Secret(key) }) })
  await client.deleteContainer(container, call)
})

/** A way to Swift that answers 401 to some requests, as Swift does when it does not know the token any more. */
async function refusing(authUrl: string, isRefused: (request: IncomingMessage) => boolean) {
  const { host } = new URL(authUrl)
  const server = createServer((incoming, outgoing) => {
    if (isRefused(incoming)) return void outgoing.writeHead(401, { connection: 'close' }).end()
    const { method, headers } = incoming
    const outer = request(`http://${host}${incoming.url}`, { method, headers }, (answer) => {
      const ours = `127.0.0.1:${(server.address() as AddressInfo).port}`
      const storageUrl = answer.headers['x-storage-url']
      const told = {
        ...answer.headers,
        ...(storageUrl && { 'x-storage-url': String(storageUrl).replace(host, ours) }),
      }
      outgoing.writeHead(answer.statusCode ?? 500, told)
      answer.pipe(outgoing)
    })
    outer.on('error', () => outgoing.destroy())
    incoming.pipe(outer)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo // it listens at a TCP port
  return {
    authUrl: authUrl.replace(host, `127.0.0.1:${port}`),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
    },
  }
}

test('what a login to Swift lacks is named', async () => {
  const login = { authUrl: 'http://127.0.0.1:1', user: 'u', key: new Secret('k') }
  const refused = (changes: Partial<SwiftBackupSettings>, pattern: RegExp) =>
    assert.throws(
      () => openSwiftAccount({ ...defaultsOf(swiftBackupOptions), ...login, ...changes }),
      (error) => error instanceof Misconfigured && pattern.test(error.message),
      String(pattern),
    )
  refused({ authUrl: '' }, /needs backup_swift_auth_url, backup_swift_user and backup_swift_key/)
  refused({ auth: 'per_user' }, /backup_swift_auth = per_user/)
  refused({ authVersion: '3' }, /needs backup_swift_project/)
  const keystone = { authVersion: '3', project: 'p' } as const
  refused({ ...keystone, catalogInfo: 'object-store' }, /swift_catalog_info: 'object-store'/)
  refused({ ...keystone, catalogInfo: 'object-store:swift:anyURL' }, /swift_catalog_info/)
  refused(
    { ...keystone, caFile: '/no/such/file' },
    /backup_swift_ca_cert_file: \/no\/such\/file cannot be read/,
  )
  await using account = openSwiftAccount({ ...defaultsOf(swiftBackupOptions), ...login, ...keystone })
  assert.ok(account)
})
