import type { Layer } from './layer-graph.ts'
import {
  BELOW,
  BLOCK_BYTES,
  BLOCKS_PER_PAGE,
  DATA,
  EMPTY_PAGE,
  STATE_BYTES,
  setState,
  stateOf,
  ZERO,
} from './map-page.ts'
import type { CachedPage, PageCache } from './page-cache.ts'

/** Empty pages that are remembered as such: those of 4 TiB. */
const MAX_BLANK_PAGES = 65536

/** The merged view of 63 MiB of a volume, and the top layer's own states of it. About 36 KiB. */
export class IndexPage implements CachedPage {
  readonly number: number
  /** For each block the position in the chain of the layer that holds it; 0: zeroes. */
  readonly owners = new Uint16Array(BLOCKS_PER_PAGE)
  /** The top layer's map page. */
  readonly states = new Uint8Array(STATE_BYTES)
  /** Where `states` was last written. */
  sequence = EMPTY_PAGE.sequence
  slot = EMPTY_PAGE.slot
  /** Counts changes of `states`, so that a flush knows whether it has caught them all. */
  version = 0
  dirty = false
  recent = true
  readonly #index: BlockIndex

  constructor(index: BlockIndex, number: number) {
    this.#index = index
    this.number = number
  }

  get pinned(): boolean {
    return this.dirty
  }

  evict(): void {
    this.#index.forget(this)
  }
}

/**
 * Answers which layer of a volume's chain holds a block. Pages are read when first touched (8 KiB of every layer that
 * has something there) and merged, so that a read costs the same below one snapshot and below two hundred.
 *
 * Positions in the chain are never renumbered: when two layers are merged, both positions lead to the one that stays.
 */
export class BlockIndex {
  readonly #cache: PageCache
  /** By position; position 0 stands for zeroes. */
  #chain: (Layer | undefined)[] = [undefined]
  #pages = new Map<number, IndexPage>()
  #last: IndexPage | undefined
  /** Pages known to be empty, so that reading them again costs nothing. */
  readonly #blank = new Set<number>()
  readonly dirty = new Set<IndexPage>()
  /** What holds the stretch that `runEnd` found last. */
  runLayer: Layer | undefined

  constructor(cache: PageCache, layers: readonly Layer[]) {
    this.#cache = cache
    this.#chain.push(...layers)
    for (const layer of layers) layer.files.acquire()
  }

  /** The layer on top: the writable one of a volume. */
  get top(): Layer {
    const top = this.#chain.at(-1)
    if (top === undefined) throw new Error('the index is closed')
    return top
  }

  /** Position of the top layer. */
  get topPosition(): number {
    return this.#chain.length - 1
  }

  has(layer: Layer): boolean {
    return this.#chain.includes(layer)
  }

  /** The page of a number, read if need be. Valid until the next call of any method. */
  page(number: number): IndexPage {
    if (this.#last?.number === number) {
      this.#last.recent = true
      return this.#last
    }
    let page = this.#pages.get(number)
    if (page === undefined) {
      page = this.#load(number)
      this.#blank.delete(number)
      this.#pages.set(number, page)
      this.#cache.add(page)
    }
    page.recent = true
    this.#last = page
    return page
  }

  /** As `page`, but undefined where no layer holds anything: hardly any memory is used for such a page. */
  peek(number: number): IndexPage | undefined {
    if (this.#last?.number === number || this.#pages.has(number)) return this.page(number)
    if (this.#blank.has(number)) return undefined
    for (const layer of new Set(this.#chain)) {
      if (layer?.files.readPage(number).states !== undefined) return this.page(number)
    }
    if (this.#blank.size >= MAX_BLANK_PAGES) this.#blank.clear()
    this.#blank.add(number)
    return undefined
  }

  /** @returns whether the top layer's file holds the block */
  inTop(block: number): boolean {
    const number = Math.floor(block / BLOCKS_PER_PAGE)
    return this.page(number).owners[block - number * BLOCKS_PER_PAGE] === this.topPosition
  }

  /** Counts blocks from `first` to `last` that the top layer's file does not hold. */
  countNew(first: number, last: number): number {
    const top = this.topPosition
    let count = 0
    for (let block = first; block <= last; ) {
      const number = Math.floor(block / BLOCKS_PER_PAGE)
      const base = number * BLOCKS_PER_PAGE
      const { owners } = this.page(number)
      const stop = Math.min(last - base, BLOCKS_PER_PAGE - 1)
      for (let at = block - base; at <= stop; at++) if (owners[at] !== top) count++
      block = base + stop + 1
    }
    return count
  }

  /** Notes that blocks lie in the top layer's file now. @returns how many did not before */
  setData(first: number, last: number): number {
    const top = this.topPosition
    let count = 0
    for (let block = first; block <= last; ) {
      const number = Math.floor(block / BLOCKS_PER_PAGE)
      const base = number * BLOCKS_PER_PAGE
      const page = this.page(number)
      const stop = Math.min(last - base, BLOCKS_PER_PAGE - 1)
      const before = count
      for (let at = block - base; at <= stop; at++) {
        if (page.owners[at] === top) continue
        page.owners[at] = top
        setState(page.states, at, DATA)
        count++
      }
      if (count > before) this.#touch(page)
      block = base + stop + 1
    }
    return count
  }

  /** The state in the top layer of a block that is zeroes. */
  get zeroState(): number {
    // With nothing below, a zero block is the same as one never written, and a page of those is the empty page.
    return this.topPosition === 1 ? BELOW : ZERO
  }

  /**
   * Makes blocks of one page zeroes.
   * @returns how many of them the top layer's file held; undefined when all were zeroes before
   */
  setZero(number: number, first: number, last: number): number | undefined {
    const page = this.page(number)
    const top = this.topPosition
    const state = this.zeroState
    let freed = 0
    let changed = false
    for (let at = first; at <= last; at++) {
      const owner = page.owners[at]
      if (owner === 0) continue
      if (owner === top) freed++
      page.owners[at] = 0
      setState(page.states, at, state)
      changed = true
    }
    if (!changed) return undefined
    this.#touch(page)
    return freed
  }

  /** Marks blocks of one page that a merge has found to be zero below. */
  absorbZero(number: number, block: number): void {
    const page = this.page(number)
    setState(page.states, block, ZERO)
    this.#touch(page)
  }

  /**
   * Finds how far from `offset`, at most to `end` (bytes), one layer holds everything, and leaves it in `runLayer`;
   * undefined there stands for zeroes.
   */
  runEnd(offset: number, end: number): number {
    const last = Math.floor((end - 1) / BLOCK_BYTES)
    let block = Math.floor(offset / BLOCK_BYTES)
    const chain = this.#chain
    let run: Layer | undefined
    let started = false
    while (block <= last) {
      const number = Math.floor(block / BLOCKS_PER_PAGE)
      const base = number * BLOCKS_PER_PAGE
      const stop = Math.min(last - base, BLOCKS_PER_PAGE - 1)
      const page = this.peek(number)
      let at = block - base
      if (page === undefined) {
        if (started && run !== undefined) break
        at = stop + 1
      } else {
        const owners = page.owners
        if (!started) run = chain[owners[at] ?? 0]
        let owner = -1
        for (; at <= stop; at++) {
          const next = owners[at] ?? 0
          if (next === owner) continue
          if (chain[next] !== run) break
          owner = next
        }
      }
      started = true
      block = base + at
      if (at <= stop) break
    }
    this.runLayer = run
    return Math.min(end, block * BLOCK_BYTES)
  }

  /** Puts an empty layer on top. The old top has been flushed whole. */
  push(layer: Layer): void {
    layer.files.acquire()
    this.#chain.push(layer)
    for (const page of this.#pages.values()) {
      page.states.fill(0)
      page.sequence = EMPTY_PAGE.sequence
      page.slot = EMPTY_PAGE.slot
    }
  }

  /** Leads every position of `dropped` to `keeper`, which is in the chain too. */
  replace(dropped: Layer, keeper: Layer): void {
    for (let at = 1; at < this.#chain.length; at++) if (this.#chain[at] === dropped) this.#chain[at] = keeper
    dropped.files.release()
    dropped.rest()
  }

  /** Forgets everything and starts with another chain. Nothing is dirty, or what is dirty is not wanted. */
  reset(layers: readonly Layer[]): void {
    for (const layer of layers) layer.files.acquire()
    for (const layer of new Set(this.#chain)) {
      layer?.files.release()
      layer?.rest()
    }
    this.#chain = [undefined, ...layers]
    this.#cache.remove(new Set(this.#pages.values()))
    this.#pages = new Map()
    this.#last = undefined
    this.#blank.clear()
    this.dirty.clear()
  }

  /** Drops a page from memory, for the cache. */
  forget(page: IndexPage): void {
    this.#pages.delete(page.number)
    if (this.#last === page) this.#last = undefined
  }

  #touch(page: IndexPage): void {
    page.version++
    if (page.dirty) return
    page.dirty = true
    this.dirty.add(page)
  }

  #load(number: number): IndexPage {
    const page = new IndexPage(this, number)
    const top = this.topPosition
    for (let position = 1; position <= top; position++) {
      const layer = this.#chain[position]
      if (layer === undefined || layer === this.#chain[position + 1]) continue
      const { states, sequence, slot } = layer.files.readPage(number)
      if (position === top) {
        page.sequence = sequence
        page.slot = slot
        if (states !== undefined) page.states.set(states)
      }
      if (states !== undefined) overlay(page.owners, states, position)
    }
    return page
  }
}

/** Lays one layer's states over what the layers below it hold. */
function overlay(owners: Uint16Array, states: Uint8Array, position: number): void {
  for (let byte = 0; byte < STATE_BYTES; byte++) {
    const four = states[byte]
    if (four === 0) continue
    const block = byte * 4
    for (let at = block; at < block + 4; at++) {
      const state = stateOf(states, at)
      if (state === DATA) owners[at] = position
      else if (state === ZERO) owners[at] = 0
    }
  }
}
