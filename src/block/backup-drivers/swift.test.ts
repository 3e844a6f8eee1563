import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { MiB } from '../../kernel/bytes.ts'
import { uncancelled } from '../../kernel/call.ts'
import { Secret } from '../../kernel/secret.ts'
import { swiftAuthV1 } from '../../swift/auth.ts'
import { SwiftClient } from '../../swift/client.ts'
import { testSwift, whyNoSwift } from '../../swift/test-support.ts'
import { type BackupDriverFixture, backupDriverConformance, flipped } from '../backup-driver.conformance.ts'
import { chunkedBackupDriver } from './chunked/chunked.ts'
import { SwiftBlobStore } from './swift.ts'

const call = uncancelled()
const why = whyNoSwift()

/** A container of its own on the real Swift. */
async function onSwift(): Promise<BackupDriverFixture> {
  const { authUrl, user, key } = await testSwift()
  const settings = {
    compression: 'zlib',
    encryptionKeyFile: undefined,
    authUrl,
    user,
    key: new Secret(key),
    container: `backups-${randomUUID()}`,
    objectBytes: 2 * MiB,
    blockBytes: 32_768,
  } as const
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
