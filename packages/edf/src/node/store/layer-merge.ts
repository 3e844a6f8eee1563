import type { Layer } from './layer-graph.ts'
import {
  BELOW,
  BLOCK_BYTES,
  BLOCKS_PER_PAGE,
  DATA,
  STATE_BYTES,
  setState,
  stateOf,
  ZERO,
} from './map-page.ts'
import type { Space } from './space.ts'
import type { ThinVolume } from './thin-volume.ts'

/** Blocks that are copied in one go: 1 MiB. */
const COPY_BLOCKS = 256

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
 * above, it covers what changes in the target; where it lies below, the target gets what it shows already.)
 * @throws NoSpaceError when not even the reserve is enough
 */
export async function mergeLayers(merge: Merge): Promise<void> {
  const { target, source } = merge
  const buffer = Buffer.allocUnsafeSlow(COPY_BLOCKS * BLOCK_BYTES)
  target.files.acquire()
  source.files.acquire()
  try {
    for (let page = 0; page < source.files.pageCount; page++) {
      merge.check()
      await mergePage(merge, page, buffer)
    }
  } finally {
    target.files.release()
    source.files.release()
  }
}

async function mergePage(merge: Merge, page: number, buffer: Buffer): Promise<void> {
  const { target, source, overwrite } = merge
  const from = source.files.readPage(page).states
  if (from === undefined) return
  const before = target.files.readPage(page)
  const states = before.states ?? new Uint8Array(STATE_BYTES)
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
    if (state === DATA) {
      target.files.create()
      await copy(merge, page * BLOCKS_PER_PAGE + block, end - block, buffer)
    }
    for (; block < end; block++) {
      added += Number(state === DATA) - Number(stateOf(states, block) === DATA)
      setState(states, block, state === ZERO && merge.bottom ? BELOW : state)
    }
  }
  if (!changed) return
  merge.check()
  target.files.create()
  if (added > 0) merge.space.take(added, 'merge')
  else merge.space.give(-added)
  target.usedBlocks += added
  await target.files.syncData()
  target.files.writePage(page, states, before)
  await target.files.syncMap()
}

async function copy(merge: Merge, block: number, blocks: number, buffer: Buffer): Promise<void> {
  merge.check()
  const data = buffer.subarray(0, blocks * BLOCK_BYTES)
  await merge.source.files.readLater(data, 0, data.byteLength, block * BLOCK_BYTES)
  await merge.target.files.writeLater(data, block * BLOCK_BYTES)
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
      volume.absorb(first + block, data)
      block = end
    }
  })
}
