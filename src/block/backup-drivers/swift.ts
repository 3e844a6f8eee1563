import { type Bytes, MiB } from '../../kernel/bytes.ts'
import type { Call } from '../../kernel/call.ts'
import { integer, secret, text } from '../../kernel/config/options.ts'
import { Misconfigured, NotFound } from '../../kernel/errors.ts'
import type { Secret } from '../../kernel/secret.ts'
import { swiftAuthV1 } from '../../swift/auth.ts'
import { SwiftClient } from '../../swift/client.ts'
import { type BackupPlan, defineBackupDriver } from '../backup-driver.ts'
import type { BlobContainer, BlobPlace, BlobStore } from './chunked/blob-store.ts'
import { chunkedBackupDriver } from './chunked/chunked.ts'
import { objectPrefix } from './chunked/object-prefix.ts'
import { type ChunkedSettings, chunkedOptions } from './chunked/options.ts'

/** What `[DEFAULT]` says of backups in Swift. */
export interface SwiftBackupSettings extends ChunkedSettings {
  readonly authUrl: string
  readonly user: string
  readonly key: Secret | undefined
  readonly container: string
  readonly objectBytes: number
  readonly blockBytes: number
}

/** Blobs as objects of Swift, named as Cinder's driver names them. One account holds them all. */
export class SwiftBlobStore implements BlobStore {
  readonly lanes = 2
  readonly chunkBytes: number
  readonly blockBytes: number
  readonly #settings: SwiftBackupSettings
  readonly #zone: string
  #client: SwiftClient | undefined

  constructor(settings: SwiftBackupSettings, availabilityZone: string) {
    this.#settings = settings
    this.#zone = availabilityZone
    this.chunkBytes = settings.objectBytes
    this.blockBytes = settings.blockBytes
  }

  async start(call: Call): Promise<void> {
    const { authUrl, user, key } = this.#settings
    if (authUrl === '' || user === '' || key === undefined) {
      throw new Misconfigured(
        'The swift backup driver needs backup_swift_auth_url, backup_swift_user and backup_swift_key.',
      )
    }
    this.#client ??= new SwiftClient({ auth: swiftAuthV1({ authUrl, user, key }) })
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

export default defineBackupDriver<SwiftBackupSettings>({
  name: 'swift',
  aliases: ['cinder.backup.drivers.swift.SwiftBackupDriver', 'cinder.backup.drivers.swift'],
  options: {
    ...chunkedOptions,
    authUrl: text('backup_swift_auth_url', { help: "Swift's own login: http://host:port/auth/v1.0." }),
    user: text('backup_swift_user', { help: 'account:user.' }),
    key: secret('backup_swift_key', { help: "The user's key." }),
    container: text('backup_swift_container', {
      default: 'volumebackups',
      help: 'Container of backups that ask for none.',
    }),
    objectBytes: integer('backup_swift_object_size', {
      default: 50 * MiB,
      min: 512,
      help: 'Most bytes of a volume in one object; a multiple of backup_swift_block_size.',
    }),
    blockBytes: integer('backup_swift_block_size', {
      default: 32_768,
      min: 512,
      help: 'Bytes by which changes are tracked for incremental backups.',
    }),
  },
  create: (settings, host) =>
    chunkedBackupDriver(new SwiftBlobStore(settings, host.availabilityZone), settings),
})
