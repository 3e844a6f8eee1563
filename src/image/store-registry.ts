import { type Call, sleep } from '../kernel/call.ts'
import { BackendError, Invalid, Misconfigured, messageOf, NotFound } from '../kernel/errors.ts'
import type { Logger } from '../kernel/log.ts'
import type { ImageStore } from './image-store.ts'

/** How long a request waits for a store that is still starting, in milliseconds. */
const readyPatienceMs = 10_000
/** Between two tries to start a store whose backend does not answer, in milliseconds. */
const retryMs = [500, 1_000, 2_000, 5_000, 10_000, 30_000] as const

/** One configured store. */
export interface ConfiguredStore {
  readonly id: string
  readonly type: string
  readonly schemes: readonly string[]
  readonly description: string | undefined
  /** Higher is read first. */
  readonly weight: number
  /** Nothing can be uploaded to it. */
  readonly readOnly: boolean
  readonly store: ImageStore
}

/** Where an image's data may lie: its location and, in multi-store, the store that the location names. */
export interface LocatedData {
  readonly url: string
  readonly storeId: string | undefined
}

/**
 * The configured stores. A store whose backend does not answer at the start does not stop the service: it is
 * tried again, and whoever needs it waits a little.
 */
export class StoreRegistry implements AsyncDisposable {
  /** In the order of the configuration, without the reserved ones. */
  readonly stores: readonly ConfiguredStore[]
  readonly default: ConfiguredStore
  /** `enabled_backends` is set: store names are shown and accepted. */
  readonly multiStore: boolean
  readonly #states = new Map<string, { ready: Promise<void>; error: unknown; started: boolean }>()
  readonly #stopping = new AbortController()
  readonly #log: Logger

  constructor(options: {
    stores: readonly ConfiguredStore[]
    default: ConfiguredStore
    multiStore: boolean
    log: Logger
  }) {
    this.stores = options.stores
    this.default = options.default
    this.multiStore = options.multiStore
    this.#log = options.log
  }

  /**
   * Starts every store, in the background where its backend takes longer than `patienceMs`.
   * @param onStarted called for each store once it is there
   * @throws Misconfigured when a store finds that out within the patience
   */
  async start(
    patienceMs: number,
    onStarted: (store: ConfiguredStore, call: Call) => Promise<void>,
  ): Promise<void> {
    const call: Call = { signal: this.#stopping.signal, log: this.#log }
    const first = this.stores.map((configured) => {
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      promise.catch(() => {}) // whoever waits looks at it; nobody has to
      const state = { ready: promise, error: undefined as unknown, started: false }
      this.#states.set(configured.id, state)
      return this.#startOne(configured, state, call, onStarted)
        .then(resolve, reject)
        .then(() => promise)
    })
    const timeout = new AbortController()
    try {
      await Promise.race([Promise.all(first), sleep(patienceMs, timeout.signal).catch(() => {})])
    } finally {
      timeout.abort()
    }
  }

  async #startOne(
    configured: ConfiguredStore,
    state: { error: unknown; started: boolean },
    call: Call,
    onStarted: (store: ConfiguredStore, call: Call) => Promise<void>,
  ): Promise<void> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        await configured.store.start(call)
        state.started = true
        state.error = undefined
        break
      } catch (error) {
        state.error = error
        if (error instanceof Misconfigured || call.signal.aborted) throw error
        this.#log.warn(
          { store: configured.id, error: messageOf(error) },
          'the image store does not answer, will be tried again',
        )
        await sleep(retryMs[Math.min(attempt, retryMs.length - 1)] ?? 30_000, call.signal)
      }
    }
    await onStarted(configured, call).catch((error: unknown) => {
      this.#log.error({ store: configured.id, err: error }, 'the image store could not be swept')
    })
  }

  /** @throws BackendError when the store does not come up in time */
  async ready(configured: ConfiguredStore, signal: AbortSignal): Promise<ImageStore> {
    const state = this.#states.get(configured.id)
    if (state === undefined) throw unavailable(configured, undefined)
    if (state.started) return configured.store
    const patience = AbortSignal.any([signal, AbortSignal.timeout(readyPatienceMs)])
    const gaveUp = new Promise<never>((_, reject) => {
      patience.addEventListener('abort', () => reject(patience.reason), { once: true })
    })
    try {
      await Promise.race([state.ready, gaveUp])
    } catch (error) {
      signal.throwIfAborted()
      throw unavailable(configured, state.error ?? error)
    }
    return configured.store
  }

  /** The store an upload goes to. @throws Invalid for an unknown or reserved name */
  forUpload(id: string | undefined): ConfiguredStore {
    if (id === undefined || id === '' || !this.multiStore) return this.default
    const found = this.byId(id)
    if (found === undefined) throw new Invalid(`Store ${id} is not available on this node, or is not known.`)
    if (found.readOnly) throw new Invalid(`Store ${id} is read-only.`)
    return found
  }

  byId(id: string): ConfiguredStore | undefined {
    return this.stores.find((store) => store.id === id)
  }

  /** The store that holds a location: by its name, else by its scheme. */
  ofLocation(location: LocatedData): ConfiguredStore | undefined {
    if (location.storeId !== undefined) {
      const named = this.byId(location.storeId)
      if (named !== undefined) return named
    }
    const scheme = location.url.split(':', 1)[0] ?? ''
    return this.stores.find((store) => store.schemes.includes(scheme))
  }

  /** @throws NotFound when no configured store can read the location */
  requireOfLocation(location: LocatedData): ConfiguredStore {
    const found = this.ofLocation(location)
    if (found === undefined) throw new NotFound('No configured store holds the data of this image.')
    return found
  }

  /** Locations in the order in which they are read: by weight, highest first, then as they were added. */
  byWeight<Location extends LocatedData>(locations: readonly Location[]): readonly Location[] {
    if (locations.length < 2) return locations
    const weightOf = (location: Location) => this.ofLocation(location)?.weight ?? 0
    return [...locations].sort((a, b) => weightOf(b) - weightOf(a))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort(new Error('the service is stopping'))
    await Promise.allSettled([...this.#states.values()].map((state) => state.ready))
    for (const { store } of this.stores) await store[Symbol.asyncDispose]()
  }
}

function unavailable(configured: ConfiguredStore, cause: unknown): BackendError {
  return new BackendError(`The image store ${configured.id} is not available at present.`, {
    left: 'nothing',
    retryAfterMs: 5_000,
    cause,
  })
}
