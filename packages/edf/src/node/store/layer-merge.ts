import type { Layer } from './layer-graph.ts'
import { carriedSums } from './layer-sums.ts'
import {
  BELOW,
  BLOCK_BYTES,
  BLOCKS_PER_PAGE,
  DATA,
  type MapPage,
  STATE_BYTES,
  setState,
  stateOf,
  ZERO,
} from './map-page.ts'
import type { Space } from './space.ts'
import type { ThinVolume } from './thin-volume.ts'

/** Blocks that are copied in one go: 1 MiB. */
const COPY_BLOCKS = 256
/** Blocks up to which a run is copied without the thread pool, and such runs until others get a turn. */
const INLINE_BLOCKS = 8
const TURN_RUNS = 32
/** Pages, and blocks (256 MiB), after which what was copied is made durable. */
const BATCH_PAGES = 1024
const BATCH_BLOCKS = 65536

/** A merge stopped since what it worked on is no longer wanted, or the store closes. Nothing is lost. */
export class MergeStopped extends Error {}

/** What a merge needs to know. */
export interface Merge {
  /** Takes the blocks. */
  readonly target: Layer
  /** Gives them; it is dropped afterwards. */
  readonly source: Layer
  /** Whether the source lies above the target, so that its blocks win. */
  readonly overwrite: boolean
  /** Whether anything lies below both: zero blocks have to be marked then. */
  readonly bottom: boolean
  readonly space: Space
  /** @throws MergeStopped when the merge should end here */
  check(): void
}

/**
 * Copies from one frozen layer to its frozen neighbour what the neighbour lacks. May be killed anywhere and started
 * again: data is durable before the map says so, and what the target shows does not change. (Where the source lies
 * above, it covers what changes in the target; where it lies below, the target gets what it shows already.) Blocks
 * take their checksums with them.
 * @throws NoSpaceError when not even the reserve is enough
 */
export async function mergeLayers(merge: Merge): Promise<void> {
  const { target, source } = merge
  const copier = new Copier(merge)
  let batch: MergedPage[] = []
  target.files.acquire()
  source.files.acquire()
  target.merging = true
  try {
    for (let page = 0; page < source.files.pageCount; page++) {
      merge.check()
      const merged = await mergePage(merge, page, copier)
      if (merged !== undefined) batch.push(merged)
      if (batch.length < BATCH_PAGES && copier.blocks < BATCH_BLOCKS) continue
      await commit(merge, batch)
      batch = []
      copier.blocks = 0
    }
    await commit(merge, batch)
    if (!target.files.blank) target.marks.close()
  } catch (error) {
    target.marks.distrust()
    target.sums.discard()
    throw error
  } finally {
    target.merging = false
    for (const { files } of [target, source]) files.release()
    target.rest()
    source.rest()
  }
}

/** A page of the target as it will be. */
interface MergedPage {
  readonly page: number
  readonly before: MapPage
  readonly states: Uint8Array
  /** Blocks that the target's data file has more than before. */
  readonly added: number
}

/** Copies what the target lacks in one page. @returns undefined when that is nothing */
async function mergePage(merge: Merge, page: number, copier: Copier): Promise<MergedPage | undefined> {
  const { target, source, overwrite } = merge
  const from = source.files.readPage(page).states
  if (from === undefined) return undefined
  const before = target.files.readPage(page)
  const states = before.states ?? new Uint8Array(STATE_BYTES)
  // What is overwritten here does not have its checksum until the commit.
  const base = page * BLOCKS_PER_PAGE
  if (overwrite && before.states !== undefined) await target.marks.mark(base, base + BLOCKS_PER_PAGE - 1)
  const wanted = (block: number): number => {
    return overwrite || stateOf(states, block) === BELOW ? stateOf(from, block) : BELOW
  }
  let added = 0
  let changed = false
  for (let block = 0; block < BLOCKS_PER_PAGE; ) {
    const state = wanted(block)
    if (state === BELOW) {
      block++
      continue
    }
    changed = true
    let end = block + 1
    while (end < BLOCKS_PER_PAGE && end - block < COPY_BLOCKS && wanted(end) === state) end++
    if (state === DATA) await copier.copy(page * BLOCKS_PER_PAGE + block, end - block)
    for (; block < end; block++) {
      added += Number(state === DATA) - Number(stateOf(states, block) === DATA)
      setState(states, block, state === ZERO && merge.bottom ? BELOW : state)
    }
  }
  return changed ? { page, before, states, added } : undefined
}

/** Makes copied data durable, and then the pages that tell of it. */
async function commit(merge: Merge, batch: readonly MergedPage[]): Promise<void> {
  if (batch.length === 0) return
  merge.check()
  const { target, space } = merge
  target.files.create()
  const added = batch.reduce((sum, page) => sum + page.added, 0)
  if (added > 0) space.take(added, 'merge')
  else space.give(-added)
  target.usedBlocks += added
  target.marks.flushBegins()
  await target.files.syncData()
  await target.sums.write(target.sums.take())
  target.marks.flushed()
  for (const { page, states, before } of batch) target.files.writePage(page, states, before)
  await target.files.syncMap()
}

/** Moves blocks from the source's file to the target's: short runs at once, long ones through the thread pool. */
class Copier {
  readonly #merge: Merge
  readonly #buffer = Buffer.allocUnsafeSlow(COPY_BLOCKS * BLOCK_BYTES)
  #inARow = 0
  /** Blocks copied since the owner set it to 0. */
  blocks = 0

  constructor(merge: Merge) {
    this.#merge = merge
  }

  async copy(block: number, blocks: number): Promise<void> {
    const { source, target, check } = this.#merge
    const data = this.#buffer.subarray(0, blocks * BLOCK_BYTES)
    const offset = block * BLOCK_BYTES
    this.blocks += blocks
    if (blocks <= INLINE_BLOCKS) {
      target.files.create()
      source.files.read(data, 0, data.byteLength, offset)
      target.files.write(data, offset)
      target.sums.set(block, carriedSums(source, block, data))
      if (++this.#inARow % TURN_RUNS !== 0) return
      await new Promise(setImmediate)
    } else {
      target.files.create()
      await source.files.readLater(data, 0, data.byteLength, offset)
      await target.files.writeLater(data, offset)
      target.sums.set(block, carriedSums(source, block, data))
    }
    check()
  }
}

/**
 * Copies what the top layer of an open volume lacks from `source`, the layer right below it, while the volume is in
 * use: blocks are read at leisure, and written between other operations if still wanted.
 */
export async function absorbInto(volume: ThinVolume, merge: Omit<Merge, 'overwrite'>): Promise<void> {
  const { source } = merge
  const buffer = Buffer.allocUnsafeSlow(COPY_BLOCKS * BLOCK_BYTES)
  source.files.acquire()
  try {
    for (let page = 0; page < source.files.pageCount; page++) {
      const from = source.files.readPage(page).states
      if (from === undefined) continue
      for (let block = 0; block < BLOCKS_PER_PAGE; ) {
        merge.check()
        const state = stateOf(from, block)
        let end = block + 1
        while (end < BLOCKS_PER_PAGE && end - block < COPY_BLOCKS && stateOf(from, end) === state) end++
        if (state === DATA || (state === ZERO && !merge.bottom)) {
          await absorbRun(volume, merge, { page, block, end, state }, buffer)
        }
        block = end
      }
    }
  } finally {
    source.files.release()
    source.rest()
  }
}

interface Run {
  readonly page: number
  readonly block: number
  readonly end: number
  readonly state: number
}

async function absorbRun(
  volume: ThinVolume,
  merge: Omit<Merge, 'overwrite'>,
  run: Run,
  buffer: Buffer,
): Promise<void> {
  const first = run.page * BLOCKS_PER_PAGE
  if (run.state === DATA) {
    const length = (run.end - run.block) * BLOCK_BYTES
    await merge.source.files.readLater(buffer, 0, length, (first + run.block) * BLOCK_BYTES)
  }
  await volume.exclusive(() => {
    merge.check()
    for (let block = run.block; block < run.end; ) {
      if (stateOf(volume.index.page(run.page).states, block) !== BELOW) {
        block++
        continue
      }
      if (run.state === ZERO) {
        volume.index.absorbZero(run.page, block++)
        continue
      }
      let end = block + 1
      const { states } = volume.index.page(run.page)
      while (end < run.end && stateOf(states, end) === BELOW) end++
      const data = buffer.subarray((block - run.block) * BLOCK_BYTES, (end - run.block) * BLOCK_BYTES)
      volume.absorb(first + block, data, carriedSums(merge.source, first + block, data))
      block = end
    }
  })
}
