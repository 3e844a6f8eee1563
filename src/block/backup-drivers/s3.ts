import { type Bytes, MiB } from '../../kernel/bytes.ts'
import type { Call } from '../../kernel/call.ts'
import { boolean, integer, optionalText, secret, text } from '../../kernel/config/options.ts'
import { Misconfigured, NotFound } from '../../kernel/errors.ts'
import type { Secret } from '../../kernel/secret.ts'
import { readTrust } from '../../kernel/tls-trust.ts'
import { S3Client } from '../../s3/client.ts'
import { leastPartBytes, putStream } from '../../s3/put-stream.ts'
import { type BackupPlan, defineBackupDriver } from '../backup-driver.ts'
import type { BlobContainer, BlobPlace, BlobStore } from './chunked/blob-store.ts'
import { chunkedBackupDriver } from './chunked/chunked.ts'
import { objectPrefix } from './chunked/object-prefix.ts'
import { type ChunkedSettings, chunkedOptions } from './chunked/options.ts'

/** Parts of one object that are sent at once; each is in memory. */
const parallelParts = 2

/** What `[DEFAULT]` says of backups in S3. */
export interface S3BackupSettings extends ChunkedSettings {
  readonly endpoint: string
  readonly accessKey: string
  readonly secretKey: Secret | undefined
  readonly region: string | undefined
  readonly bucket: string
  readonly objectBytes: number
  readonly blockBytes: number
  readonly verifyCertificate: boolean
  readonly caFile: string | undefined
  readonly connections: number
  readonly maxAttempts: number
}

/** Blobs as objects of S3, named as Cinder's driver names them. One pair of keys holds them all. */
export class S3BlobStore implements BlobStore {
  readonly lanes = 2
  readonly chunkBytes: number
  readonly blockBytes: number
  readonly #settings: S3BackupSettings
  readonly #zone: string
  #client: S3Client | undefined

  constructor(settings: S3BackupSettings, availabilityZone: string) {
    this.#settings = settings
    this.#zone = availabilityZone
    this.chunkBytes = settings.objectBytes
    this.blockBytes = settings.blockBytes
  }

  /** The bucket is made when the first backup needs it: until then it only has to be in reach. */
  async start(call: Call): Promise<void> {
    const { endpoint, accessKey, secretKey, verifyCertificate, caFile } = this.#settings
    if (endpoint === '' || accessKey === '' || secretKey === undefined) {
      throw new Misconfigured(
        'The s3 backup driver needs backup_s3_endpoint_url, backup_s3_store_access_key and backup_s3_store_secret_key.',
      )
    }
    this.#client ??= new S3Client({
      ...{ endpoint, accessKey, secretKey, region: this.#settings.region },
      pathStyle: true, // what most servers know, and Amazon still takes
      trust: readTrust('backup_s3_ca_cert_file', caFile, !verifyCertificate),
      connections: this.#settings.connections,
      maxAttempts: this.#settings.maxAttempts,
    })
    await this.#client.exists(this.#settings.bucket, 'emberglass', call)
  }

  place(plan: BackupPlan) {
    return {
      container: plan.container ?? this.#settings.bucket,
      prefix: objectPrefix(plan, this.#zone),
    }
  }

  async open({ container, prefix }: BlobPlace, mode: 'read' | 'write', call: Call): Promise<BlobContainer> {
    const client = this.#started()
    if (mode === 'write') await client.createBucket(container, call)
    return {
      async put(name: string, data: Bytes, putCall: Call) {
        const parts = { partBytes: leastPartBytes, largeBytes: leastPartBytes, parallel: parallelParts }
        const stream = { bucket: container, key: name, sizeBytes: undefined, ...parts }
        await putStream(client, stream, data, putCall)
      },
      get: (name, getCall) => client.getObject(container, name, undefined, getCall),
      list: (listCall) => keysOf(client, container, prefix, listCall),
      [Symbol.asyncDispose]: async () => {},
    }
  }

  async remove({ container, prefix }: BlobPlace, call: Call): Promise<void> {
    const client = this.#started()
    for (const key of await keysOf(client, container, prefix, call)) {
      await client.deleteObject(container, key, call)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client?.[Symbol.asyncDispose]()
  }

  #started(): S3Client {
    if (this.#client === undefined) throw new Misconfigured('The s3 backup driver has not started.')
    return this.#client
  }
}

/** Of a bucket that is not there: none. */
async function keysOf(client: S3Client, bucket: string, prefix: string, call: Call): Promise<string[]> {
  const keys: string[] = []
  try {
    for await (const { key } of client.list(bucket, prefix, call)) keys.push(key)
  } catch (error) {
    if (!(error instanceof NotFound)) throw error
  }
  return keys
}

export default defineBackupDriver<S3BackupSettings>({
  name: 's3',
  aliases: ['cinder.backup.drivers.s3.S3BackupDriver', 'cinder.backup.drivers.s3'],
  options: {
    ...chunkedOptions,
    endpoint: text('backup_s3_endpoint_url', { help: 'The server: http://host:port or https://….' }),
    accessKey: text('backup_s3_store_access_key', { help: 'The access key.' }),
    secretKey: secret('backup_s3_store_secret_key', { help: 'The secret that belongs to it.' }),
    region: optionalText('backup_s3_region', { help: 'The region, for signatures. us-east-1 when absent.' }),
    bucket: text('backup_s3_store_bucket', {
      default: 'volumebackups',
      help: 'Bucket of backups that ask for none.',
    }),
    objectBytes: integer('backup_s3_object_size', {
      default: 50 * MiB,
      min: 512,
      help: 'Most bytes of a volume in one object; a multiple of backup_s3_block_size.',
    }),
    blockBytes: integer('backup_s3_block_size', {
      default: 32_768,
      min: 512,
      help: 'Bytes by which changes are tracked for incremental backups.',
    }),
    verifyCertificate: boolean('backup_s3_verify_ssl', {
      default: true,
      help: "Whether the server's certificate has to be valid.",
    }),
    caFile: optionalText('backup_s3_ca_cert_file', {
      help: "Authorities that sign the server's certificate.",
    }),
    connections: integer('backup_s3_max_pool_connections', {
      default: 10,
      min: 1,
      help: 'Connections to the server at most.',
    }),
    maxAttempts: integer('backup_s3_retry_max_attempts', {
      default: 4,
      min: 1,
      help: 'Tries of one request in total.',
    }),
  },
  create: (settings, host) => chunkedBackupDriver(new S3BlobStore(settings, host.availabilityZone), settings),
})
