import assert from 'node:assert/strict'
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { type Bytes, GiB, MiB } from '../kernel/bytes.ts'
import { uncancelled } from '../kernel/call.ts'
import { BackendError, Invalid, NotFound, Unauthenticated } from '../kernel/errors.ts'
import { Secret } from '../kernel/secret.ts'
import { testSwift, whyNoSwift } from '../swift/test-support.ts'
import { S3Client } from './client.ts'
import { abortUploads, partLength, putStream } from './put-stream.ts'

const skip = whyNoSwift() ?? false
const call = uncancelled()

async function* chunksOf(bytes: Uint8Array, length = 70_001): Bytes {
  for (let at = 0; at < bytes.byteLength; at += length) yield Buffer.from(bytes.subarray(at, at + length))
}

async function collect(bytes: Bytes): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of bytes) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** A bucket of its own on a real S3, which must be empty afterwards. */
async function withBucket(body: (client: S3Client, bucket: string) => Promise<void>): Promise<void> {
  const { s3 } = await testSwift()
  await using client = new S3Client({
    endpoint: s3.endpoint,
    accessKey: s3.accessKey,
    secretKey: new Secret(s3.secretKey),
    pathStyle: true,
  })
  const bucket = `test-${randomUUID()}`
  await client.createBucket(bucket, call)
  await body(client, bucket)
  assert.equal(await abortUploads(client, bucket, async () => true, call), 0, 'no upload may be left')
  await client.deleteBucket(bucket, call)
  await client.deleteBucket(`${bucket}+segments`, call).catch(() => {}) // where this server keeps parts
}

const stream = { key: 'k', partBytes: 5 * MiB, largeBytes: 8 * MiB, parallel: 3 }

test('an object is kept, described, served whole and in ranges, listed and deleted', { skip }, async () => {
  await withBucket(async (client, bucket) => {
    const bytes = randomBytes(2 * MiB + 3)
    const md5 = createHash('md5').update(bytes).digest('hex')
    assert.equal(await client.putObject(bucket, 'a/b ü', bytes, call, { kind: 'test' }), md5)
    const facts = await client.headObject(bucket, 'a/b ü', call)
    assert.deepEqual(facts, { sizeBytes: bytes.byteLength, etag: md5, metadata: { kind: 'test' } })
    assert.ok((await collect(client.getObject(bucket, 'a/b ü', undefined, call))).equals(bytes))
    const part = await collect(client.getObject(bucket, 'a/b ü', { start: 5, end: 1_000_000 }, call))
    assert.ok(part.equals(bytes.subarray(5, 1_000_000)))
    const entries: string[] = []
    for await (const { key, sizeBytes } of client.list(bucket, 'a/', call))
      entries.push(`${key} ${sizeBytes}`)
    assert.deepEqual(entries, [`a/b ü ${bytes.byteLength}`])
    await client.deleteObject(bucket, 'a/b ü', call)
    await client.deleteObject(bucket, 'a/b ü', call)
    await assert.rejects(client.headObject(bucket, 'a/b ü', call), NotFound)
    await assert.rejects(collect(client.getObject(bucket, 'a/b ü', undefined, call)), NotFound)
    await assert.rejects(client.headBucket(`${bucket}-not`, call), NotFound)
  })
})

test('a stream of known or unknown length is kept, whatever the length', { skip }, async () => {
  await withBucket(async (client, bucket) => {
    for (const length of [0, 1, 5 * MiB, 5 * MiB + 1, 17 * MiB]) {
      const bytes = randomBytes(length)
      for (const sizeBytes of [length, undefined]) {
        const kept = await putStream(client, { ...stream, bucket, sizeBytes }, chunksOf(bytes), call)
        assert.equal(kept.sizeBytes, length)
        assert.ok((await collect(client.getObject(bucket, 'k', undefined, call))).equals(bytes))
      }
    }
    await client.deleteObject(bucket, 'k', call)
  })
})

test('a stream that breaks, or has another length than was said, leaves nothing', { skip }, async () => {
  await withBucket(async (client, bucket) => {
    const broken = new Error('the client hung up')
    async function* breaking(): Bytes {
      yield* chunksOf(randomBytes(12 * MiB))
      throw broken
    }
    await assert.rejects(
      putStream(client, { ...stream, bucket, sizeBytes: undefined }, breaking(), call),
      (error) => error === broken,
    )
    for (const length of [100, 9 * MiB]) {
      for (const sizeBytes of [length - 1, length + 1]) {
        await assert.rejects(
          putStream(client, { ...stream, bucket, sizeBytes }, chunksOf(randomBytes(length)), call),
          Invalid,
        )
      }
    }
    for await (const { key } of client.list(bucket, '', call)) assert.fail(`${key} was left`)
  })
})

test('keys that are wrong, and a server that is not there, are told', { skip }, async () => {
  const { s3 } = await testSwift()
  const options = { endpoint: s3.endpoint, accessKey: s3.accessKey, pathStyle: true }
  await using wrong = new S3Client({ ...options, secretKey: new Secret('no') })
  await assert.rejects(collect(wrong.getObject('any', 'k', undefined, call)), Unauthenticated)
  await using nowhere = new S3Client({
    ...options,
    endpoint: 'http://127.0.0.1:1',
    secretKey: new Secret('no'),
  })
  await assert.rejects(nowhere.headBucket('any', call), BackendError)
})

test('no object that S3 can keep needs more than 10,000 parts', () => {
  assert.equal(partLength(undefined, 10 * MiB, 0), 10 * MiB)
  assert.equal(partLength(GiB, MiB, 0), 5 * MiB)
  const huge = 5 * 1024 * GiB
  assert.ok(partLength(huge, 10 * MiB, 0) * 10_000 >= huge)
  let total = 0
  for (let index = 0; index < 10_000; index += 1) total += partLength(undefined, 10 * MiB, index)
  assert.ok(total >= huge)
})
