import { CorruptStoreError } from './errors.ts'
import type { Layer } from './layer-graph.ts'
import { sumsOf } from './layer-sums.ts'
import type { MapChange } from './map-journal.ts'
import { BLOCK_BYTES, BLOCKS_PER_PAGE, DATA, type MapPage, STATE_BYTES, setState } from './map-page.ts'

/** Blocks that are read at once. */
const RESUM_BLOCKS = 256

/**
 * Brings a layer's map up to what its journal tells, durably: data, then map, as a flush does. May be killed anywhere
 * and done again. The layer's `written` is still to be set, and its blocks are to be counted.
 * @param changes oldest first; each says how blocks are after it, so that what the map knows already does no harm
 * @returns how many changes tell of data that is not there, and were left out
 * @throws CorruptStoreError when a file of the layer is missing, or a page of the map is damaged
 */
export async function replayJournal(layer: Layer, changes: readonly MapChange[]): Promise<number> {
  const { files } = layer
  if (!files.adopt()) throw new CorruptStoreError(`layer ${layer.id} has lost the files its journal tells of`)
  const pages = new Map<number, { before: MapPage; states: Uint8Array }>()
  let left = 0
  files.acquire()
  try {
    const { dataBytes } = files
    for (const { first, blocks, state } of changes) {
      const last = first + blocks - 1
      if (state === DATA && (last + 1) * BLOCK_BYTES > dataBytes) {
        left++
        continue
      }
      if (state === DATA) resum(layer, first, last)
      for (let number = Math.floor(first / BLOCKS_PER_PAGE); number * BLOCKS_PER_PAGE <= last; number++) {
        const base = number * BLOCKS_PER_PAGE
        let page = pages.get(number)
        if (page === undefined) {
          const before = files.readPage(number)
          page = { before, states: before.states ?? new Uint8Array(STATE_BYTES) }
          pages.set(number, page)
        }
        fill(page.states, Math.max(0, first - base), Math.min(last - base, BLOCKS_PER_PAGE - 1), state)
      }
    }
    await files.syncData()
    await files.syncSums()
    await layer.sums.write(layer.sums.take())
    // The killed process may have written pages that are not durable: their other slots, which are, must stay so long.
    await files.syncMap()
    for (const [number, { before, states }] of pages) files.writePage(number, states, before)
    await files.syncMap()
  } finally {
    files.release()
    layer.rest()
  }
  return left
}

/** Gives blocks the checksums of what is there. */
function resum({ files, sums }: Layer, first: number, last: number): void {
  for (let at = first; at <= last; at += RESUM_BLOCKS) {
    const data = Buffer.allocUnsafe(Math.min(RESUM_BLOCKS, last - at + 1) * BLOCK_BYTES)
    files.read(data, 0, data.byteLength, at * BLOCK_BYTES)
    sums.set(at, sumsOf(data))
  }
}

/** Sets the states of a page's blocks from `first` to `last`, four at a time where that is possible. */
function fill(states: Uint8Array, first: number, last: number, state: number): void {
  let at = first
  for (; at <= last && at % 4 !== 0; at++) setState(states, at, state)
  const bytes = Math.max(0, Math.floor((last + 1 - at) / 4))
  states.fill(state * 0b01010101, at / 4, at / 4 + bytes)
  for (at += bytes * 4; at <= last; at++) setState(states, at, state)
}
