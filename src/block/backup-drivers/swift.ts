import type { Bytes } from '../../kernel/bytes.ts'
import type { Call } from '../../kernel/call.ts'
import { Misconfigured, NotFound } from '../../kernel/errors.ts'
import type { SwiftClient } from '../../swift/client.ts'
import { type BackupPlan, defineBackupDriver } from '../backup-driver.ts'
import type { BlobContainer, BlobPlace, BlobStore } from './chunked/blob-store.ts'
import { chunkedBackupDriver } from './chunked/chunked.ts'
import { objectPrefix } from './chunked/object-prefix.ts'
import { openSwiftAccount } from './swift-account.ts'
import { type SwiftBackupSettings, swiftBackupOptions } from './swift-options.ts'

/** Blobs as objects of Swift, named as Cinder's driver names them. One account holds them all. */
export class SwiftBlobStore implements BlobStore {
  readonly lanes = 2
  readonly chunkBytes: number
  readonly blockBytes: number
  /** A stream cannot be sent twice: the volume is read again. */
  readonly retries: NonNullable<BlobStore['retries']>
  readonly #settings: SwiftBackupSettings
  readonly #zone: string
  #client: SwiftClient | undefined

  constructor(settings: SwiftBackupSettings, availabilityZone: string) {
    this.#settings = settings
    this.#zone = availabilityZone
    this.chunkBytes = settings.objectBytes
    this.blockBytes = settings.blockBytes
    const pauseMs = settings.retryBackoffSeconds * 1000
    this.retries = { attempts: 1 + settings.retryAttempts, pauseMs }
  }

  async start(call: Call): Promise<void> {
    this.#client ??= openSwiftAccount(this.#settings)
    await this.#client.storageUrl(call)
  }

  place(plan: BackupPlan) {
    return {
      container: plan.container ?? this.#settings.container,
      prefix: objectPrefix(plan, this.#zone),
    }
  }

  async open({ container, prefix }: BlobPlace, mode: 'read' | 'write', call: Call): Promise<BlobContainer> {
    const client = this.#started()
    if (mode === 'write') await client.putContainer(container, {}, call)
    return {
      async put(name: string, data: Bytes, putCall: Call) {
        await client.putObject(container, name, data, {}, putCall)
      },
      get: (name, getCall) => client.getObject(container, name, undefined, getCall),
      list: (listCall) => namesOf(client, container, prefix, listCall),
      [Symbol.asyncDispose]: async () => {},
    }
  }

  async remove({ container, prefix }: BlobPlace, call: Call): Promise<void> {
    const client = this.#started()
    for (const name of await namesOf(client, container, prefix, call)) {
      await client.deleteObject(container, name, call)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client?.[Symbol.asyncDispose]()
  }

  #started(): SwiftClient {
    if (this.#client === undefined) throw new Misconfigured('The swift backup driver has not started.')
    return this.#client
  }
}

/** Of a container that is not there: none. */
async function namesOf(
  client: SwiftClient,
  container: string,
  prefix: string,
  call: Call,
): Promise<string[]> {
  const names: string[] = []
  try {
    for await (const { name } of client.list(container, prefix, call)) names.push(name)
  } catch (error) {
    if (!(error instanceof NotFound)) throw error
  }
  return names
}

export default defineBackupDriver({
  name: 'swift',
  aliases: ['cinder.backup.drivers.swift.SwiftBackupDriver', 'cinder.backup.drivers.swift'],
  options: swiftBackupOptions,
  create: (settings, host) =>
    chunkedBackupDriver(new SwiftBlobStore(settings, host.availabilityZone), settings),
})
