import { join } from 'node:path'
import { sleep, withTimeout } from '../kernel/call.ts'
import type { Config } from '../kernel/config/config.ts'
import { boolean, integer, json, optionalText, text } from '../kernel/config/options.ts'
import { BackendError, Misconfigured, messageOf } from '../kernel/errors.ts'
import type { Locks } from '../kernel/locks/locks.ts'
import type { Logger } from '../kernel/log.ts'
import { LockedVolumeDriver } from './locked-driver.ts'
import type { BlockSettings } from './settings.ts'
import type { AnyVolumeDriverDefinition, Pool, VolumeDriver, VolumeTypeFacts } from './volume-driver.ts'

/** Bounds of waits, in milliseconds. */
const startTimeoutMs = 60_000
const firstAttemptPatienceMs = 30_000
const poolsTimeoutMs = 20_000
const retryMs = { first: 1_000, longest: 30_000 }

/** A configured backend: one section of `cinder.conf` that `enabled_backends` names. */
export interface Backend {
  /** The section's name. */
  readonly name: string
  readonly volumeBackendName: string
  /** `host@backend`. */
  readonly host: string
  readonly availabilityZone: string
  readonly reservedPercentage: number
  /** `max_over_subscription_ratio`. */
  readonly overSubscriptionRatio: number | 'auto'
  /** What the scheduler evaluates for each volume; the driver's own unless `cinder.conf` has one. */
  readonly filterFunction: string | undefined
  readonly goodnessFunction: string | undefined
  /** Reported beside what the driver reports. */
  readonly extraCapabilities: Readonly<Record<string, unknown>>
  /** Limits of 0 are none. */
  readonly imageCache: { readonly enabled: boolean; readonly maxSizeGib: number; readonly maxCount: number }
  readonly driver: VolumeDriver
  /** Whether the backend answers. */
  readonly state: 'starting' | 'up' | 'down'
  /** Why it is down. */
  readonly failure: string | undefined
}

/** A pool and where it is. */
export interface PoolAt {
  /** `host@backend#pool`. */
  readonly host: string
  readonly backend: Backend
  readonly pool: Pool
}

/** The backends of this process. Drivers start in the background, so that the API answers at once. */
export interface Backends extends AsyncDisposable {
  readonly all: readonly Backend[]
  /** Begins to start every driver, again and again until each has started. */
  start(): void
  /**
   * The backend that a volume's host names, once it has started.
   * @param host `host@backend#pool` or `host@backend`
   * @throws BackendError when it is not configured here or does not answer
   */
  ready(host: string | null, signal: AbortSignal): Promise<Backend>
  /** The pools of every backend that is up; waits for those that are just starting, for a while. */
  pools(signal: AbortSignal): Promise<readonly PoolAt[]>
  /** Asks every started backend whether it still answers. */
  check(signal: AbortSignal): Promise<void>
}

const backendOptions = {
  volumeDriver: text('volume_driver', { help: "The driver's name." }),
  volumeBackendName: optionalText('volume_backend_name', {
    help: "Name for types; the section's unless set.",
  }),
  backendHost: optionalText('backend_host', { help: 'Replaces host in host@backend.' }),
  availabilityZone: optionalText('backend_availability_zone', { help: "The backend's own zone." }),
  reservedPercentage: integer('reserved_percentage', {
    help: 'Share of each pool that is kept free.',
    default: 0,
    min: 0,
    max: 100,
  }),
  imageCacheEnabled: boolean('image_volume_cache_enabled', {
    help: 'Volumes of one image are clones of a hidden volume.',
  }),
  imageCacheMaxSizeGib: integer('image_volume_cache_max_size_gb', {
    help: 'GiB of the hidden volumes of the image-volume cache; 0 is no limit.',
    default: 0,
    min: 0,
  }),
  imageCacheMaxCount: integer('image_volume_cache_max_count', {
    help: 'Images in the image-volume cache; 0 is no limit.',
    default: 0,
    min: 0,
  }),
  overSubscriptionRatio: text('max_over_subscription_ratio', {
    help: 'How much more thin pools may promise than they have.',
    default: '20.0',
  }),
  filterFunction: optionalText('filter_function', {
    help: 'Whether the backend takes a volume, for the DriverFilter: volume.size < 10.',
  }),
  goodnessFunction: optionalText('goodness_function', {
    help: 'How well a volume suits the backend, 0 to 100, for the GoodnessWeigher.',
  }),
  extraCapabilities: json('extra_capabilities', {
    help: 'JSON object of capabilities that are reported beside those of the driver.',
  }),
} as const

class RunningBackend implements Backend {
  readonly name: string
  readonly volumeBackendName: string
  readonly host: string
  readonly availabilityZone: string
  readonly reservedPercentage: number
  readonly overSubscriptionRatio: number | 'auto'
  readonly filterFunction: string | undefined
  readonly goodnessFunction: string | undefined
  readonly extraCapabilities: Readonly<Record<string, unknown>>
  readonly imageCache: Backend['imageCache']
  readonly driver: VolumeDriver
  state: 'starting' | 'up' | 'down' = 'starting'
  failure: string | undefined
  /** Resolves when the first attempt to start has ended, however. */
  readonly attempted = Promise.withResolvers<void>()

  constructor(facts: Omit<Backend, 'state' | 'failure'>) {
    this.name = facts.name
    this.volumeBackendName = facts.volumeBackendName
    this.host = facts.host
    this.availabilityZone = facts.availabilityZone
    this.reservedPercentage = facts.reservedPercentage
    this.overSubscriptionRatio = facts.overSubscriptionRatio
    this.imageCache = facts.imageCache
    this.filterFunction = facts.filterFunction
    this.goodnessFunction = facts.goodnessFunction
    this.extraCapabilities = facts.extraCapabilities
    this.driver = facts.driver
  }
}

export async function createBackends(options: {
  config: Config
  settings: BlockSettings
  definitions: readonly AnyVolumeDriverDefinition[]
  locks: Locks
  log: Logger
  stateDirectory: string
  host: string
  initiatorName: string
  /** A volume type that an option of a driver names. */
  volumeType: (id: string) => Promise<VolumeTypeFacts | undefined>
  /** Called when a backend has come up or gone down. */
  onChange: () => void
}): Promise<Backends> {
  const { log } = options
  const stopping = new AbortController()
  const all = await Promise.all(options.settings.enabledBackends.map((name) => configure(name, options)))
  const loops: Promise<void>[] = []

  async function keepStarting(backend: RunningBackend): Promise<void> {
    let waitMs = retryMs.first
    while (!stopping.signal.aborted) {
      try {
        using call = withTimeout({ signal: stopping.signal, log }, startTimeoutMs, `backend ${backend.name}`)
        await backend.driver.start(call)
        backend.state = 'up'
        backend.failure = undefined
        log.info({ backend: backend.name }, 'backend started')
        options.onChange()
        return
      } catch (error) {
        if (stopping.signal.aborted) return
        backend.state = 'down'
        backend.failure = messageOf(error)
        log.error(
          { backend: backend.name, error: backend.failure },
          'backend did not start, will be tried again',
        )
      } finally {
        backend.attempted.resolve()
      }
      await sleep(waitMs, stopping.signal).catch(() => {}) // the loop's condition sees the abort
      waitMs = Math.min(waitMs * 2, retryMs.longest)
    }
  }

  async function firstAttempt(backend: RunningBackend, signal: AbortSignal): Promise<void> {
    if (backend.state !== 'starting') return
    const patience = new AbortController()
    const both = AbortSignal.any([signal, patience.signal])
    try {
      await Promise.race([backend.attempted.promise, sleep(firstAttemptPatienceMs, both)])
    } finally {
      patience.abort()
    }
  }

  async function poolsOf(backend: RunningBackend, signal: AbortSignal): Promise<readonly PoolAt[]> {
    await firstAttempt(backend, signal)
    if (backend.state !== 'up') return []
    using call = withTimeout({ signal, log }, poolsTimeoutMs, `the pools of backend ${backend.name}`)
    try {
      const pools = await backend.driver.pools(call)
      return pools.map((pool) => ({ host: `${backend.host}#${pool.name}`, backend, pool }))
    } catch (error) {
      signal.throwIfAborted()
      log.warn({ backend: backend.name, error: messageOf(error) }, 'backend does not tell its pools')
      return []
    }
  }

  return {
    all,

    start() {
      for (const backend of all) loops.push(keepStarting(backend))
    },

    async ready(host, signal) {
      const backendHost = host?.split('#', 1)[0]
      const backend = all.find((candidate) => candidate.host === backendHost)
      if (backend === undefined) {
        throw new BackendError(`No backend ${backendHost ?? ''} is configured here.`, { left: 'nothing' })
      }
      await firstAttempt(backend, signal)
      // one that was up and does not answer right now gets the call, and says itself what is wrong
      if (backend.state === 'starting' || (backend.state === 'down' && backend.failure !== undefined)) {
        throw new BackendError(`Backend ${backend.name} is down: ${backend.failure ?? 'it is starting'}.`, {
          left: 'nothing',
          retryAfterMs: 5_000,
        })
      }
      return backend
    },

    async pools(signal) {
      return (await Promise.all(all.map((backend) => poolsOf(backend, signal)))).flat()
    },

    async check(signal) {
      await Promise.all(
        all.map(async (backend) => {
          if (backend.state === 'starting' || (backend.state === 'down' && backend.failure !== undefined))
            return
          const answered = (await poolsOfStarted(backend, signal)) !== undefined
          if (answered === (backend.state === 'up')) return
          log.warn({ backend: backend.name, answered }, 'backend changed its state')
          backend.state = answered ? 'up' : 'down'
          options.onChange()
        }),
      )
    },

    async [Symbol.asyncDispose]() {
      stopping.abort(new Error('the service is stopping'))
      await Promise.all(loops)
      await Promise.all(all.map((backend) => backend.driver[Symbol.asyncDispose]()))
    },
  }

  async function poolsOfStarted(
    backend: RunningBackend,
    signal: AbortSignal,
  ): Promise<readonly Pool[] | undefined> {
    using call = withTimeout({ signal, log }, poolsTimeoutMs, `backend ${backend.name}`)
    return await backend.driver.pools(call).catch(() => undefined)
  }
}

async function configure(
  name: string,
  options: Parameters<typeof createBackends>[0],
): Promise<RunningBackend> {
  const { config, settings } = options
  const inherit = ['backend_defaults']
  const common = config.read(name, backendOptions, inherit)
  const volumeBackendName = common.volumeBackendName ?? name
  return new RunningBackend({
    name,
    volumeBackendName,
    host: `${common.backendHost ?? options.host}@${name}`,
    availabilityZone: common.availabilityZone ?? settings.storageAvailabilityZone,
    reservedPercentage: common.reservedPercentage,
    imageCache: {
      enabled: common.imageCacheEnabled,
      maxSizeGib: common.imageCacheMaxSizeGib,
      maxCount: common.imageCacheMaxCount,
    },
    overSubscriptionRatio: readOverSubscriptionRatio(common.overSubscriptionRatio),
    filterFunction: common.filterFunction,
    goodnessFunction: common.goodnessFunction,
    extraCapabilities: common.extraCapabilities,
    driver: new LockedVolumeDriver(await makeDriver(), options.locks),
  })

  async function makeDriver(): Promise<VolumeDriver> {
    const wanted = common.volumeDriver
    const definition = options.definitions.find(
      (candidate) => candidate.name === wanted || candidate.aliases.includes(wanted),
    )
    if (definition === undefined) {
      const known = options.definitions.map((candidate) => candidate.name).join(', ')
      return brokenDriver(
        new Misconfigured(
          `[${name}] volume_driver = ${wanted} is not a driver that exists here; there are: ${known}.`,
        ),
      )
    }
    const driverSettings = config.read<object>(name, definition.options, inherit)
    return await definition.create(driverSettings, {
      name,
      volumeBackendName,
      initiatorName: options.initiatorName,
      stateDirectory: join(options.stateDirectory, 'volume-backends', name),
      host: `${common.backendHost ?? options.host}@${name}`,
      volumeType: options.volumeType,
    })
  }
}

/** Stands for a section whose driver does not exist: never starts, says why. */
function brokenDriver(reason: Misconfigured): VolumeDriver {
  const refuse = () => Promise.reject(reason)
  return {
    start: refuse,
    pools: refuse,
    create: refuse,
    delete: refuse,
    extend: refuse,
    attach: refuse,
    detach: refuse,
    open: refuse,
    [Symbol.asyncDispose]: async () => {},
  }
}

function readOverSubscriptionRatio(text: string): number | 'auto' {
  if (text === 'auto') return 'auto'
  const ratio = Number(text)
  return Number.isFinite(ratio) && ratio >= 1 ? ratio : 20
}
