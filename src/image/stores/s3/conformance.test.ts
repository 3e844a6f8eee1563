import { randomUUID } from 'node:crypto'
import { uncancelled } from '../../../kernel/call.ts'
import { defaultsOf } from '../../../kernel/config/options.ts'
import { Secret } from '../../../kernel/secret.ts'
import { S3Client } from '../../../s3/client.ts'
import { abortUploads } from '../../../s3/put-stream.ts'
import { testSwift, whyNoSwift } from '../../../swift/test-support.ts'
import { imageStoreConformance, type StoreUnderTest } from '../../image-store.conformance.ts'
import { testPlace } from '../../testing.ts'
import definition from './definition.ts'

/** A store in a bucket of its own, on a real server. */
async function bucketStore(): Promise<StoreUnderTest> {
  const { s3 } = await testSwift()
  const bucket = `images-${randomUUID()}`
  const secretKey = new Secret(s3.secretKey)
  const settings = {
    ...defaultsOf(definition.options),
    host: s3.endpoint,
    accessKey: s3.accessKey,
    secretKey,
    bucket,
    createBucket: true,
    largeObjectMib: 10,
    partMib: 5,
    parallelParts: 3,
  }
  const client = new S3Client({ endpoint: s3.endpoint, accessKey: s3.accessKey, secretKey, pathStyle: true })
  const call = uncancelled()
  await client.createBucket(bucket, call)
  const open = async () => {
    const store = await definition.create(settings, testPlace('s3'))
    await store.start(call)
    return store
  }
  return {
    store: await open(),
    restart: open,
    async leftovers() {
      const names: string[] = []
      for await (const { key } of client.list(bucket, '', call)) names.push(key)
      const uploads: string[] = []
      await abortUploads(client, bucket, async (key) => uploads.push(`upload of ${key}`) === 0, call)
      return [...names, ...uploads]
    },
    async [Symbol.asyncDispose]() {
      await client.deleteBucket(bucket, call)
      await client.deleteBucket(`${bucket}+segments`, call).catch(() => {}) // where this server keeps parts
      await client[Symbol.asyncDispose]()
    },
  }
}

const reason = whyNoSwift()
if (reason === undefined) imageStoreConformance('s3 store', bucketStore)
else process.stdout.write(`skipped: ${reason}\n`)
