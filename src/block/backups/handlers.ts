import { join } from 'node:path'
import { withTimeout } from '../../kernel/call.ts'
import type { Config } from '../../kernel/config/config.ts'
import { BackendError, Misconfigured, messageOf } from '../../kernel/errors.ts'
import type { Locks } from '../../kernel/locks/locks.ts'
import type { Logger } from '../../kernel/log.ts'
import type { AnyBackupDriverDefinition, BackupDriver } from '../backup-driver.ts'
import { type BackupSettings, readBackupSettings } from './settings.ts'

const startTimeoutMs = 60_000

/** The backup drivers of this process, by short key. They start in the background, and again when that failed. */
export interface BackupHandlers extends AsyncDisposable {
  readonly settings: BackupSettings
  /** Key of the driver for all that has no other. */
  readonly primary: string
  readonly enabled: readonly string[]
  /** Whether names of backups choose a driver. */
  readonly dispatching: boolean
  /** Whether the primary driver answers. */
  readonly isUp: boolean
  start(): void
  /** Resolves when every driver has started or failed once. */
  tried(): Promise<void>
  /** The driver, started or not: for what needs no target. */
  find(key: string): BackupDriver | undefined
  /** @throws BackendError that names the driver when it is not enabled or does not answer */
  ready(key: string | null, signal: AbortSignal): Promise<BackupDriver>
  /** The class by which upstream knows a driver. */
  serviceName(key: string): string | undefined
  /** The key of the driver that a module, a class or a short name means. */
  keyOf(service: string): string | undefined
  /** Runs alone among all work on one backup, in every process. */
  exclusively<Result>(backupId: string, signal: AbortSignal, work: () => Promise<Result>): Promise<Result>
}

/** One enabled driver. */
class Handler {
  readonly key: string
  readonly driver: BackupDriver
  state: 'starting' | 'up' | 'down' = 'starting'
  failure = 'it is starting'
  /** Set when it is worth another try soon: the target may just be starting. */
  retryAfterMs: number | undefined
  #attempt: Promise<void> | undefined

  constructor(key: string, driver: BackupDriver) {
    this.key = key
    this.driver = driver
  }

  /** Starts the driver unless it runs. Never rejects: `state` and `failure` tell. */
  start(signal: AbortSignal, log: Logger, onChange: () => void): Promise<void> {
    if (this.state === 'up') return Promise.resolve()
    this.#attempt ??= this.#try(signal, log, onChange).finally(() => {
      this.#attempt = undefined
    })
    return this.#attempt
  }

  async #try(signal: AbortSignal, log: Logger, onChange: () => void): Promise<void> {
    try {
      using call = withTimeout({ signal, log }, startTimeoutMs, `backup driver ${this.key}`)
      await this.driver.start(call)
      this.state = 'up'
      log.info({ driver: this.key }, 'backup driver started')
    } catch (error) {
      if (signal.aborted) return
      this.state = 'down'
      this.failure = messageOf(error)
      this.retryAfterMs = error instanceof BackendError ? error.retryAfterMs : undefined
      log.error({ driver: this.key, error: this.failure }, 'backup driver did not start, will be tried again')
    }
    onChange()
  }
}

/** @throws Misconfigured for a driver that does not exist, or one that is named twice */
export async function createBackupHandlers(options: {
  config: Config
  definitions: readonly AnyBackupDriverDefinition[]
  locks: Locks
  log: Logger
  stateDirectory: string
  initiatorName: string
  availabilityZone: string
  onChange: () => void
}): Promise<BackupHandlers> {
  const { config, definitions, log } = options
  const settings = readBackupSettings(config)
  const stopping = new AbortController()
  const primaryDefinition = definitionOf('backup_driver', settings.driver ?? 'posix')
  const dispatching = primaryDefinition.name === 'datera'
  const handlers = new Map<string, Handler>()
  await add('backup_driver', primaryDefinition)
  if (dispatching) {
    const option = 'backup_datera_secondary_backup_drivers'
    for (const entry of settings.secondaryDrivers) await add(option, definitionOf(option, entry))
  }
  const primary = primaryDefinition.name
  let timer: NodeJS.Timeout | undefined

  function definitionOf(option: string, wanted: string): AnyBackupDriverDefinition {
    const found = definitions.find(({ name, aliases }) => name === wanted || aliases.includes(wanted))
    if (found !== undefined) return found
    const known = definitions.map(({ name }) => name).join(', ')
    throw new Misconfigured(
      `${option}: ${wanted} is not a backup driver that exists here; there are: ${known}.`,
    )
  }

  async function add(option: string, definition: AnyBackupDriverDefinition): Promise<void> {
    const { name } = definition
    if (handlers.has(name)) throw new Misconfigured(`${option}: the backup driver ${name} is named twice.`)
    const driverSettings = config.read<object>('DEFAULT', definition.options)
    const driver = await definition.create(driverSettings, {
      initiatorName: options.initiatorName,
      stateDirectory: join(options.stateDirectory, 'backup-drivers'),
      availabilityZone: options.availabilityZone,
    })
    handlers.set(name, new Handler(name, driver))
  }

  const startAll = () =>
    Promise.all([...handlers.values()].map((each) => each.start(stopping.signal, log, options.onChange)))

  return {
    settings,
    primary,
    enabled: [...handlers.keys()],
    dispatching,
    get isUp() {
      return handlers.get(primary)?.state === 'up'
    },

    start() {
      void startAll()
      timer = setInterval(() => void startAll(), settings.startRetrySeconds * 1000)
      timer.unref()
    },

    async tried() {
      await startAll()
    },

    find: (key) => handlers.get(key)?.driver,

    async ready(key, signal) {
      const handler = key === null ? undefined : handlers.get(key)
      if (handler === undefined) {
        const enabled = [...handlers.keys()].join(', ')
        throw new BackendError(`The backup driver ${key} is not enabled; enabled are: ${enabled}.`, {
          left: 'nothing',
        })
      }
      await handler.start(stopping.signal, log, options.onChange)
      signal.throwIfAborted()
      if (handler.state === 'up') return handler.driver
      throw new BackendError(`The backup driver ${handler.key} is down: ${handler.failure}`, {
        left: 'nothing',
        ...(handler.retryAfterMs === undefined ? {} : { retryAfterMs: handler.retryAfterMs }),
      })
    },

    serviceName: (key) => definitions.find(({ name }) => name === key)?.aliases[0],
    keyOf: (service) =>
      definitions.find(({ name, aliases }) => name === service || aliases.includes(service))?.name,

    exclusively: (backupId, signal, work) => options.locks.withLock(`backup:${backupId}`, signal, work),

    async [Symbol.asyncDispose]() {
      stopping.abort(new Error('the service is stopping'))
      clearInterval(timer)
      await Promise.all([...handlers.values()].map(({ driver }) => driver[Symbol.asyncDispose]()))
    },
  }
}
