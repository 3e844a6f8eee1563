import { mkdir } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import type { Kysely } from 'kysely'
import type { Config } from '../kernel/config/config.ts'
import { openSecretBox } from '../kernel/crypto/secret-box.ts'
import type { Database } from '../kernel/db/database.ts'
import { messageOf } from '../kernel/errors.ts'
import type { ApiServer } from '../kernel/http/api-server.ts'
import type { TokenValidator } from '../kernel/http/request-context.ts'
import type { AnyJobDefinition, JobQueue } from '../kernel/jobs/job-queue.ts'
import type { Locks } from '../kernel/locks/locks.ts'
import type { Logger } from '../kernel/log.ts'
import { Notifier } from '../kernel/notifications/notifier.ts'
import { PolicyFiles } from '../kernel/policy/files.ts'
import { createBlockApi } from './api.ts'
import { repairAttachments } from './attachments/repair.ts'
import { createBackends } from './backends.ts'
import type { AnyBackupDriverDefinition } from './backup-driver.ts'
import { createBackupHandlers } from './backups/handlers.ts'
import type { Block } from './context.ts'
import type { Tables } from './db/tables.ts'
import { createConsistencyGroupType } from './group-types/queries.ts'
import type { ImageService } from './image-service.ts'
import { blockJobs } from './jobs.ts'
import { purgeMessages } from './messages/queries.ts'
import { notifyingAdministration } from './notifications/administration.ts'
import { notifyingJobs } from './notifications/jobs.ts'
import { notifyingOperations } from './notifications/operations.ts'
import { blockOperations } from './operations.ts'
import { BlockPolicy } from './policy.ts'
import { recordHeartbeat } from './services/heartbeat.ts'
import { readBlockSettings } from './settings.ts'
import { createFirstTypes } from './types/first.ts'
import { typeFacts } from './types/queries.ts'
import type { AnyVolumeDriverDefinition } from './volume-driver.ts'

export interface BlockServiceOptions {
  /** Shared with other services, and migrated: `migrate(kysely, 'block', blockMigrations)`. */
  readonly database: Database<Tables>
  readonly jobs: JobQueue
  readonly locks: Locks
  readonly log: Logger
  /** `cinder.conf`. */
  readonly config: Config
  readonly tokens: TokenValidator
  readonly images: ImageService
  readonly volumeDrivers: readonly AnyVolumeDriverDefinition[]
  readonly backupDrivers: readonly AnyBackupDriverDefinition[]
  readonly stateDirectory: string
  /** First part of `host@backend`; `[DEFAULT] host` wins. */
  readonly host: string
  /** Our own initiator name, for the data path. */
  readonly initiatorName: string
  readonly now?: () => Date
}

/** The block storage service: an API and the jobs behind it. */
export interface BlockService extends AsyncDisposable {
  /** Not listening yet. */
  readonly api: ApiServer
  readonly jobDefinitions: readonly AnyJobDefinition[]
  /** Makes the first volume types and begins to start the backends; does not wait for them. */
  start(): Promise<void>
  /** Resolves when every backend has started or failed once. For tests. */
  backendsTried(signal: AbortSignal): Promise<void>
}

/** Between two looks for expired messages, and for changed policy files; in milliseconds. */
const purgeIntervalMs = 3_600_000
const policyIntervalMs = 5_000

export async function createBlockService(options: BlockServiceOptions): Promise<BlockService> {
  const { config, log, locks } = options
  const stopping = new AbortController()
  const timers: NodeJS.Timeout[] = []
  const background = new Set<Promise<void>>()
  const settings = readBlockSettings(config)
  const policyFiles = new PolicyFiles(config)
  const policy = new BlockPolicy({ newDefaults: policyFiles.enforceNewDefaults })
  const readPolicy = async () => {
    const overrides = await policyFiles.changed()
    if (overrides !== undefined) policy.override(overrides)
  }
  await readPolicy()
  const host = settings.host || options.host || hostname()
  const db: Kysely<Tables> = options.database.kysely
  const backends = await createBackends({
    config,
    settings,
    definitions: options.volumeDrivers,
    locks,
    log,
    stateDirectory: options.stateDirectory,
    host,
    initiatorName: options.initiatorName,
    volumeType: (id) => typeFacts(db, id),
    onChange: () => run('the heartbeat', () => beat()),
  })
  const backups = await createBackupHandlers({
    config,
    definitions: options.backupDrivers,
    locks,
    log,
    stateDirectory: options.stateDirectory,
    initiatorName: options.initiatorName,
    availabilityZone: settings.storageAvailabilityZone,
    onChange: () => run('the heartbeat', () => beat()),
  })
  await mkdir(options.stateDirectory, { recursive: true, mode: 0o700 })
  const block: Block = {
    db,
    engine: options.database.engine,
    jobs: options.jobs,
    log,
    settings,
    backends,
    backups,
    images: options.images,
    notifications: new Notifier(config, log),
    locks,
    conversionDirectory: join(options.stateDirectory, 'conversion'),
    secrets: await openSecretBox(join(options.stateDirectory, 'secrets.key')),
    now: options.now ?? (() => new Date()),
  }
  const api = createBlockApi({
    log,
    tokens: options.tokens,
    settings,
    policy,
    operations: notifyingAdministration(block, host, notifyingOperations(block, blockOperations(block))),
  })
  /** One after the other, so that an older state never replaces a newer one. */
  let lastBeat: Promise<void> = Promise.resolve()
  function beat(): Promise<void> {
    lastBeat = lastBeat.catch(() => {}).then(() => recordHeartbeat(block, host))
    return lastBeat
  }

  /** Work that nobody waits for; the service waits for it when it stops. */
  function run(what: string, work: () => Promise<void>): void {
    const running = work()
      .catch((error: unknown) => {
        if (!stopping.signal.aborted)
          log.warn({ error: messageOf(error) }, `${what} failed, will be tried again`)
      })
      .finally(() => background.delete(running))
    background.add(running)
  }

  function every(milliseconds: number, what: string, work: () => Promise<void>): void {
    run(what, work)
    const timer = setInterval(() => run(what, work), milliseconds)
    timer.unref()
    timers.push(timer)
  }

  return {
    api,
    jobDefinitions: notifyingJobs(block, blockJobs(block)),
    async start() {
      await createFirstTypes(block)
      await createConsistencyGroupType(block)
      await repairAttachments(block)
      backends.start()
      backups.start()
      every(settings.reportIntervalSeconds * 1000, 'the heartbeat', async () => {
        await backends.check(stopping.signal)
        await beat()
      })
      every(policyIntervalMs, 'reading the policy files', readPolicy)
      every(purgeIntervalMs, 'removing expired messages', () => purgeMessages(block))
      await beat()
    },
    async backendsTried(signal) {
      await Promise.all([backends.pools(signal), backups.tried()])
      await beat()
    },
    async [Symbol.asyncDispose]() {
      stopping.abort(new Error('the service is stopping'))
      for (const timer of timers) clearInterval(timer)
      await Promise.all(background)
      await backends[Symbol.asyncDispose]()
      await backups[Symbol.asyncDispose]()
      await block.notifications[Symbol.asyncDispose]()
      await api.close()
    },
  }
}
