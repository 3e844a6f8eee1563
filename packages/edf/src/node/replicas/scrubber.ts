import { setTimeout as sleep } from 'node:timers/promises'
import type { StorageCheck } from '../../schemas/storage-check.ts'
import type { Database } from '../database/database.ts'
import { readSetting, writeSetting } from '../resources/settings.ts'
import type { ScrubPosition } from '../store/scrub.ts'
import type { Present, ReplicatedStore } from './replicated-store.ts'

/** When a medium's data were last compared with their checksums, and how far that is. */
export type ScrubState = ScrubPosition & Omit<StorageCheck, 'totalBytes'>

/** How much a scrub may take, and how often it comes. */
export interface ScrubberOptions {
  readonly bytesPerSecond: number
  /** From the end of one to the start of the next, milliseconds. */
  readonly intervalMs: number
}

/** How often the position is written down, milliseconds: so much is read again after a restart. */
const SAVE_MS = 10_000
const LOOK_MS = 60_000
const PROBLEMS = 100

/**
 * Reads all data of all media in the background, slowly, and has what is damaged repaired from another copy. Goes on
 * after a restart where it was.
 */
export class Scrubber {
  readonly #store: ReplicatedStore
  readonly #database: Database
  readonly #options: ScrubberOptions
  readonly #failed: (error: unknown) => void
  readonly #stop = new AbortController()
  readonly #timer: NodeJS.Timeout
  #running: Promise<void> | undefined
  #isUrgent = false

  constructor(
    store: ReplicatedStore,
    database: Database,
    options: ScrubberOptions,
    failed: (error: unknown) => void,
  ) {
    this.#store = store
    this.#database = database
    this.#options = options
    this.#failed = failed
    this.#timer = setInterval(() => this.#look(), LOOK_MS)
    this.#timer.unref()
  }

  /** Of each medium that is there, once it was scrubbed. */
  states(): (ScrubState & StorageCheck)[] {
    return this.#store.present().flatMap(({ medium, store }) => {
      const state = this.#state(medium.id)
      return state === undefined ? [] : [{ ...state, totalBytes: store.usage().usedBytes }]
    })
  }

  /** Checks everything from the start, now and without sparing anybody. */
  checkNow(): void {
    for (const { medium } of this.#store.present()) this.#save(begun(medium.id))
    this.#isUrgent = true
    this.#look()
  }

  /** Resolves when nothing is being read. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    this.#stop.abort()
    await this.idle()
  }

  #look(): void {
    if (this.#stop.signal.aborted) return
    this.#running ??= this.#scrubAll()
      .catch((error: unknown) => {
        if (!this.#stop.signal.aborted) this.#failed(error)
      })
      .finally(() => {
        this.#running = undefined
      })
  }

  async #scrubAll(): Promise<void> {
    for (const present of this.#store.present()) {
      const before = this.#state(present.medium.id)
      const isDone = before?.finishedAt !== undefined
      if (isDone && Date.now() - Date.parse(before?.finishedAt ?? '') < this.#options.intervalMs) continue
      // A node that is new has nothing to look at for an interval.
      if (before === undefined)
        this.#save({ ...begun(present.medium.id), finishedAt: new Date().toISOString() })
      else await this.#scrub(present, isDone ? begun(present.medium.id) : before)
    }
    this.#isUrgent = false
  }

  async #scrub({ medium, store }: Present, from: ScrubState): Promise<void> {
    let state = from
    if (state.layer === 0) {
      const { errors } = await store.check()
      state = { ...state, problems: errors.slice(0, PROBLEMS) }
    }
    const started = performance.now()
    let read = 0
    let savedAt = started
    for await (const step of store.scrub(state)) {
      if (this.#stop.signal.aborted) return this.#save(state)
      for (const { id, offset } of step.bad) await this.#mend(medium.id, id, offset)
      read += step.bytes
      state = {
        ...state,
        layer: step.layer,
        region: step.region,
        bytesRead: state.bytesRead + step.bytes,
        damagedBlocks: state.damagedBlocks + step.bad.length,
        problems: [...new Set([...state.problems, ...step.problems])].slice(0, PROBLEMS),
      }
      const now = performance.now()
      if (now - savedAt > SAVE_MS) {
        this.#save(state)
        savedAt = now
      }
      const aheadMs = (read / this.#options.bytesPerSecond) * 1000 - (now - started)
      if (aheadMs > 5 && !this.#isUrgent)
        await sleep(Math.min(aheadMs, 1000), undefined, { signal: this.#stop.signal })
    }
    this.#save({ ...state, finishedAt: new Date().toISOString() })
  }

  async #mend(medium: string, id: string, offset: number): Promise<void> {
    try {
      await using volume = await this.#store.open(id)
      await volume.mend(medium, offset)
    } catch (error) {
      this.#failed(error)
    }
  }

  #state(medium: string): ScrubState | undefined {
    return readSetting<ScrubState | undefined>(this.#database, `scrub ${medium}`, undefined)
  }

  #save(state: ScrubState): void {
    writeSetting(this.#database, `scrub ${state.medium}`, state)
  }
}

function begun(medium: string): ScrubState {
  return {
    medium,
    layer: 0,
    region: 0,
    startedAt: new Date().toISOString(),
    bytesRead: 0,
    damagedBlocks: 0,
    problems: [],
  }
}
