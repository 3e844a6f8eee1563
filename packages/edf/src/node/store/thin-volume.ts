import { type BlockDevice, type Cancel, checkRange, type Done, type Extent } from '@emberglass/iscsi'
import { BlockIndex } from './block-index.ts'
import { NoSpaceError, ReadOnlyError, systemCode, type ThinStoreError, VolumeFailedError } from './errors.ts'
import { Gate } from './gate.ts'
import { type BlockRange, FreedRanges, MIN_HOLE_BLOCKS, punchHole } from './hole-punch.ts'
import { InlineGuard } from './inline-guard.ts'
import type { Entry, Layer } from './layer-graph.ts'
import type { MapJournal } from './map-journal.ts'
import { BLOCK_BYTES, BLOCKS_PER_PAGE, DATA } from './map-page.ts'
import type { PageCache } from './page-cache.ts'
import type { Space } from './space.ts'

/** Dirty map pages (36 KiB each) that start a flush of their own, so that they do not fill the memory. */
const DIRTY_PAGES = 256
/** Pages that an unmap or a list of extents walks before it lets others run. */
const PAGES_PER_TURN = 32

/** Stretches of one layer up to this are read at once also as part of a long read. */
const SHORT_RUN_BYTES = 32 * 1024

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
  /** One user has left. */
  leave(volume: ThinVolume): Promise<void>
}

/** Blocks that an unfinished operation is about to change. */
interface Claim {
  readonly first: number
  readonly last: number
  readonly done: Promise<void>
}

/**
 * An open volume, or a snapshot (which only reads). All who open one id share one of these; disposing counts them.
 *
 * Writes go to the top layer's data file at once, and to its map in memory. `flush` makes them durable in the order
 * data, then map, so that after a power failure the map never names a block whose data is not there: a write that was
 * not flushed is then there, or is not, sector by sector. Changes of the map in memory are also noted in a journal
 * before they are acknowledged, which is never synced: after a kill of the process every acknowledged write is there.
 *
 * Operations throw `NoSpaceError`, `ReadOnlyError`, `RangeError`, `VolumeFailedError`, or why the volume is no longer
 * usable; `read` and `write` throw at once, without a promise, when they find that out at once.
 */
export class ThinVolume implements BlockDevice {
  readonly blockSize = 512
  readonly #entry: Entry
  readonly #host: VolumeHost
  readonly #index: BlockIndex
  readonly #gate = new Gate()
  readonly #guard = new InlineGuard()
  readonly #claims = new Set<Claim>()
  readonly #freed = new FreedRanges()
  #journal: MapJournal | undefined
  #punching: Promise<void> | undefined
  #dataDirty = false
  #flushing: Promise<void> | undefined
  #nextFlush: Promise<void> | undefined
  #unusable: ThinStoreError | undefined
  /** How many hold this volume; the store's to change. */
  users = 0

  /** Only the store makes these: `ThinStore.open`. */
  constructor(entry: Entry, host: VolumeHost) {
    this.#entry = entry
    this.#host = host
    this.#index = new BlockIndex(host.cache, entry.layer.chain())
    this.#startJournal()
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
    if (into.byteLength <= this.#host.inlineReadBytes && this.#guard.allows()) {
      const started = performance.now()
      this.#readNow(offset, into)
      this.#guard.took(performance.now() - started)
      return undefined
    }
    return this.#readLater(offset, into)
  }

  write(offset: number, data: Uint8Array, cancel: Cancel): Done {
    this.#check(offset, data.byteLength, cancel)
    this.#checkWritable()
    if (data.byteLength === 0) return undefined
    if (!this.#gate.open) return this.#gate.whenOpen().then(() => this.write(offset, data, cancel))
    const first = Math.floor(offset / BLOCK_BYTES)
    const last = Math.floor((offset + data.byteLength - 1) / BLOCK_BYTES)
    const claimed = this.#claimed(first, last)
    if (claimed !== undefined) return claimed.then(() => this.write(offset, data, cancel))
    if (data.byteLength > this.#host.inlineWriteBytes) return this.#writeLater(offset, data, first, last)
    const taken = this.#take(first, last)
    try {
      for (const part of this.#parts(offset, data, first, last))
        this.#index.top.files.write(part.data, part.offset)
      this.#note(first, last, taken)
    } catch (error) {
      throw this.#notWritten(error, taken)
    }
    this.#written(first, last, taken)
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
    return this.#unusable === undefined && this.#index.has(layer)
  }

  /** As `flush`, from inside `exclusive`. */
  async flushAlone(): Promise<void> {
    this.#checkUsable()
    await this.#flush()
  }

  /** Resolves when the space of what was unmapped and flushed so far is the filesystem's again. */
  async punched(): Promise<void> {
    await this.#punching
  }

  /** Takes up the chain that the entry has now, after a freeze; the old top is flushed. Inside `exclusive`. */
  pushTop(): void {
    if (this.#entry.layer === this.#index.top) return
    this.#index.push(this.#entry.layer)
    this.#freed.clear()
    this.#startJournal()
  }

  /** Starts again from the chain that the entry has now; what was not flushed is dropped. Inside `exclusive`. */
  reload(): void {
    this.#dataDirty = false
    this.#freed.clear()
    this.#index.reset(this.#entry.layer.chain())
    this.#startJournal()
  }

  /** Writes to the top layer what a merge brings from below. Inside `exclusive`. */
  absorb(block: number, data: Uint8Array): void {
    const last = block + data.byteLength / BLOCK_BYTES - 1
    const taken = this.#take(block, last, 'merge')
    try {
      this.#index.top.files.write(data, block * BLOCK_BYTES)
      // The volume shows the same with and without it, but not after a write to a block that is thought to be here.
      this.#note(block, last, taken)
    } catch (error) {
      throw this.#notWritten(error, taken)
    }
    this.#written(block, last, taken)
  }

  /** Lets go of all files; every later operation throws `reason`. Inside `exclusive`, or without users. */
  close(reason: ThinStoreError): void {
    this.#unusable ??= reason
    this.#freed.clear()
    this.#index.reset([])
    this.#endJournal()
  }

  #startJournal(): void {
    this.#endJournal()
    if (!this.readOnly) this.#journal = this.#host.journal(this.#index.top)
  }

  /** What the journal tells is durable by now, or is no longer wanted. */
  #endJournal(): void {
    try {
      this.#journal?.remove()
    } catch (error) {
      this.#host.failed(error)
    }
    this.#journal = undefined
  }

  #check(offset: number, length: number, cancel: Cancel): void {
    cancel.signal.throwIfAborted()
    this.#checkUsable()
    checkRange(this, offset, length)
  }

  #checkUsable(): void {
    if (this.#unusable !== undefined) throw this.#unusable
  }

  #checkWritable(): void {
    if (this.readOnly) throw new ReadOnlyError(`${this.id} is a snapshot`)
  }

  #readNow(offset: number, into: Uint8Array): void {
    const end = offset + into.byteLength
    for (let at = offset; at < end; ) {
      const stop = this.#index.runEnd(at, end)
      const layer = this.#index.runLayer
      if (layer === undefined) into.fill(0, at - offset, stop - offset)
      else layer.files.read(into, at - offset, stop - at, at)
      at = stop
    }
  }

  async #readLater(offset: number, into: Uint8Array): Promise<void> {
    this.#gate.enter()
    // Crossing to the pool and back for each of many short runs takes longer than reading them.
    const short = this.#guard.allows() ? Math.min(SHORT_RUN_BYTES, this.#host.inlineReadBytes) : 0
    try {
      const end = offset + into.byteLength
      for (let at = offset; at < end; ) {
        const stop = this.#index.runEnd(at, end)
        const layer = this.#index.runLayer
        if (layer === undefined) into.fill(0, at - offset, stop - offset)
        else if (stop - at <= short) layer.files.read(into, at - offset, stop - at, at)
        else await layer.files.readLater(into, at - offset, stop - at, at)
        at = stop
      }
    } finally {
      this.#gate.leave()
    }
  }

  /**
   * What has to be written so that whole blocks end up in the top layer's file: a block that is not there yet and is
   * covered in part is filled up with what it held before.
   */
  #parts(
    offset: number,
    data: Uint8Array,
    first: number,
    last: number,
  ): { data: Uint8Array; offset: number }[] {
    const end = offset + data.byteLength
    const fillFirst = offset % BLOCK_BYTES !== 0 || (first === last && end % BLOCK_BYTES !== 0)
    const fillLast = first !== last && end % BLOCK_BYTES !== 0
    const parts: { data: Uint8Array; offset: number }[] = []
    let start = offset
    let stop = end
    if (fillFirst && !this.#index.inTop(first)) {
      const filled = this.#filled(first, offset, data)
      parts.push({ data: filled, offset: first * BLOCK_BYTES })
      start = Math.min(end, (first + 1) * BLOCK_BYTES)
    }
    if (fillLast && !this.#index.inTop(last)) {
      parts.push({ data: this.#filled(last, offset, data), offset: last * BLOCK_BYTES })
      stop = last * BLOCK_BYTES
    }
    if (start < stop) parts.push({ data: data.subarray(start - offset, stop - offset), offset: start })
    return parts
  }

  #filled(block: number, offset: number, data: Uint8Array): Uint8Array {
    const start = block * BLOCK_BYTES
    const filled = new Uint8Array(BLOCK_BYTES)
    this.#readNow(start, filled)
    const from = Math.max(start, offset)
    const to = Math.min(start + BLOCK_BYTES, offset + data.byteLength)
    filled.set(data.subarray(from - offset, to - offset), from - start)
    return filled
  }

  async #writeLater(offset: number, data: Uint8Array, first: number, last: number): Promise<void> {
    const taken = this.#take(first, last)
    let parts: { data: Uint8Array; offset: number }[]
    try {
      parts = this.#parts(offset, data, first, last)
    } catch (error) {
      throw this.#notWritten(error, taken)
    }
    const release = this.#claim(first, last)
    try {
      for (const part of parts) await this.#index.top.files.writeLater(part.data, part.offset)
      this.#note(first, last, taken)
      this.#written(first, last, taken)
    } catch (error) {
      throw this.#notWritten(error, taken)
    } finally {
      release()
    }
  }

  /** Takes room for the blocks that are new to the top layer, and makes its files. @returns how many were taken */
  #take(first: number, last: number, purpose: 'write' | 'merge' = 'write'): number {
    const taken = this.#index.countNew(first, last)
    if (taken > 0) {
      this.#host.space.take(taken, purpose)
      try {
        this.#index.top.files.create()
      } catch (error) {
        throw this.#notWritten(error, taken)
      }
    }
    return taken
  }

  /** Lets what has been written, `taken` blocks of it new to the top layer, outlive the process. */
  #note(first: number, last: number, taken: number): void {
    this.#checkUsable()
    if (taken > 0) this.#journal?.append(first, last - first + 1, DATA)
  }

  #notWritten(error: unknown, taken: number): unknown {
    this.#host.space.give(taken)
    // EFBIG: a block lies at its own offset, and ext4 has no file above 16 TiB.
    const full = ['ENOSPC', 'EDQUOT', 'EFBIG'].includes(systemCode(error) ?? '')
    return full ? new NoSpaceError('the filesystem of the store is full', error) : error
  }

  #written(first: number, last: number, taken: number): void {
    const added = this.#index.setData(first, last)
    this.#index.top.usedBlocks += added
    this.#host.space.give(taken - added)
    this.#dataDirty = true
    if (this.#flushDue) this.#flushEarly()
  }

  /** Whether memory or the journal holds so much that a flush should not wait for somebody to ask for it. */
  get #flushDue(): boolean {
    return this.#index.dirty.size >= DIRTY_PAGES || (this.#journal?.bytes ?? 0) >= this.#host.journalBytes
  }

  #flushEarly(): void {
    // A failure is kept: the volume refuses the next operation with it.
    if (this.#nextFlush === undefined && this.#flushing === undefined && this.#gate.open) {
      this.#gate.shared(() => this.#flush()).catch(() => undefined)
    }
  }

  /** @returns a promise for the end of an unfinished operation on these blocks */
  #claimed(first: number, last: number): Promise<void> | undefined {
    for (const claim of this.#claims) if (claim.first <= last && first <= claim.last) return claim.done
    return undefined
  }

  #claim(first: number, last: number): () => void {
    let resolve = (): void => {}
    const claim: Claim = { first, last, done: new Promise((done) => (resolve = done)) }
    this.#claims.add(claim)
    this.#gate.enter()
    return () => {
      this.#claims.delete(claim)
      this.#gate.leave()
      resolve()
    }
  }

  /** Writes zeroes over parts of blocks, unless those are zero already. */
  async #zeroParts(offset: number, end: number): Promise<void> {
    for (let at = offset; at < end; ) {
      const block = Math.floor(at / BLOCK_BYTES)
      const stop = Math.min(end, (block + 1) * BLOCK_BYTES)
      for (let wait = this.#claimed(block, block); wait !== undefined; wait = this.#claimed(block, block))
        await wait
      this.#index.runEnd(at, stop)
      if (this.#index.runLayer !== undefined) {
        const zeroes = new Uint8Array(stop - at)
        const taken = this.#take(block, block)
        try {
          for (const part of this.#parts(at, zeroes, block, block)) {
            this.#index.top.files.write(part.data, part.offset)
          }
          this.#note(block, block, taken)
        } catch (error) {
          throw this.#notWritten(error, taken)
        }
        this.#written(block, block, taken)
      }
      at = stop
    }
  }

  async #zeroBlocks(first: number, last: number, cancel: Cancel): Promise<void> {
    let turn = 0
    for (let block = first; block <= last; ) {
      const number = Math.floor(block / BLOCKS_PER_PAGE)
      const base = number * BLOCKS_PER_PAGE
      const stop = Math.min(last, base + BLOCKS_PER_PAGE - 1)
      for (let wait = this.#claimed(block, stop); wait !== undefined; wait = this.#claimed(block, stop))
        await wait
      if (this.#index.peek(number) !== undefined) {
        const files = this.#index.top.files
        if (files.blank && this.#index.topPosition > 1) files.create()
        const freed = this.#index.setZero(number, block - base, stop - base)
        if (freed !== undefined) {
          if (freed > 0) this.#freed.add(block, stop)
          this.#index.top.usedBlocks -= freed
          this.#host.space.give(freed)
          this.#noteZero(block, stop)
        }
      }
      block = stop + 1
      if (this.#flushDue) await this.#flush()
      if (++turn % PAGES_PER_TURN === 0) {
        await new Promise(setImmediate)
        cancel.signal.throwIfAborted()
      }
    }
  }

  #noteZero(first: number, last: number): void {
    try {
      this.#journal?.append(first, last - first + 1, this.#index.zeroState)
    } catch (error) {
      throw this.#notWritten(error, 0)
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
    const top = this.#index.top
    const pages = [...this.#index.dirty].map((page) => ({
      page,
      version: page.version,
      states: Uint8Array.from(page.states),
    }))
    const dataDirty = this.#dataDirty
    if (!dataDirty && pages.length === 0) return
    this.#dataDirty = false
    // From here to the first wait nothing is changed, so that the sealed journal tells just what `pages` hold.
    if (pages.length > 0) this.#journal?.seal()
    try {
      if (dataDirty) await top.files.syncData()
      if (pages.length === 0) return
      for (const { page, states } of pages) top.files.writePage(page.number, states, page)
      await top.files.syncMap()
      if (!top.written) await this.#host.settle(top)
      await this.#journal?.drop()
    } catch (error) {
      // After a failed fsync the kernel may call the lost pages clean: trying again would claim what is not true.
      const failure = new VolumeFailedError(`${this.id} could not be made durable`, error)
      this.#unusable ??= failure
      this.#endJournal()
      throw failure
    }
    for (const { page, version } of pages) {
      page.sequence++
      page.slot = page.slot === 0 ? 1 : 0
      if (page.version !== version) continue
      page.dirty = false
      this.#index.dirty.delete(page)
    }
    if (!this.#freed.empty && this.#punching === undefined && this.#host.punches) {
      this.#punching = this.#punch()
        .catch((error: unknown) => this.#host.failed(error))
        .finally(() => {
          this.#punching = undefined
        })
    }
  }

  /** Punches holes where blocks were unmapped. Whoever wants to write there waits, as for another write. */
  async #punch(): Promise<void> {
    const top = this.#index.top
    for (const range of this.#freed.take()) {
      for (let first = range.first; first <= range.last; ) {
        while (!this.#gate.open) await this.#gate.whenOpen()
        if (this.#unusable !== undefined || this.#index.top !== top) return
        const hole = this.#unusedRun(first, range.last)
        first = hole.last + 1
        const wait = this.#claimed(hole.first, hole.last)
        // Somebody is writing there: it is in use again.
        if (wait !== undefined || hole.last - hole.first + 1 < MIN_HOLE_BLOCKS) continue
        const release = this.#claim(hole.first, hole.last)
        try {
          if (!(await punchHole(top.files.dataPath, hole))) return this.#host.stopPunching()
        } finally {
          release()
        }
      }
    }
  }

  /** Finds the first run of blocks from `first` to `last` that the top layer's file does not need. */
  #unusedRun(first: number, last: number): BlockRange {
    let start = first
    while (start < last && this.#index.inTop(start)) start++
    let stop = start
    while (stop < last && !this.#index.inTop(stop + 1)) stop++
    return this.#index.inTop(start) ? { first: start + 1, last: start } : { first: start, last: stop }
  }
}
