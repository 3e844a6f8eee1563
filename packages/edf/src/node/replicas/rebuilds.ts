import { messageOf } from '../errors.ts'
import { copyData, REGION_BYTES } from './copy-data.ts'
import type { Present, ReplicatedStore } from './replicated-store.ts'
import type { Copy } from './replicated-volume.ts'

/** How long a volume whose copies could not be made good is left alone, milliseconds. */
const PAUSE_MS = 15_000

/** How far the building of a copy is. */
export interface RebuildProgress {
  readonly medium: string
  readonly doneBytes: number
  readonly totalBytes: number
}

/** What rebuilds need to know beside the store. */
export interface RebuildHost {
  /** Snapshots of a volume, the oldest first. */
  snapshotsOf(id: string): readonly string[]
  failed(during: string, error: unknown): void
}

class RebuildStopped extends Error {}

/**
 * Makes copies good in the background: one volume at a time, first what a crash has left different, then copies that are
 * missing or stale, with the snapshots, oldest first; at the end those go that are no longer wanted. Nothing of it is
 * recorded but its results, so that it begins anew wherever it was cut off.
 */
export class Rebuilds {
  readonly #store: ReplicatedStore
  readonly #host: RebuildHost
  readonly #bytesPerSecond: number
  readonly #queue = new Set<string>()
  readonly #pauses = new Map<string, NodeJS.Timeout>()
  #running: Promise<void> | undefined
  #stopped = false
  #progress: (RebuildProgress & { readonly id: string }) | undefined
  readonly #failures = new Map<string, string>()

  constructor(store: ReplicatedStore, host: RebuildHost, bytesPerSecond: number) {
    this.#store = store
    this.#host = host
    this.#bytesPerSecond = bytesPerSecond
  }

  /** Looks at a volume, or at all of them, soon. */
  wake(id?: string): void {
    if (this.#stopped) return
    for (const each of id === undefined ? this.#store.table.ids() : [id]) {
      clearTimeout(this.#pauses.get(each))
      this.#pauses.delete(each)
      this.#queue.add(each)
    }
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined
      if (this.#queue.size > 0) this.wake([...this.#queue][0])
    })
  }

  /** How far the copy is that is being built now, and of which volume. */
  get progress(): (RebuildProgress & { readonly id: string }) | undefined {
    return this.#progress
  }

  /** Of a volume whose copy is being built. */
  progressOf(id: string): RebuildProgress | undefined {
    return this.#progress?.id === id ? this.#progress : undefined
  }

  /** Why the copies of a volume could not be made good, the last time. */
  failureOf(id: string): string | undefined {
    return this.#failures.get(id)
  }

  /** Resolves when there is nothing to be done, or what there is has failed and is left for later. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#queue.clear()
    for (const pause of this.#pauses.values()) clearTimeout(pause)
    await this.idle()
  }

  async #run(): Promise<void> {
    await new Promise(setImmediate)
    for (let [id] = this.#queue; id !== undefined && !this.#stopped; [id] = this.#queue) {
      this.#queue.delete(id)
      try {
        await this.#makeGood(id)
        this.#failures.delete(id)
      } catch (error) {
        this.#retryLater(id, error)
      } finally {
        this.#progress = undefined
      }
    }
  }

  #retryLater(id: string, error: unknown): void {
    if (this.#stopped || this.#store.table.of(id).length === 0) return
    if (error instanceof RebuildStopped) {
      this.#queue.add(id)
      return
    }
    this.#failures.set(id, messageOf(error))
    this.#host.failed(`rebuilding ${id}`, error)
    const pause = setTimeout(() => this.wake(id), PAUSE_MS)
    pause.unref()
    this.#pauses.set(id, pause)
  }

  async #makeGood(id: string): Promise<void> {
    const { table } = this.#store
    if (this.#store.holders(id).length === 0) return
    for (const { medium, resync } of table.of(id)) {
      if (resync !== '[]') await this.#compare(id, medium, JSON.parse(resync))
    }
    const places = this.#store.placesFor(id)
    for (const place of places) {
      const row = table.of(id).find(({ medium }) => medium === place.medium.id)
      // Whatever has no row is taken for a leftover.
      if (row === undefined) table.save(id, place.medium.id, 'stale')
      await this.#addSnapshots(id, place)
      const isCurrent = row?.state === 'current'
      if (!isCurrent) await this.#addVolume(id, place)
      // Those that were taken meanwhile.
      await this.#addSnapshots(id, place)
    }
    // As long as there are fewer than wanted, also a copy that has missed something is better than none.
    if (places.length >= this.#store.wantedCopies(id)) {
      await this.#removeOthers(id, new Set(places.map(({ medium }) => medium.id)))
    }
  }

  /** Makes a copy equal to the first one where a crash may have left them different. */
  async #compare(id: string, mediumId: string, regions: readonly number[]): Promise<void> {
    await using source = await this.#store.open(id)
    const copy = source.copies.slice(1).find(({ medium }) => medium === mediumId)
    if (copy === undefined) return
    await copyData({
      ...this.#job(id, mediumId, () => source.copies.includes(copy)),
      source,
      target: copy.volume,
      regions: regions.filter((region) => region * REGION_BYTES < source.sizeBytes),
      live: true,
    })
    this.#store.table.setResync(id, mediumId, [])
  }

  /** Builds the snapshots that a medium lacks, each on the one before it, so that they share what they have in common. */
  async #addSnapshots(id: string, { medium, store }: Present): Promise<void> {
    let before: string | undefined
    for (const snapshot of this.#host.snapshotsOf(id)) {
      if (!store.has(snapshot) && this.#store.holders(snapshot).length > 0) {
        await using source = await this.#store.open(snapshot)
        const building = `building ${snapshot}`
        // Should the process die here, the next start removes it.
        await store.delete(building)
        if (before === undefined) await store.create(building, source.sizeBytes)
        else await store.clone(before, building, source.sizeBytes)
        {
          await using target = await store.open(building)
          await copyData({ ...this.#job(id, medium.id, () => true), source, target, live: false })
        }
        if (!this.#host.snapshotsOf(id).includes(snapshot)) throw new RebuildStopped()
        await store.snapshot(building, snapshot)
        await store.delete(building)
      }
      if (store.has(snapshot)) before = snapshot
    }
  }

  /** Builds a copy of what a volume holds now, while it is in use. */
  async #addVolume(id: string, { medium, store }: Present): Promise<void> {
    await using source = await this.#store.open(id)
    const newest = this.#host.snapshotsOf(id).findLast((snapshot) => store.has(snapshot))
    const present = store.list().find((entry) => entry.id === id)
    if (present !== undefined && present.sizeBytes > source.sizeBytes) await store.delete(id)
    if (store.has(id)) await store.resize(id, source.sizeBytes)
    else if (newest === undefined) await store.create(id, source.sizeBytes)
    else await store.clone(newest, id, source.sizeBytes)
    const copy: Copy = { medium: medium.id, volume: await store.open(id) }
    await source.mirror(copy)
    try {
      await copyData({
        ...this.#job(id, medium.id, () => source.mirrors(copy)),
        source,
        target: copy.volume,
        live: true,
      })
      await source.exclusive(async () => {
        if (!source.mirrors(copy)) throw new RebuildStopped()
        await copy.volume.flush({ signal: new AbortController().signal })
        source.promote(copy, () => this.#store.table.save(id, medium.id, 'current'))
      })
    } catch (error) {
      for (const dropped of source.drop((mirror) => mirror === copy))
        await dropped.volume[Symbol.asyncDispose]()
      throw error
    }
  }

  /** Removes copies that are no longer wanted, since there are enough others. */
  async #removeOthers(id: string, places: ReadonlySet<string>): Promise<void> {
    for (const { medium } of this.#store.table.of(id)) {
      if (places.has(medium)) continue
      this.#store.table.remove(id, medium)
      const volume = this.#store.opened(id)
      for (const copy of volume?.drop((other) => other.medium === medium) ?? []) {
        await copy.volume[Symbol.asyncDispose]()
      }
      const store = this.#store.present().find((present) => present.medium.id === medium)?.store
      if (store === undefined) continue
      for (const snapshot of this.#host.snapshotsOf(id)) await store.delete(snapshot)
      await store.delete(id)
    }
  }

  #job(id: string, medium: string, goesOn: () => boolean) {
    return {
      bytesPerSecond: this.#bytesPerSecond,
      progress: (doneBytes: number, totalBytes: number) => {
        this.#progress = { id, medium, doneBytes, totalBytes }
      },
      check: () => {
        if (this.#stopped || !goesOn() || this.#store.table.of(id).length === 0) throw new RebuildStopped()
      },
    }
  }
}
