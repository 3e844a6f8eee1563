import { hostname } from 'node:os'
import { resolve } from 'node:path'
import type { Call } from '../kernel/call.ts'
import type { Config } from '../kernel/config/config.ts'
import type { Database } from '../kernel/db/database.ts'
import { migrate } from '../kernel/db/migrate.ts'
import { Misconfigured } from '../kernel/errors.ts'
import type { ApiServer } from '../kernel/http/api-server.ts'
import type { TokenValidator } from '../kernel/http/request-context.ts'
import type { AnyJobDefinition, JobQueue } from '../kernel/jobs/job-queue.ts'
import type { Locks } from '../kernel/locks/locks.ts'
import type { Logger } from '../kernel/log.ts'
import { PolicyFiles } from '../kernel/policy/files.ts'
import { createImageApi } from './api.ts'
import { resumeFetches } from './cache/fetch.ts'
import { ImageCache } from './cache/image-cache.ts'
import { readCacheSettings } from './cache/options.ts'
import { DigestPool } from './data/digest-pool.ts'
import { keepRecovering, recoverUploads, resumeDeletions, sweepStaging, sweepStore } from './data/recover.ts'
import { Staging } from './data/staging.ts'
import { Uploads } from './data/uploads.ts'
import { imageMigrations } from './db/migrations/index.ts'
import type { ImageTables } from './db/tables.ts'
import type { Environment, ImageEndpoint } from './environment.ts'
import type { AnyImageStoreDefinition } from './image-store.ts'
import { deleteDataJob } from './images/delete.ts'
import { importJob } from './import/job.ts'
import { readImportSettings } from './import/options.ts'
import { RunningImports } from './import/running.ts'
import { locationJob } from './locations/job.ts'
import { nameLocations } from './locations/name-stores.ts'
import { Notifications } from './notifications.ts'
import { Policy } from './policy.ts'
import { PropertyProtections } from './property-protections.ts'
import { type LimitSource, Quotas } from './quotas.ts'
import { ImageSchemas } from './schemas/image-schemas.ts'
import { readImageSettings } from './settings.ts'
import { KeyManager } from './signatures/key-manager.ts'
import { configureStores, stagingDirectory } from './store-configuration.ts'

/** Between two looks at the policy files, in milliseconds. */
const policyReloadMs = 1_000
const knownMethods = ['glance-direct', 'web-download', 'copy-image', 'glance-download']

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
  /** Finds other regions' Image services; without it there is no glance-download. */
  readonly imageEndpoint?: ImageEndpoint
  /** The limits of projects, for `use_keystone_limits`. */
  readonly limits?: LimitSource
  /** The Identity API that tokens are from, for stores that act for the requester. */
  readonly identityUrl?: string
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
  const stores = await configureStores({
    config,
    definitions: options.imageStores,
    stateDirectory: options.stateDirectory,
    initiatorName: options.initiatorName,
    identityUrl: options.identityUrl,
    log,
  })
  const db = database.kysely
  await migrate(db, 'image', imageMigrations)
  const now = options.now ?? (() => new Date())
  const policyFiles = new PolicyFiles(config)
  const staging = new Staging(
    stagingDirectory(config, {
      multiStore: stores.multiStore,
      uri: settings.stagingUri,
      stateDirectory: options.stateDirectory,
    }),
  )
  const policy = new Policy((await policyFiles.changed()) ?? {}, {
    older: !policyFiles.enforceNewDefaults,
  })
  const digests = new DigestPool()
  const cacheSettings = readCacheSettings(config)
  const cache =
    cacheSettings.directory === undefined
      ? undefined
      : new ImageCache({
          db,
          node: settings.selfReferenceUrl ?? `http://${hostname()}`,
          directory: resolve(cacheSettings.directory),
          maxBytes: cacheSettings.maxBytes,
          digests,
          log,
          now,
        })
  const environment: Environment = {
    db,
    engine: database.engine,
    jobs: options.jobs,
    stores,
    settings,
    schemas: new ImageSchemas(settings),
    policy,
    protections: new PropertyProtections({
      file: settings.protectionFile,
      format: settings.protectionFormat,
      policy,
    }),
    notifications: new Notifications(config, log),
    keys: new KeyManager(config),
    digests,
    cache,
    cacheSettings,
    uploads: new Uploads(db, log, now),
    quotas: new Quotas({
      db,
      log,
      storageBytes: settings.storageQuotaBytes,
      limits: settings.unifiedLimits ? requireLimits(options.limits) : undefined,
    }),
    staging,
    imports: readImportSettings(config),
    running: new RunningImports(),
    imageEndpoint: options.imageEndpoint,
    importMethods: importMethods(settings.importMethods),
    log,
    now,
  }
  const stopping = new AbortController()
  const call: Call = { signal: stopping.signal, log }
  let recovering: Promise<void> | undefined
  let policyTimer: NodeJS.Timeout | undefined
  return {
    api: createImageApi(environment, options.tokens),
    jobDefinitions: [deleteDataJob(environment), importJob(environment), locationJob(environment)],
    async start() {
      await staging.start()
      await cache?.start()
      // SQLite belongs to this process alone: whoever was uploading into it is dead
      const recovered = await recoverUploads(environment, { everybody: database.engine === 'sqlite' })
      if (recovered > 0) log.warn({ images: recovered }, 'set images of interrupted uploads back to queued')
      await sweepStaging(environment, call)
      await resumeDeletions(environment)
      await stores.start(storePatienceMs, async (configured, startCall) => {
        await nameLocations(environment, configured)
        await sweepStore(environment, configured, startCall)
      })
      policyTimer = setInterval(() => void reloadPolicy(environment, policyFiles), policyReloadMs).unref()
      await resumeFetches(environment)
      if (database.engine !== 'sqlite') recovering = keepRecovering(environment, call)
    },
    async [Symbol.asyncDispose]() {
      stopping.abort(new Error('the service is stopping'))
      clearInterval(policyTimer)
      await recovering
      await cache?.[Symbol.asyncDispose]()
      await stores[Symbol.asyncDispose]()
      await environment.digests[Symbol.asyncDispose]()
      await environment.notifications[Symbol.asyncDispose]()
    },
  }
}

/** Methods that this service has; an unknown one stops it, because nobody could import with it. */
function importMethods(configured: readonly string[]): readonly string[] {
  for (const name of configured) {
    if (knownMethods.includes(name)) continue
    throw new Misconfigured(
      `[DEFAULT] enabled_import_methods: there is no method '${name}'; there are ${knownMethods.join(', ')}.`,
      { details: { option: 'enabled_import_methods' } },
    )
  }
  return configured
}

function requireLimits(limits: LimitSource | undefined): LimitSource {
  if (limits !== undefined) return limits
  throw new Misconfigured(
    '[DEFAULT] use_keystone_limits: there is no Keystone whose limits could be asked for.',
    {
      details: { option: 'use_keystone_limits' },
    },
  )
}

/** Rules of changed policy files count at once; a file that is wrong leaves the rules as they are. */
async function reloadPolicy(environment: Environment, files: PolicyFiles): Promise<void> {
  try {
    const overrides = await files.changed()
    if (overrides === undefined) return
    environment.policy.replace(overrides)
    environment.log.info('policy files have changed, and count from now on')
  } catch (error) {
    environment.log.error({ err: error }, 'changed policy files cannot be used')
  }
}
