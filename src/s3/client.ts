import type { S3Client as Library, S3ClientConfig } from '@aws-sdk/client-s3'
import type { ByteRange, Bytes } from '../kernel/bytes.ts'
import { type Call, sleep } from '../kernel/call.ts'
import { BackendError, Conflict, messageOf, NotFound, StorageError } from '../kernel/errors.ts'
import type { Secret } from '../kernel/secret.ts'
import { connectOptions, type TlsTrust } from '../kernel/tls-trust.ts'
import { s3Fault } from './errors.ts'

/** How long S3 may take to accept a connection, and to begin an answer, in milliseconds. */
const connectTimeoutMs = 10_000
const answerTimeoutMs = 60_000
/** Before a download goes on after its connection broke; doubled each time, up to the most. Milliseconds. */
const firstRetryMs = 250
const maxRetryMs = 8_000

export type Commands = typeof import('@aws-sdk/client-s3')

export interface S3Options {
  /** `http://host:port`; absent means Amazon's own. */
  readonly endpoint?: string | undefined
  readonly accessKey: string
  readonly secretKey: Secret
  /** For signing; `us-east-1` by default. */
  readonly region?: string | undefined
  /** `http://host/bucket/key` instead of `http://bucket.host/key`. */
  readonly pathStyle: boolean
  readonly trust?: TlsTrust | undefined
  /** Tries of one request in total, 3 by default. */
  readonly maxAttempts?: number | undefined
  /** Connections at most, 50 by default. */
  readonly connections?: number | undefined
  /** Checksums beside the signature; many servers know only what is required, which is the default. */
  readonly requestChecksums?: 'WHEN_REQUIRED' | 'WHEN_SUPPORTED' | undefined
  readonly responseChecksums?: 'WHEN_REQUIRED' | 'WHEN_SUPPORTED' | undefined
  /** Encryption by the server with a key that only we keep. */
  readonly customerKey?: { readonly algorithm: string; readonly key: Secret } | undefined
}

export interface S3Facts {
  readonly sizeBytes: number
  /** Without quotes: the MD5 of an object that was kept in one request. */
  readonly etag: string | undefined
  /** User metadata, lower case. */
  readonly metadata: Readonly<Record<string, string>>
}

export interface S3Entry {
  readonly key: string
  readonly sizeBytes: number
  readonly etag: string
}

type CustomerKey = { SSECustomerAlgorithm?: string; SSECustomerKey?: string }

/**
 * An S3 server, with one pair of keys. The library, which is large, is loaded at the first call. Only kernel errors
 * escape, and the reason of an abort.
 * @see Amazon S3 API reference
 */
export class S3Client implements AsyncDisposable {
  readonly #options: S3Options
  #loaded: Promise<{ library: Library; commands: Commands }> | undefined

  constructor(options: S3Options) {
    this.#options = options
  }

  /**
   * Runs one call of the library.
   * @param what completes the sentence "S3 refused to …"
   */
  async run<Result>(
    what: string,
    call: Call,
    work: (library: Library, commands: Commands, cancel: { abortSignal: AbortSignal }) => Promise<Result>,
  ): Promise<Result> {
    call.signal.throwIfAborted()
    try {
      this.#loaded ??= this.#load()
      const { library, commands } = await this.#loaded
      return await work(library, commands, { abortSignal: call.signal })
    } catch (error) {
      if (call.signal.aborted) throw call.signal.reason
      throw s3Fault(error, what)
    }
  }

  async #load(): Promise<{ library: Library; commands: Commands }> {
    const options = this.#options
    const commands = await import('@aws-sdk/client-s3')
    const sockets = { keepAlive: true, maxSockets: options.connections ?? 50 }
    const config: S3ClientConfig = {
      credentials: { accessKeyId: options.accessKey, secretAccessKey: options.secretKey.reveal() },
      region: options.region ?? 'us-east-1',
      forcePathStyle: options.pathStyle,
      followRegionRedirects: true,
      maxAttempts: options.maxAttempts ?? 3,
      requestChecksumCalculation: options.requestChecksums ?? 'WHEN_REQUIRED',
      responseChecksumValidation: options.responseChecksums ?? 'WHEN_REQUIRED',
      requestHandler: {
        connectionTimeout: connectTimeoutMs,
        requestTimeout: answerTimeoutMs,
        httpAgent: sockets,
        httpsAgent: { ...sockets, ...connectOptions(options.trust ?? { verify: true }) },
      },
      ...(options.endpoint === undefined ? {} : { endpoint: options.endpoint }),
    }
    return { library: new commands.S3Client(config), commands }
  }

  /** What goes with every request for an object's data. */
  get customerKey(): CustomerKey {
    const { customerKey } = this.#options
    if (customerKey === undefined) return {}
    return { SSECustomerAlgorithm: customerKey.algorithm, SSECustomerKey: customerKey.key.reveal() }
  }

  /** @throws NotFound */
  async headBucket(bucket: string, call: Call): Promise<void> {
    await this.run(`describe bucket ${bucket}`, call, (library, { HeadBucketCommand }, cancel) =>
      library.send(new HeadBucketCommand({ Bucket: bucket }), cancel),
    )
  }

  /** It is ours already: fine. */
  async createBucket(bucket: string, call: Call): Promise<void> {
    const { region } = this.#options
    const place =
      region === undefined || region === '' || region === 'us-east-1'
        ? {}
        : { CreateBucketConfiguration: { LocationConstraint: region as never } } // a list of Amazon's regions
    try {
      await this.run(`make bucket ${bucket}`, call, (library, { CreateBucketCommand }, cancel) =>
        library.send(new CreateBucketCommand({ Bucket: bucket, ...place }), cancel),
      )
    } catch (error) {
      if (error instanceof Conflict && error.details['code'] === 'BucketAlreadyOwnedByYou') return
      throw error
    }
  }

  /** Already gone: fine. @throws Conflict when it is not empty */
  async deleteBucket(bucket: string, call: Call): Promise<void> {
    await this.run(`delete bucket ${bucket}`, call, (library, { DeleteBucketCommand }, cancel) =>
      library.send(new DeleteBucketCommand({ Bucket: bucket }), cancel),
    ).catch(unlessGone)
  }

  /** Keeps an object in one request, in place of any of that name. @returns its ETag */
  async putObject(
    bucket: string,
    key: string,
    body: Uint8Array,
    call: Call,
    metadata: Readonly<Record<string, string>> = {},
  ): Promise<string | undefined> {
    const input = { Bucket: bucket, Key: key, Body: body, Metadata: metadata, ...this.customerKey }
    const answer = await this.run(`keep ${bucket}/${key}`, call, (library, { PutObjectCommand }, cancel) =>
      library.send(new PutObjectCommand(input), cancel),
    )
    return unquoted(answer.ETag)
  }

  /** @throws NotFound */
  async headObject(bucket: string, key: string, call: Call): Promise<S3Facts> {
    const input = { Bucket: bucket, Key: key, ...this.customerKey }
    const answer = await this.run(
      `describe ${bucket}/${key}`,
      call,
      (library, { HeadObjectCommand }, cancel) => library.send(new HeadObjectCommand(input), cancel),
    )
    return {
      sizeBytes: answer.ContentLength ?? 0,
      etag: unquoted(answer.ETag),
      metadata: answer.Metadata ?? {},
    }
  }

  /** Is the object there? */
  async exists(bucket: string, key: string, call: Call): Promise<boolean> {
    try {
      await this.headObject(bucket, key, call)
      return true
    } catch (error) {
      if (error instanceof NotFound) return false
      throw error
    }
  }

  /**
   * The bytes of an object, or a range of them. A connection that breaks is opened again where it broke.
   * @throws NotFound on the first pull; Conflict when the object was replaced meanwhile; Invalid when the range
   *   begins behind the end
   */
  async *getObject(bucket: string, key: string, range: ByteRange | undefined, call: Call): Bytes {
    if (range !== undefined && range.end <= range.start) return
    const most = this.#options.maxAttempts ?? 3
    let position = range?.start ?? 0
    let etag: string | undefined
    for (let failures = 0; ; ) {
      const last = range === undefined ? '' : range.end - 1
      const input = {
        Bucket: bucket,
        Key: key,
        ...this.customerKey,
        ...(range === undefined && position === 0 ? {} : { Range: `bytes=${position}-${last}` }),
        ...(etag === undefined ? {} : { IfMatch: etag }),
      }
      const what = `serve ${bucket}/${key}`
      const answer = await this.run(what, call, (library, { GetObjectCommand }, cancel) =>
        library.send(new GetObjectCommand(input), cancel),
      )
      etag ??= answer.ETag
      const end = position + (answer.ContentLength ?? 0)
      // in Node it is always a stream of Node's
      const body = answer.Body as unknown as Bytes & { destroy(): void }
      let failure: unknown
      try {
        for await (const chunk of body) {
          call.signal.throwIfAborted()
          position += chunk.byteLength
          yield chunk
        }
        if (position >= end) return
        failure = new Error('the answer ended too early')
      } catch (error) {
        if (call.signal.aborted) throw call.signal.reason
        failure = error
      } finally {
        body.destroy()
      }
      failures += 1
      if (failure instanceof StorageError || failures >= most) throw s3Fault(failure, what)
      call.log.warn({ bucket, key, position, error: messageOf(failure) }, 'reading goes on')
      await sleep(Math.min(maxRetryMs, firstRetryMs * 2 ** (failures - 1)), call.signal)
    }
  }

  /** The objects whose key begins so. @throws NotFound when there is no such bucket */
  async *list(bucket: string, prefix: string, call: Call): AsyncGenerator<S3Entry> {
    for (let after: string | undefined; ; ) {
      const input = {
        Bucket: bucket,
        Prefix: prefix,
        ...(after === undefined ? {} : { ContinuationToken: after }),
      }
      const page = await this.run(`list ${bucket}`, call, (library, { ListObjectsV2Command }, cancel) =>
        library.send(new ListObjectsV2Command(input), cancel),
      )
      for (const { Key: key, Size: sizeBytes, ETag: etag } of page.Contents ?? []) {
        if (key !== undefined) yield { key, sizeBytes: sizeBytes ?? 0, etag: unquoted(etag) ?? '' }
      }
      after = page.NextContinuationToken
      if (page.IsTruncated !== true) return
      if (after === undefined) {
        throw new BackendError(`S3 cut the list of ${bucket} without saying where.`, { left: 'nothing' })
      }
    }
  }

  /** Already gone: fine. */
  async deleteObject(bucket: string, key: string, call: Call): Promise<void> {
    await this.run(`delete ${bucket}/${key}`, call, (library, { DeleteObjectCommand }, cancel) =>
      library.send(new DeleteObjectCommand({ Bucket: bucket, Key: key }), cancel),
    ).catch(unlessGone)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const loaded = await this.#loaded?.catch(() => undefined)
    loaded?.library.destroy()
  }
}

function unquoted(etag: string | undefined): string | undefined {
  return etag?.replaceAll('"', '')
}

function unlessGone(error: unknown): void {
  if (!(error instanceof NotFound)) throw error
}
