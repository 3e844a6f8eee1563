import { SECTOR_BYTES, STRETCHES, stamp, VOLUME_BYTES } from './crash-stamp.ts'
import type { ThinStore } from './thin-store.ts'
import type { ThinVolume } from './thin-volume.ts'

/** One line of the log. */
export type CrashLine =
  | { readonly at: 'create' | 'created'; readonly id: string }
  | {
      readonly at: 'write' | 'unmap'
      readonly id: string
      readonly sector: number
      readonly count: number
      readonly version: number
    }
  | { readonly at: 'acknowledged'; readonly id: string; readonly version: number }
  | { readonly at: 'flushed'; readonly id: string; readonly version: number }
  | { readonly at: 'snapshot' | 'clone' | 'revert'; readonly id: string; readonly other: string }
  | {
      readonly at: 'snapshot-done' | 'clone-done' | 'revert-done'
      readonly id: string
      readonly other: string
    }
  | { readonly at: 'delete' | 'deleted'; readonly id: string }

/** How to use a store hard. */
export interface Load {
  /** Rounds; each manages something, and then writes to a volume. */
  readonly rounds: number
  readonly seed: number
  /** Versions of what is written are above this. */
  readonly firstVersion: number
  /** Told before each change, and after each that was acknowledged. */
  log(line: CrashLine): void
}

const CALL = { signal: new AbortController().signal }

/** Creates, writes, flushes, snapshots, clones, reverts and deletes, as the seed says. */
export async function stress(store: ThinStore, { rounds, seed, firstVersion, log }: Load): Promise<void> {
  let state = seed
  const random = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
  let version = firstVersion

  async function write(volume: ThinVolume): Promise<void> {
    const stretch = STRETCHES[random(STRETCHES.length)] ?? STRETCHES[0]
    const start = random(stretch.count)
    const count = 1 + random(Math.min(40, stretch.count - start))
    const sector = stretch.first + start
    version++
    if (random(6) === 0) {
      log({ at: 'unmap', id: volume.id, sector, count, version })
      await volume.unmap(sector * SECTOR_BYTES, count * SECTOR_BYTES, CALL)
      log({ at: 'acknowledged', id: volume.id, version })
      return
    }
    const bytes = new Uint8Array(count * SECTOR_BYTES)
    for (let at = 0; at < count; at++) {
      const place = bytes.subarray(at * SECTOR_BYTES, (at + 1) * SECTOR_BYTES)
      stamp(place, { volume: Number(volume.id.slice(1)), sector: sector + at, version })
    }
    log({ at: 'write', id: volume.id, sector, count, version })
    await volume.write(sector * SECTOR_BYTES, bytes, CALL)
    log({ at: 'acknowledged', id: volume.id, version })
  }

  async function flushTwice(id: string): Promise<void> {
    await using volume = await store.open(id)
    await write(volume)
    const first = volume.flush(CALL)
    await write(volume)
    await write(volume)
    await first
    const covered = version
    await volume.flush(CALL)
    log({ at: 'flushed', id, version: covered })
    await write(volume)
  }

  async function use(id: string): Promise<void> {
    if (random(3) === 0) await flushTwice(id)
    await using volume = await store.open(id)
    const writes = 1 + random(12)
    for (let at = 0; at < writes; at++) await write(volume)
    if (random(3) > 0) {
      const covered = version
      const flush = volume.flush(CALL)
      // What is written while a flush runs belongs to the next one.
      for (let at = random(3); at > 0; at--) await write(volume)
      await flush
      log({ at: 'flushed', id, version: covered })
    }
    if (random(4) > 0) return
    const other = `s${++version}`
    log({ at: 'snapshot', id, other })
    await store.snapshot(id, other)
    log({ at: 'snapshot-done', id, other })
    for (let at = random(4); at > 0; at--) await write(volume)
  }

  const some = (kind: 'volume' | 'snapshot'): string | undefined => {
    const ids = store.list().filter((entry) => entry.kind === kind)
    return ids[random(ids.length)]?.id
  }

  async function manage(): Promise<void> {
    const { length } = store.list()
    const volume = some('volume')
    const snapshot = some('snapshot')
    const choice = random(10)
    if (volume === undefined || choice === 0) {
      const id = `v${++version}`
      log({ at: 'create', id })
      await store.create(id, VOLUME_BYTES)
      log({ at: 'created', id })
    } else if (length > 8 || choice < 3) {
      const id = (random(2) === 0 ? snapshot : volume) ?? volume
      log({ at: 'delete', id })
      await store.delete(id)
      log({ at: 'deleted', id })
    } else if (choice < 6) {
      const id = (random(2) === 0 ? snapshot : volume) ?? volume
      const other = `v${++version}`
      log({ at: 'clone', id, other })
      await store.clone(id, other)
      log({ at: 'clone-done', id, other })
    } else if (choice === 6 && snapshot !== undefined) {
      log({ at: 'revert', id: volume, other: snapshot })
      await store.revert(volume, snapshot)
      log({ at: 'revert-done', id: volume, other: snapshot })
    }
  }

  for (let round = 0; round < rounds; round++) {
    await manage()
    const id = some('volume')
    if (id !== undefined) await use(id)
  }
}
