import {
  type BlockDevice,
  type Cancel,
  checkRange,
  type Done,
  type Extent,
  InlineGuard,
} from '@emberglass/iscsi/device'
import { BlockIndex } from './block-index.ts'
import { BlockReader } from './block-reader.ts'
import { BadBlockError, ReadOnlyError, type ThinStoreError } from './errors.ts'
import { Gate } from './gate.ts'
import { HolePuncher } from './hole-puncher.ts'
import type { Entry, Layer } from './layer-graph.ts'
import { sumOf } from './layer-sums.ts'
import type { MapJournal } from './map-journal.ts'
import { BLOCK_BYTES, BLOCKS_PER_PAGE } from './map-page.ts'
import type { PageCache } from './page-cache.ts'
import type { Space } from './space.ts'
import { blocksOf, TopWriter } from './top-writer.ts'

/** Pages that an unmap or a list of extents walks before it lets others run. */
const PAGES_PER_TURN = 32

/** What a volume needs of its store. */
export interface VolumeHost {
  readonly space: Space
  readonly cache: PageCache
  /** Longest read and write that block the event loop instead of going through the thread pool, in bytes. */
  readonly inlineReadBytes: number
  readonly inlineWriteBytes: number
  /** Bytes of a journal that start a flush. */
  readonly journalBytes: number
  /** A new journal for a layer; undefined where none would be believed after a crash. */
  journal(layer: Layer): MapJournal | undefined
  /** Makes a layer's new files known for good. */
  settle(layer: Layer): Promise<void>
  /** Whether freed space is worth a try to give back, and that it is not. */
  readonly punches: boolean
  stopPunching(): void
  /** Says what went wrong in the background. */
  failed(error: unknown): void
  /** A layer has blocks whose checksums are to be made anew. */
  doubt(layer: Layer): void
  /** One user has left. */
  leave(volume: ThinVolume): Promise<void>
}

/**
 * An open volume, or a snapshot (which only reads). All who open one id share one of these; disposing counts them.
 *
 * Writes go to the top layer's data file at once, and to its map in memory. `flush` makes them durable in the order
 * data, then map, so that after a power failure the map never names a block whose data is not there: a write that was
 * not flushed is then there, or is not, sector by sector. Changes of the map in memory are also noted in a journal
 * before they are acknowledged, which is never synced: after a kill of the process every acknowledged write is there.
 *
 * Every block has a checksum, and one that does not match is an error (`BadBlockError`), never data.
 *
 * Operations throw `NoSpaceError`, `ReadOnlyError`, `RangeError`, `VolumeFailedError`, or why the volume is no longer
 * usable; `read` and `write` throw at once, without a promise, when they find that out at once.
 */
export class ThinVolume implements BlockDevice {
  readonly blockSize = 512
  readonly #entry: Entry
  readonly #host: VolumeHost
  readonly #index: BlockIndex
  readonly #reader: BlockReader
  readonly #writer: TopWriter
  readonly #puncher: HolePuncher
  readonly #gate = new Gate()
  readonly #guard = new InlineGuard()
  #flushing: Promise<void> | undefined
  #nextFlush: Promise<void> | undefined
  /** How many hold this volume; the store's to change. */
  users = 0

  /** Only the store makes these: `ThinStore.open`. */
  constructor(entry: Entry, host: VolumeHost) {
    this.#entry = entry
    this.#host = host
    this.#index = new BlockIndex(host.cache, entry.layer.chain())
    this.#reader = new BlockReader(this.#index, entry.id)
    this.#writer = new TopWriter(entry.id, this.#index, this.#reader, host)
    this.#puncher = new HolePuncher({
      index: this.#index,
      claims: this.#writer.claims,
      gate: this.#gate,
      usable: () => this.#writer.failure === undefined,
      get punches() {
        return host.punches
      },
      stopPunching: () => host.stopPunching(),
      failed: (error) => host.failed(error),
    })
    if (!this.readOnly) this.#writer.start()
  }

  get id(): string {
    return this.#entry.id
  }

  get sizeBytes(): number {
    return this.#entry.sizeBytes
  }

  get readOnly(): boolean {
    return this.#entry.kind === 'snapshot'
  }

  read(offset: number, into: Uint8Array, cancel: Cancel): Done {
    this.#check(offset, into.byteLength, cancel)
    if (into.byteLength === 0) return undefined
    if (!this.#gate.open) return this.#gate.whenOpen().then(() => this.read(offset, into, cancel))
    if (into.byteLength > this.#host.inlineReadBytes || !this.#guard.allows()) {
      return this.#readLater(offset, into, cancel)
    }
    const started = performance.now()
    try {
      this.#reader.now(offset, into)
    } catch (error) {
      return this.#readAgain(offset, into, cancel, error)
    }
    this.#guard.took(performance.now() - started)
    return undefined
  }

  write(offset: number, data: Uint8Array, cancel: Cancel): Done {
    this.#check(offset, data.byteLength, cancel)
    this.#checkWritable()
    if (data.byteLength === 0) return undefined
    if (!this.#gate.open) return this.#gate.whenOpen().then(() => this.write(offset, data, cancel))
    const { first, last } = blocksOf(offset, data.byteLength)
    const wait = this.#writer.claims.on(first, last) ?? this.#writer.ready(first, last)
    if (wait !== undefined) return wait.then(() => this.write(offset, data, cancel))
    if (data.byteLength > this.#host.inlineWriteBytes) return this.#writeLater(offset, data)
    this.#writer.write(offset, data)
    this.#flushIfDue()
    return undefined
  }

  async flush(cancel: Cancel): Promise<void> {
    cancel.signal.throwIfAborted()
    this.#checkUsable()
    if (this.readOnly) return
    await this.#gate.shared(() => this.#flush())
  }

  async unmap(offset: number, length: number, cancel: Cancel): Promise<void> {
    this.#check(offset, length, cancel)
    this.#checkWritable()
    if (length === 0) return
    await this.#gate.shared(async () => {
      this.#checkUsable()
      const end = offset + length
      const first = Math.ceil(offset / BLOCK_BYTES)
      const last = Math.floor(end / BLOCK_BYTES) - 1
      if (first > last) {
        await this.#zeroParts(offset, end)
        return
      }
      await this.#zeroParts(offset, first * BLOCK_BYTES)
      await this.#zeroParts((last + 1) * BLOCK_BYTES, end)
      await this.#zeroBlocks(first, last, cancel)
    })
  }

  async writeZeroes(offset: number, length: number, cancel: Cancel): Promise<void> {
    await this.unmap(offset, length, cancel)
  }

  /** What a range holds, all layers taken together: `data`, or `hole` for what reads as zeroes. */
  async extents(offset: number, length: number, cancel: Cancel): Promise<readonly Extent[]> {
    this.#check(offset, length, cancel)
    const found: Extent[] = []
    const end = offset + length
    let start = offset
    let state: Extent['state'] | undefined
    let turn = offset
    for (let at = offset; at < end; ) {
      while (!this.#gate.open) await this.#gate.whenOpen()
      if (at - turn > PAGES_PER_TURN * BLOCKS_PER_PAGE * BLOCK_BYTES) {
        await new Promise(setImmediate)
        turn = at
      }
      cancel.signal.throwIfAborted()
      this.#checkUsable()
      const step = Math.min(end, at + BLOCKS_PER_PAGE * BLOCK_BYTES)
      const runEnd = this.#index.runEnd(at, step)
      const next = this.#index.runLayer === undefined ? 'hole' : 'data'
      if (state !== undefined && next !== state) {
        found.push({ offset: start, length: at - start, state })
        start = at
      }
      state = next
      at = runEnd
    }
    if (state !== undefined) found.push({ offset: start, length: end - start, state })
    return found
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#host.leave(this)
  }

  // What follows is for the store and its merges.

  /** Runs `operation` while no other operation is under way; new ones wait. It must be short. */
  async exclusive<T>(operation: () => T | Promise<T>): Promise<T> {
    return await this.#gate.exclusive(operation)
  }

  /** The index of blocks; inside `exclusive` only. */
  get index(): BlockIndex {
    return this.#index
  }

  /** Whether `layer` is in the chain. */
  uses(layer: Layer): boolean {
    return this.#writer.failure === undefined && this.#index.has(layer)
  }

  /** As `flush`, from inside `exclusive`. */
  async flushAlone(): Promise<void> {
    this.#checkUsable()
    await this.#flush()
  }

  /** Resolves when the space of what was unmapped and flushed so far is the filesystem's again. */
  async punched(): Promise<void> {
    await this.#puncher.idle()
  }

  /** Lets every write leave a mark on the disk that outlives a crash, for volumes that have copies elsewhere. */
  markWrites(): void {
    this.#writer.markAll = true
  }

  /**
   * Puts right a damaged block, whichever layer it is in, with what another copy has in its place.
   * @param offset where the block begins, in bytes
   * @returns false when `data` is not what was written here: the checksum knows
   */
  async repair(offset: number, data: Uint8Array): Promise<boolean> {
    return await this.exclusive(async () => {
      this.#checkUsable()
      this.#index.runEnd(offset, offset + BLOCK_BYTES)
      const layer = this.#index.runLayer
      if (layer === undefined || layer.sums.of(offset / BLOCK_BYTES) !== sumOf(data)) return false
      layer.files.write(data, offset)
      await layer.files.syncData()
      return true
    })
  }

  /** Gives blocks of the top layer the checksums of what is there. Inside `exclusive`; a flush has to follow. */
  resum(first: number, last: number): void {
    this.#checkUsable()
    this.#writer.resum(first, last)
  }

  /** Takes up the chain that the entry has now, after a freeze; the old top is flushed. Inside `exclusive`. */
  pushTop(): void {
    if (this.#entry.layer === this.#index.top) return
    this.#index.top.marks.close()
    this.#index.push(this.#entry.layer)
    this.#puncher.clear()
    this.#writer.start()
  }

  /** Starts again from the chain that the entry has now; what was not flushed is dropped. Inside `exclusive`. */
  reload(): void {
    this.#puncher.clear()
    this.#index.reset(this.#entry.layer.chain())
    if (!this.readOnly) this.#writer.start()
  }

  /** Writes to the top layer what a merge brings from below, with its checksums. Inside `exclusive`. */
  absorb(block: number, data: Uint8Array, sums: Uint32Array): void {
    // The volume shows the same with and without it, but not after a write to a block that is thought to be here.
    this.#writer.absorb(block, data, sums)
    this.#flushIfDue()
  }

  /**
   * Lets go of all files; every later operation throws `reason`. Inside `exclusive`, or without users.
   * @param keepsJournal for what could not be flushed, so that the next start takes it up
   */
  close(reason: ThinStoreError, keepsJournal = false): void {
    if (!this.readOnly && this.#writer.clean) this.#index.top.marks.close()
    this.#writer.failure ??= reason
    this.#puncher.clear()
    this.#index.reset([])
    if (keepsJournal) this.#writer.leaveJournal()
    else this.#writer.stop()
  }

  #check(offset: number, length: number, cancel: Cancel): void {
    cancel.signal.throwIfAborted()
    this.#checkUsable()
    checkRange(this, offset, length)
  }

  #checkUsable(): void {
    if (this.#writer.failure !== undefined) throw this.#writer.failure
  }

  #checkWritable(): void {
    if (this.readOnly) throw new ReadOnlyError(`${this.id} is a snapshot`)
  }

  async #readLater(offset: number, into: Uint8Array, cancel: Cancel): Promise<void> {
    this.#gate.enter()
    try {
      await this.#reader.later(offset, into, this.#guard.allows() ? this.#host.inlineReadBytes : 0)
    } catch (error) {
      await this.#readAgain(offset, into, cancel, error)
    } finally {
      this.#gate.leave()
    }
  }

  /** A block that was being overwritten while it was read is no damage. Nothing comes between this reading and its check. */
  async #readAgain(offset: number, into: Uint8Array, cancel: Cancel, error: unknown): Promise<void> {
    if (!(error instanceof BadBlockError)) throw error
    const { first, last } = blocksOf(offset, into.byteLength)
    await this.#writer.claims.free(first, last)
    this.#check(offset, into.byteLength, cancel)
    this.#reader.now(offset, into)
  }

  async #writeLater(offset: number, data: Uint8Array): Promise<void> {
    this.#gate.enter()
    try {
      await this.#writer.writeLater(offset, data)
    } finally {
      this.#gate.leave()
    }
    this.#flushIfDue()
  }

  #flushIfDue(): void {
    if (!this.#writer.flushDue) return
    // A failure is kept: the volume refuses the next operation with it.
    if (this.#nextFlush === undefined && this.#flushing === undefined && this.#gate.open) {
      this.#gate.shared(() => this.#flush()).catch(() => undefined)
    }
  }

  /** Waits until blocks may be changed. */
  async #changeable(first: number, last: number): Promise<void> {
    const { claims } = this.#writer
    for (;;) {
      const wait = claims.on(first, last) ?? this.#writer.ready(first, last)
      if (wait === undefined) return
      await wait
    }
  }

  /** Writes zeroes over parts of blocks, unless those are zero already. */
  async #zeroParts(offset: number, end: number): Promise<void> {
    for (let at = offset; at < end; ) {
      const block = Math.floor(at / BLOCK_BYTES)
      const stop = Math.min(end, (block + 1) * BLOCK_BYTES)
      await this.#changeable(block, block)
      this.#index.runEnd(at, stop)
      if (this.#index.runLayer !== undefined) this.#writer.write(at, new Uint8Array(stop - at))
      at = stop
    }
  }

  async #zeroBlocks(first: number, last: number, cancel: Cancel): Promise<void> {
    let turn = 0
    for (let block = first; block <= last; ) {
      const number = Math.floor(block / BLOCKS_PER_PAGE)
      const base = number * BLOCKS_PER_PAGE
      const stop = Math.min(last, base + BLOCKS_PER_PAGE - 1)
      if (this.#index.peek(number) !== undefined) {
        await this.#changeable(block, stop)
        if (this.#writer.zero(number, base, block, stop)) this.#puncher.add(block, stop)
      }
      block = stop + 1
      if (this.#writer.flushDue) await this.#flush()
      if (++turn % PAGES_PER_TURN === 0) {
        await new Promise(setImmediate)
        cancel.signal.throwIfAborted()
      }
    }
  }

  /** One flush runs at a time; all who come while it runs share the next one. */
  #flush(): Promise<void> {
    if (this.#flushing === undefined) {
      this.#flushing = this.#flushOnce().finally(() => {
        this.#flushing = undefined
      })
      return this.#flushing
    }
    this.#nextFlush ??= this.#flushing
      .catch(() => undefined)
      .then(() => {
        this.#nextFlush = undefined
        return this.#flushing ?? this.#flush()
      })
    return this.#nextFlush
  }

  async #flushOnce(): Promise<void> {
    this.#checkUsable()
    await this.#writer.flush()
    this.#puncher.start()
  }
}
