import type { Call } from '../kernel/call.ts'
import type { Config } from '../kernel/config/config.ts'
import type { Database } from '../kernel/db/database.ts'
import { migrate } from '../kernel/db/migrate.ts'
import type { ApiServer } from '../kernel/http/api-server.ts'
import type { TokenValidator } from '../kernel/http/request-context.ts'
import type { AnyJobDefinition, JobQueue } from '../kernel/jobs/job-queue.ts'
import type { Locks } from '../kernel/locks/locks.ts'
import type { Logger } from '../kernel/log.ts'
import { createImageApi } from './api.ts'
import { DigestPool } from './data/digest-pool.ts'
import { keepRecovering, recoverUploads, resumeDeletions, sweepStore } from './data/recover.ts'
import { Uploads } from './data/uploads.ts'
import { imageMigrations } from './db/migrations/index.ts'
import type { ImageTables } from './db/tables.ts'
import type { Environment } from './environment.ts'
import type { AnyImageStoreDefinition } from './image-store.ts'
import { deleteDataJob } from './images/delete.ts'
import { Policy } from './policy.ts'
import { ImageSchemas } from './schemas/image-schemas.ts'
import { readImageSettings } from './settings.ts'
import { configureStores } from './store-configuration.ts'

/** How long the start waits for stores; slower ones come up in the background. Milliseconds. */
const storePatienceMs = 300

export interface ImageServiceOptions {
  /** Shared with other services of the process; never closed here. */
  readonly database: Database<ImageTables>
  readonly jobs: JobQueue
  readonly locks: Locks
  readonly log: Logger
  /** `glance-api.conf`. */
  readonly config: Config
  readonly tokens: TokenValidator
  readonly imageStores: readonly AnyImageStoreDefinition[]
  readonly stateDirectory: string
  /** Our own, for stores that are block devices. */
  readonly initiatorName: string
  readonly now?: () => Date
}

export interface ImageService extends AsyncDisposable {
  /** Not listening yet. */
  readonly api: ApiServer
  readonly jobDefinitions: readonly AnyJobDefinition[]
  /**
   * Brings back what a process before this one left half-done, and starts the stores.
   * @throws Misconfigured
   */
  start(): Promise<void>
}

/**
 * The Image API v2 with its stores.
 * @throws Misconfigured, in one clear line, when the configuration cannot work
 */
export async function createImageService(options: ImageServiceOptions): Promise<ImageService> {
  const { database, log, config } = options
  const settings = readImageSettings(config)
  const stores = configureStores({
    config,
    definitions: options.imageStores,
    stateDirectory: options.stateDirectory,
    initiatorName: options.initiatorName,
    log,
  })
  const db = database.kysely
  await migrate(db, 'image', imageMigrations)
  const now = options.now ?? (() => new Date())
  const environment: Environment = {
    db,
    engine: database.engine,
    jobs: options.jobs,
    stores,
    settings,
    schemas: new ImageSchemas(settings),
    policy: new Policy(),
    digests: new DigestPool(),
    uploads: new Uploads(db, log, now),
    importMethods: [],
    log,
    now,
  }
  const stopping = new AbortController()
  const call: Call = { signal: stopping.signal, log }
  let recovering: Promise<void> | undefined
  return {
    api: createImageApi(environment, options.tokens),
    jobDefinitions: [deleteDataJob(environment)],
    async start() {
      // SQLite belongs to this process alone: whoever was uploading into it is dead
      const recovered = await recoverUploads(environment, { everybody: database.engine === 'sqlite' })
      if (recovered > 0) log.warn({ images: recovered }, 'set images of interrupted uploads back to queued')
      await resumeDeletions(environment)
      await stores.start(storePatienceMs, (configured, startCall) =>
        sweepStore(environment, configured, startCall),
      )
      if (database.engine !== 'sqlite') recovering = keepRecovering(environment, call)
    },
    async [Symbol.asyncDispose]() {
      stopping.abort(new Error('the service is stopping'))
      await recovering
      await stores[Symbol.asyncDispose]()
      await environment.digests[Symbol.asyncDispose]()
    },
  }
}
