import type { BlockIndex } from './block-index.ts'
import type { BlockReader } from './block-reader.ts'
import { Claims } from './claims.ts'
import { NoSpaceError, systemCode, type ThinStoreError, VolumeFailedError } from './errors.ts'
import type { BlockRange } from './hole-punch.ts'
import { sumsOf } from './layer-sums.ts'
import type { MapJournal } from './map-journal.ts'
import { BLOCK_BYTES, DATA } from './map-page.ts'
import type { VolumeHost } from './thin-volume.ts'
import { type WholeBlocks, wholeBlocks } from './write-parts.ts'

/** Dirty map pages (36 KiB each), and pages of checksums (4 KiB), that start a flush of their own. */
const DIRTY_PAGES = 256
const DIRTY_SUMS_PAGES = 2048

/**
 * Writes to the top layer of a volume: data and journal before the caller is told, map and checksums in memory, and in
 * a flush all of it durably: data and checksums, and then the map that tells of them.
 *
 * The caller sees to it that nothing else changes the blocks meanwhile (`claims`), and that `ready` has nothing to wait
 * for.
 */
export class TopWriter {
  readonly #id: string
  readonly #index: BlockIndex
  readonly #reader: BlockReader
  readonly #host: VolumeHost
  readonly claims = new Claims()
  #journal: MapJournal | undefined
  #dataDirty = false
  /** Why nothing may be read or written any more. */
  failure: ThinStoreError | undefined
  /** Whether every write is marked, so that a crash tells where copies of the volume may differ. */
  markAll = false

  constructor(id: string, index: BlockIndex, reader: BlockReader, host: VolumeHost) {
    this.#id = id
    this.#index = index
    this.#reader = reader
    this.#host = host
  }

  /** Starts with an empty journal: there is a new top layer. */
  start(): void {
    this.stop()
    this.#dataDirty = false
    this.#journal = this.#host.journal(this.#index.top)
  }

  /** What the journal tells is durable by now, or is no longer wanted. */
  stop(): void {
    try {
      this.#journal?.remove()
    } catch (error) {
      this.#host.failed(error)
    }
    this.#journal = undefined
  }

  /** Lets go of the journal, but leaves what it tells to the next start. */
  leaveJournal(): void {
    this.#journal?.close()
    this.#journal = undefined
  }

  /** Whether all that was written is durable. */
  get clean(): boolean {
    const { top, dirty } = this.#index
    return this.failure === undefined && !this.#dataDirty && dirty.size === 0 && top.sums.dirtyPages === 0
  }

  /** Whether memory or the journal holds so much that a flush should not wait for somebody to ask for it. */
  get flushDue(): boolean {
    return (
      this.#index.dirty.size >= DIRTY_PAGES ||
      this.#index.top.sums.dirtyPages >= DIRTY_SUMS_PAGES ||
      (this.#journal?.bytes ?? 0) >= this.#host.journalBytes
    )
  }

  /** What a change of blocks has to wait for: their mark on the disk. Ask again afterwards. */
  ready(first: number, last: number): Promise<void> | undefined {
    const { top } = this.#index
    const overwrites = this.#index.countNew(first, last) <= last - first
    if (!(overwrites || this.markAll) || top.marks.touch(first, last)) return undefined
    try {
      top.files.create()
    } catch (error) {
      throw asNoSpace(error)
    }
    return top.marks.mark(first, last).catch((error: unknown) => {
      throw asNoSpace(error)
    })
  }

  /** Writes, blocking. */
  write(offset: number, data: Uint8Array): void {
    this.#writeBlocks(() => wholeBlocks(this.#reader, offset, data), offset, data.byteLength)
  }

  /** Writes whole blocks that a merge brings, with their checksums. */
  absorb(block: number, data: Uint8Array, sums: Uint32Array): void {
    const offset = block * BLOCK_BYTES
    const blocks = { parts: [{ data, offset }], firstBlock: block, sums }
    this.#writeBlocks(() => blocks, offset, data.byteLength, 'merge')
  }

  #writeBlocks(
    prepare: () => WholeBlocks,
    offset: number,
    length: number,
    purpose: 'write' | 'merge' = 'write',
  ): void {
    const { first, last } = blocksOf(offset, length)
    const taken = this.#take(first, last, purpose)
    let begun = false
    try {
      const blocks = prepare()
      begun = true
      for (const part of blocks.parts) this.#index.top.files.write(part.data, part.offset)
      this.#note(first, last, taken)
      this.#written(blocks, taken)
    } catch (error) {
      throw this.#notWritten(error, begun ? { first, last } : undefined, taken)
    }
  }

  /** As `write`, on the thread pool. The blocks are claimed meanwhile. */
  async writeLater(offset: number, data: Uint8Array): Promise<void> {
    const { first, last } = blocksOf(offset, data.byteLength)
    const taken = this.#take(first, last, 'write')
    const release = this.claims.take(first, last)
    let begun = false
    try {
      const blocks = wholeBlocks(this.#reader, offset, data)
      begun = true
      for (const part of blocks.parts) await this.#index.top.files.writeLater(part.data, part.offset)
      this.#note(first, last, taken)
      this.#written(blocks, taken)
    } catch (error) {
      throw this.#notWritten(error, begun ? { first, last } : undefined, taken)
    } finally {
      release()
    }
  }

  /** Makes blocks of one map page zeroes. @returns whether blocks of the top layer were freed */
  zero(number: number, base: number, first: number, last: number): boolean {
    const { files } = this.#index.top
    if (files.blank && this.#index.topPosition > 1) files.create()
    const freed = this.#index.setZero(number, first - base, last - base)
    if (freed === undefined) return false
    this.#index.top.usedBlocks -= freed
    this.#host.space.give(freed)
    try {
      this.#journal?.append(first, last - first + 1, this.#index.zeroState)
    } catch (error) {
      throw asNoSpace(error)
    }
    return freed > 0
  }

  /** Gives blocks of the top layer the checksums of what is there. Nothing changes them meanwhile. */
  resum(first: number, last: number): void {
    const block = Buffer.allocUnsafe(BLOCK_BYTES)
    const { top } = this.#index
    for (let at = first; at <= last; at++) {
      if (!this.#index.inTop(at)) continue
      top.files.read(block, 0, BLOCK_BYTES, at * BLOCK_BYTES)
      const sums = sumsOf(block)
      if (sums[0] !== top.sums.of(at)) top.sums.set(at, sums)
      this.#dataDirty = true
    }
  }

  /**
   * Makes durable what was written so far.
   * @throws NoSpaceError when the filesystem has no room for it: it stays in memory and journal, for the next flush
   * @throws VolumeFailedError; then the volume is no longer usable
   */
  async flush(): Promise<void> {
    const top = this.#index.top
    const pages = [...this.#index.dirty].map((page) => ({
      page,
      version: page.version,
      states: Uint8Array.from(page.states),
    }))
    const sums = top.sums.take()
    const dataDirty = this.#dataDirty
    if (!dataDirty && pages.length === 0 && sums.length === 0) return
    this.#dataDirty = false
    top.marks.flushBegins()
    // From here to the first wait nothing is changed, so that the sealed journal tells just what `pages` hold.
    if (pages.length > 0) this.#journal?.seal()
    try {
      await both(dataDirty ? top.files.syncData() : undefined, top.sums.write(sums))
      top.marks.flushed()
      if (pages.length === 0) return
      for (const { page, states } of pages) top.files.writePage(page.number, states, page)
      await top.files.syncMap()
      if (!top.written) await this.#host.settle(top)
      await this.#journal?.drop()
    } catch (error) {
      if (lacksRoom(error)) {
        this.#dataDirty ||= dataDirty
        throw asNoSpace(error)
      }
      // After a failed fsync the kernel may call the lost pages clean: trying again would claim what is not true.
      const failure = new VolumeFailedError(`${this.#id} could not be made durable`, error)
      this.failure ??= failure
      top.marks.distrust()
      this.#host.doubt(top)
      this.stop()
      throw failure
    }
    for (const { page, version } of pages) {
      page.sequence++
      page.slot = page.slot === 0 ? 1 : 0
      if (page.version !== version) continue
      page.dirty = false
      this.#index.dirty.delete(page)
    }
  }

  /** Takes room for the blocks that are new to the top layer, and makes its files. @returns how many were taken */
  #take(first: number, last: number, purpose: 'write' | 'merge'): number {
    const taken = this.#index.countNew(first, last)
    if (taken === 0) return 0
    this.#host.space.take(taken, purpose)
    try {
      this.#index.top.files.create()
    } catch (error) {
      this.#host.space.give(taken)
      throw asNoSpace(error)
    }
    return taken
  }

  /** Lets what has been written, `taken` blocks of it new to the top layer, outlive the process. */
  #note(first: number, last: number, taken: number): void {
    if (this.failure !== undefined) throw this.failure
    if (taken > 0) this.#journal?.append(first, last - first + 1, DATA)
  }

  #written({ firstBlock, sums }: WholeBlocks, taken: number): void {
    const { top } = this.#index
    const added = this.#index.setData(firstBlock, firstBlock + sums.length - 1)
    top.sums.set(firstBlock, sums)
    top.usedBlocks += added
    this.#host.space.give(taken - added)
    this.#dataDirty = true
  }

  /** @param begun blocks of which a part may have been written */
  #notWritten(error: unknown, begun: BlockRange | undefined, taken: number): unknown {
    this.#host.space.give(taken)
    try {
      // What was written over a part of them is no longer what their checksums say.
      if (begun !== undefined && this.failure === undefined) this.resum(begun.first, begun.last)
    } catch (failure) {
      this.#host.failed(failure)
    }
    return asNoSpace(error)
  }
}

/** The system's errors of a full filesystem become ours. */
function asNoSpace(error: unknown): unknown {
  return isFull(error) ? new NoSpaceError('the filesystem of the store is full', error) : error
}

function isFull(error: unknown): boolean {
  // EFBIG: a block lies at its own offset, and ext4 has no file above 16 TiB.
  return ['ENOSPC', 'EDQUOT', 'EFBIG'].includes(systemCode(error) ?? '')
}

/** Whether something was not written for lack of room; a sync that fails so, where room is given late, has lost data. */
function lacksRoom(error: unknown): boolean {
  if (error instanceof NoSpaceError) return true
  const call: unknown = error instanceof Error ? Reflect.get(error, 'syscall') : undefined
  return isFull(error) && call !== 'fsync' && call !== 'fdatasync'
}

/** The blocks that a range touches. */
export function blocksOf(offset: number, length: number): BlockRange {
  return { first: Math.floor(offset / BLOCK_BYTES), last: Math.floor((offset + length - 1) / BLOCK_BYTES) }
}

/** Waits for both to end, whether they fail or not. */
async function both(first: Promise<void> | undefined, second: Promise<void>): Promise<void> {
  for (const result of await Promise.allSettled([first, second])) {
    if (result.status === 'rejected') throw result.reason
  }
}
