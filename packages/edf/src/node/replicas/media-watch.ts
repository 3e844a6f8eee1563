import type { Medium } from './medium.ts'
import type { ReplicatedStore } from './replicated-store.ts'

/** How often the media are looked at, milliseconds. */
const intervalMs = 3000

/** Notices media that go missing, and takes them in when they are back. */
export class MediaWatch {
  readonly #store: ReplicatedStore
  readonly #changed: () => void
  readonly #failed: (error: unknown) => void
  readonly #timer: NodeJS.Timeout
  #looking: Promise<void> | undefined

  /** @param changed is told when a medium has gone or come back */
  constructor(store: ReplicatedStore, changed: () => void, failed: (error: unknown) => void) {
    this.#store = store
    this.#changed = changed
    this.#failed = failed
    this.#timer = setInterval(() => void this.look(), intervalMs)
    this.#timer.unref()
  }

  /** Looks at all media now. */
  async look(): Promise<void> {
    this.#looking ??= this.#lookAtAll().finally(() => {
      this.#looking = undefined
    })
    await this.#looking
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await this.#looking
  }

  async #lookAtAll(): Promise<void> {
    for (const medium of this.#store.media) {
      try {
        await this.#lookAt(medium)
      } catch (error) {
        this.#failed(error)
      }
    }
  }

  async #lookAt(medium: Medium): Promise<void> {
    const problem = medium.problem()
    const wasThere = medium.store !== undefined
    if (medium.store !== undefined) {
      if (problem !== undefined) await this.#store.expel(medium, problem)
    } else if (problem === undefined) {
      await this.#store.admit(medium).catch((error: unknown) => medium.fail(String(error)))
    } else medium.failure = problem
    if (wasThere !== (medium.store !== undefined)) this.#changed()
  }
}
