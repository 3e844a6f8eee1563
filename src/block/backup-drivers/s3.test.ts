import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { MiB } from '../../kernel/bytes.ts'
import { uncancelled } from '../../kernel/call.ts'
import { Misconfigured } from '../../kernel/errors.ts'
import { Secret } from '../../kernel/secret.ts'
import { S3Client } from '../../s3/client.ts'
import { testSwift, whyNoSwift } from '../../swift/test-support.ts'
import { type BackupDriverFixture, backupDriverConformance, flipped } from '../backup-driver.conformance.ts'
import { chunkedBackupDriver } from './chunked/chunked.ts'
import { type S3BackupSettings, S3BlobStore } from './s3.ts'

const call = uncancelled()
const why = whyNoSwift()

const unset: S3BackupSettings = {
  compression: 'zlib',
  encryptionKeyFile: undefined,
  endpoint: '',
  accessKey: '',
  secretKey: undefined,
  region: undefined,
  bucket: 'backups',
  objectBytes: 2 * MiB,
  blockBytes: 32_768,
  verifyCertificate: true,
  caFile: undefined,
  connections: 10,
  maxAttempts: 4,
}

/** A bucket of its own on a real S3 server. */
async function onS3(): Promise<BackupDriverFixture> {
  const { endpoint, accessKey, secretKey: key } = (await testSwift()).s3
  const secretKey = new Secret(key)
  const settings = { ...unset, endpoint, accessKey, secretKey, bucket: `backups-${randomUUID()}` }
  const open = () => chunkedBackupDriver(new S3BlobStore(settings, 'nova'), settings)
  const client = new S3Client({ endpoint, accessKey, secretKey, pathStyle: true })
  await client.createBucket(settings.bucket, call)
  const driver = open()
  const keys = async (prefix: string) => {
    const found: string[] = []
    for await (const { key: name } of client.list(settings.bucket, prefix, call)) found.push(name)
    return found
  }
  return {
    driver,
    reopen: async () => open(),
    leftovers: () => keys(''),
    objects: ({ prefix }) => keys(prefix),
    async flip({ container }, name) {
      const bytes = await flipped(client.getObject(container, name, undefined, call))
      await client.putObject(container, name, bytes, call)
    },
    async [Symbol.asyncDispose]() {
      await driver[Symbol.asyncDispose]()
      await client.deleteBucket(settings.bucket, call)
      await client.deleteBucket(`${settings.bucket}+segments`, call).catch(() => {}) // where this server keeps parts
      await client[Symbol.asyncDispose]()
    },
  }
}

if (why === undefined) backupDriverConformance('s3', onS3)
else test('s3', { skip: why }, () => assert.fail('never reached'))

test('s3 options that are missing are named', async () => {
  await using store = new S3BlobStore(unset, 'nova')
  await assert.rejects(store.start(call), (error) => {
    return error instanceof Misconfigured && /backup_s3_endpoint_url/.test(error.message)
  })
})
