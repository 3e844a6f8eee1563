import { messageOf } from '../errors.ts'
import { EntryExistsError, EntryNotFoundError, StoreClosedError } from '../store/errors.ts'
import type { StoredEntry, ThinStore } from '../store/thin-store.ts'
import type { CopyTable } from './copy-table.ts'
import type { Medium } from './medium.ts'
import { choosePlaces, type Wanted } from './placement.ts'
import { type Copy, NoCopyError, ReplicatedVolume } from './replicated-volume.ts'
import { type ReplicatedUsage, usageOf } from './usage.ts'

/** What a replicated store needs of the node. */
export interface ReplicatedStoreHost {
  /** What a volume should have; undefined when there is no such volume. */
  wanted(id: string): Wanted | undefined
  /** The volume that a snapshot is of; undefined when `id` is no snapshot. */
  ownerOf(id: string): string | undefined
  /** A block of a copy was not what was written there. */
  damaged(id: string, offset: number, medium: string, repaired: boolean): void
  /** The copies of a volume have changed, or what they should be; of all volumes without an id. */
  changed(id?: string): void
  /** What went wrong in the background. */
  failed(during: string, error: unknown): void
}

/** A medium that is there. */
export interface Present {
  readonly medium: Medium
  readonly store: ThinStore
}

/**
 * Volumes with copies on several media. Each medium has a store of its own, in which a copy has the id of the volume; a
 * snapshot lies wherever its volume does. Which copies are current is noted in the table before anybody is told that an
 * operation is done which one of them has missed.
 *
 * Copies are made good by `Rebuilds`; this class only leaves behind the ones that fail.
 */
export class ReplicatedStore implements AsyncDisposable {
  readonly media: readonly Medium[]
  readonly table: CopyTable
  readonly #host: ReplicatedStoreHost
  readonly #opened = new Map<string, ReplicatedVolume>()
  readonly #opening = new Map<string, Promise<void>>()

  constructor(media: readonly Medium[], table: CopyTable, host: ReplicatedStoreHost) {
    this.media = media
    this.table = table
    this.#host = host
  }

  /** Opens all media that are there, and takes stock. A medium that cannot be opened is missing. */
  async start(): Promise<void> {
    for (const medium of this.media) {
      this.table.saveMedium(medium)
      try {
        await medium.open()
      } catch (error) {
        await medium.fail(messageOf(error))
      }
    }
    this.#adopt()
    this.table.outdate(this.present().map(({ medium }) => medium.id))
    this.#noteDoubts()
    for (const present of this.present()) {
      await this.#clean(present)
      present.store.resume()
    }
  }

  /** Takes in a medium that was missing. @throws what is in the way */
  async admit(medium: Medium): Promise<void> {
    const store = await medium.open()
    this.#noteDoubts()
    await this.#clean({ medium, store })
    store.resume()
    for (const volume of this.#opened.values()) {
      if (volume.copies.length === 0) volume.revive(await this.openCopies(volume.id))
    }
    this.#host.changed()
  }

  /** Goes on without a medium. */
  async expel(medium: Medium, reason: string): Promise<void> {
    // Durable before the others take a write that this one does not.
    this.table.outdate(this.present().flatMap((other) => (other.medium === medium ? [] : [other.medium.id])))
    for (const volume of this.#opened.values()) volume.drop((copy) => copy.medium === medium.id)
    await medium.fail(reason)
    this.#host.changed()
  }

  present(): Present[] {
    return this.media.flatMap((medium) =>
      medium.store === undefined ? [] : [{ medium, store: medium.store }],
    )
  }

  /**
   * Media that have what an id stands for, those to read from first at the front: first what needs no comparison after
   * a crash, then flash.
   */
  holders(id: string): Present[] {
    const copies = this.table.of(id)
    // Only volumes have rows of their own; a long list must not ask the database for each of them.
    const owner = copies.length > 0 ? undefined : this.#host.ownerOf(id)
    const rows = new Map(
      (owner === undefined ? copies : this.table.of(owner)).map((row) => [row.medium, row]),
    )
    const rank = ({ medium }: Present) =>
      (rows.get(medium.id)?.resync === '[]' ? 0 : 2) + (medium.kind === 'flash' ? 0 : 1)
    return this.present()
      .filter(({ medium, store }) => {
        const row = rows.get(medium.id)
        // A snapshot is made whole or not at all, so that also one that lies beside a stale copy is good.
        return row !== undefined && store.has(id) && (owner !== undefined || row.state === 'current')
      })
      .sort((a, b) => rank(a) - rank(b))
  }

  /** How many copies a volume should have; 0 when there is no such volume. */
  wantedCopies(id: string): number {
    return this.#host.wanted(id)?.replicaCount ?? 0
  }

  /** Where a volume's copies belong now. */
  placesFor(id: string): Present[] {
    const wanted = this.#host.wanted(id)
    if (wanted === undefined) return []
    const current = new Set(this.table.of(id).flatMap((row) => (row.state === 'current' ? [row.medium] : [])))
    const present = this.present()
    const candidates = present.map(({ medium, store }) => ({
      id: medium.id,
      kind: medium.kind,
      freeBytes: present.length === 1 ? 0 : store.usage().freeBytes,
      holds: current.has(medium.id),
    }))
    const places = choosePlaces(wanted, candidates)
    return places.flatMap((place) => present.find(({ medium }) => medium.id === place) ?? [])
  }

  /** Makes an empty volume on the media where it belongs. The same id with the same size again: fine. */
  async create(id: string, sizeBytes: number): Promise<void> {
    const places = this.placesFor(id)
    if (places.length === 0) throw new NoCopyError('no data directory can be reached')
    await Promise.all(places.map(({ store }) => store.create(id, sizeBytes)))
    for (const { medium } of places) this.table.save(id, medium.id, 'current')
  }

  /** Makes a volume that starts as a copy of a volume or snapshot, wherever that has copies. */
  async clone(sourceId: string, newId: string, sizeBytes?: number): Promise<void> {
    this.#checkFree(newId)
    await this.#still(sourceId, async () => {
      const places = this.#reachable(sourceId)
      await Promise.all(places.map(({ store }) => store.clone(sourceId, newId, sizeBytes)))
      for (const { medium } of places) this.table.save(newId, medium.id, 'current')
    })
    // Where it should be otherwise than its source, a rebuild moves it.
    this.#host.changed(newId)
  }

  /** Keeps what a volume holds now. */
  async snapshot(volumeId: string, snapshotId: string): Promise<void> {
    this.#checkFree(snapshotId)
    await this.#still(volumeId, () =>
      this.#onCopies(volumeId, (store) => store.snapshot(volumeId, snapshotId)),
    )
    this.#host.changed(volumeId)
  }

  /** Makes a volume what it was at the snapshot. */
  async revert(volumeId: string, snapshotId: string): Promise<void> {
    await this.#still(volumeId, async () => {
      await this.#stopMirrors(volumeId)
      for (const { medium, store } of this.#reachable(volumeId)) {
        // What lacks the snapshot is built anew; the others have it.
        if (!store.has(snapshotId) && this.#reachable(snapshotId).length > 0)
          this.#outdate(volumeId, medium.id)
      }
      await this.#onCopies(volumeId, (store) => store.revert(volumeId, snapshotId))
    })
    this.#host.changed(volumeId)
  }

  /** Grows a volume, open or not. */
  async resize(id: string, sizeBytes: number): Promise<void> {
    await this.#still(id, async () => {
      await this.#stopMirrors(id)
      await this.#onCopies(id, (store) => store.resize(id, sizeBytes))
    })
    this.#host.changed(id)
  }

  /** Deletes a volume or snapshot on all media. Already gone: fine. */
  async delete(id: string): Promise<void> {
    const volume = this.#opened.get(id)
    const remove = async (): Promise<void> => {
      volume?.close(new EntryNotFoundError(`${id} was deleted`))
      this.#opened.delete(id)
      await Promise.all(this.present().map(({ store }) => store.delete(id)))
      this.table.remove(id)
    }
    if (volume === undefined) await remove()
    else await volume.exclusive(remove)
  }

  /**
   * Opens a volume or snapshot; all who open one id share it, and each disposes it once.
   * @throws EntryNotFoundError when it does not exist, NoCopyError when none of its copies is there
   */
  async open(id: string): Promise<ReplicatedVolume> {
    for (;;) {
      const volume = this.#opened.get(id)
      if (volume !== undefined) {
        volume.users++
        return volume
      }
      const opening = this.#opening.get(id) ?? this.#openNow(id).finally(() => this.#opening.delete(id))
      this.#opening.set(id, opening)
      await opening
    }
  }

  /** Opens the copies themselves, the caller's to close. */
  async openCopies(id: string): Promise<Copy[]> {
    const copies: Copy[] = []
    for (const { medium, store } of this.#reachable(id)) {
      try {
        copies.push({ medium: medium.id, volume: await store.open(id) })
      } catch (error) {
        this.#host.failed(`opening the copy of ${id} on ${medium.path}`, error)
        if (copies.length > 0 || this.#reachable(id).length > 1) this.#outdate(id, medium.id)
      }
    }
    return copies
  }

  has(id: string): boolean {
    return this.holders(id).length > 0
  }

  /** All volumes and snapshots on the media that are there. */
  list(): readonly StoredEntry[] {
    const found = new Map<string, StoredEntry>()
    for (const { store } of this.present()) {
      for (const entry of store.list()) {
        const other = found.get(entry.id)
        const sizeBytes = Math.min(entry.sizeBytes, other?.sizeBytes ?? entry.sizeBytes)
        const usedBytes = Math.max(entry.usedBytes, other?.usedBytes ?? 0)
        found.set(entry.id, { ...entry, sizeBytes, usedBytes })
      }
    }
    return [...found.values()]
  }

  usage(): ReplicatedUsage {
    return usageOf(this.present())
  }

  /** Resolves when the space of everything deleted so far has come back. */
  async settled(): Promise<void> {
    for (const { store } of this.present()) await store.settled()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // All copies of a volume get what the last flush owes before the first of them calls itself clean.
    const signal = AbortSignal.timeout(60_000)
    for (const volume of this.#opened.values()) {
      await volume.flush({ signal }).catch((error: unknown) => this.#host.failed('the last flush', error))
      volume.close(new StoreClosedError('the store is closed'))
    }
    this.#opened.clear()
    for (const medium of this.media) await medium.close()
  }

  // For the volumes.

  /** @see ReplicatedVolumeHost */
  lost(id: string, copy: Copy, error: unknown): void {
    this.#host.failed(`the copy of ${id} on ${copy.medium}`, error)
    if (this.#host.ownerOf(id) !== undefined) return
    this.table.save(id, copy.medium, 'stale')
    this.#host.changed(id)
  }

  /** @see ReplicatedVolumeHost */
  damaged(id: string, offset: number, medium: string, repaired: boolean): void {
    this.#host.damaged(id, offset, medium, repaired)
  }

  /** @see ReplicatedVolumeHost */
  async leave(volume: ReplicatedVolume): Promise<void> {
    volume.users--
    if (volume.users > 0 || this.#opened.get(volume.id) !== volume) return
    await volume.exclusive(async () => {
      if (volume.users > 0 || this.#opened.get(volume.id) !== volume) return
      this.#opened.delete(volume.id)
      for (const copy of volume.close(new StoreClosedError(`${volume.id} is closed`))) {
        await copy.volume[Symbol.asyncDispose]()
      }
    })
  }

  /** The volume, if somebody has it open. */
  opened(id: string): ReplicatedVolume | undefined {
    return this.#opened.get(id)
  }

  async #openNow(id: string): Promise<void> {
    const copies = await this.openCopies(id)
    if (copies.length === 0) throw new NoCopyError(`no copy of ${id} can be read`)
    this.#opened.set(id, new ReplicatedVolume(id, copies, this))
  }

  /** @throws EntryNotFoundError when nobody knows the id, NoCopyError when its media are missing */
  #reachable(id: string): Present[] {
    const holders = this.holders(id)
    if (holders.length > 0) return holders
    const owner = this.#host.ownerOf(id)
    if (this.table.of(owner ?? id).length === 0)
      throw new EntryNotFoundError(`there is no volume or snapshot ${id}`)
    throw new NoCopyError(`no copy of ${id} can be reached`)
  }

  #checkFree(id: string): void {
    const taken = this.present().some(({ store }) => store.has(id))
    if (taken) throw new EntryExistsError(`there is already a volume or snapshot ${id}`)
  }

  /** Runs `change` while nobody reads or writes the volume. */
  async #still(id: string, change: () => Promise<void>): Promise<void> {
    const volume = this.#opened.get(id)
    if (volume === undefined) await change()
    else await volume.exclusive(change)
  }

  /** Does the same with all current copies; those that fail are left behind. @throws why, when all do */
  async #onCopies(id: string, change: (store: ThinStore) => Promise<void>): Promise<void> {
    const holders = this.#reachable(id)
    const results = await Promise.allSettled(holders.map(({ store }) => change(store)))
    const failures = results.flatMap((result, at) =>
      result.status === 'rejected' ? [{ medium: holders[at]?.medium.id ?? '', reason: result.reason }] : [],
    )
    if (failures.length === holders.length) throw failures[0]?.reason
    for (const { medium, reason } of failures) {
      this.#host.failed(`the copy of ${id} on ${medium}`, reason)
      this.#outdate(id, medium)
    }
  }

  #outdate(id: string, medium: string): void {
    if (this.#host.ownerOf(id) !== undefined) return
    this.table.save(id, medium, 'stale')
    for (const copy of this.#opened.get(id)?.drop((other) => other.medium === medium) ?? []) {
      void copy.volume[Symbol.asyncDispose]().catch(() => undefined)
    }
    this.#host.changed(id)
  }

  /** What is being built begins anew: it would miss the change that comes. */
  async #stopMirrors(id: string): Promise<void> {
    const volume = this.#opened.get(id)
    const mirrors = volume?.drop((copy) => volume.mirrors(copy)) ?? []
    for (const copy of mirrors) await copy.volume[Symbol.asyncDispose]()
  }

  /** Volumes from before there were copies are current where they are. */
  #adopt(): void {
    for (const { medium, store } of this.present()) {
      for (const { id, kind } of store.list()) {
        if (kind === 'volume' && this.table.of(id).length === 0) this.table.save(id, medium.id, 'current')
      }
    }
  }

  /** Notes where the copies of volumes may differ that were written when the last process died. */
  #noteDoubts(): void {
    for (const id of this.table.ids()) {
      const holders = this.holders(id)
      if (holders.length < 2) continue
      const regions = new Set(holders.flatMap(({ store }) => store.doubtful(id)))
      if (regions.size === 0) continue
      for (const { medium } of holders.slice(1)) {
        const before = this.table.of(id).find((row) => row.medium === medium.id)?.resync ?? '[]'
        this.table.setResync(id, medium.id, [...new Set([...JSON.parse(before), ...regions])])
      }
    }
  }

  /** Removes from a medium what has no business there: copies that were given up while it was away. */
  async #clean({ medium, store }: Present): Promise<void> {
    for (const { id, kind } of store.list()) {
      const owner = kind === 'snapshot' ? this.#host.ownerOf(id) : id
      const rows = owner === undefined ? [] : this.table.of(owner)
      if (!rows.some((row) => row.medium === medium.id)) await store.delete(id)
    }
  }
}
