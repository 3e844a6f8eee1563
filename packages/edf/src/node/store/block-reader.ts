import type { BlockIndex } from './block-index.ts'
import { BadBlockError } from './errors.ts'
import type { Layer } from './layer-graph.ts'
import { NO_SUM, sumOf } from './layer-sums.ts'
import { BLOCK_BYTES } from './map-page.ts'

/** Stretches up to this are read at once also as part of a long read. */
const SHORT_RUN_BYTES = 32 * 1024

/** Whether a block of a layer is what was written there, as far as its checksum tells. */
export function isIntact(layer: Layer, block: number, data: Uint8Array): boolean {
  const sum = layer.sums.of(block)
  return sum === sumOf(data) || (sum === NO_SUM && !layer.summed) || layer.marks.doubts(block)
}

/** A stretch of whole blocks that one layer holds, and the bytes of it that are wanted. */
interface Stretch {
  readonly layer: Layer
  readonly block: number
  /** Whole blocks: a part of `into`, or a buffer beside it where not all of a block is wanted. */
  readonly whole: Uint8Array
  deliver(): void
}

/**
 * Reads what the layers of an index hold together, and believes no block that does not have its checksum.
 *
 * A block that is being overwritten while it is read may be a mixture; whoever gets a `BadBlockError` waits for such a
 * write, and asks `now` again.
 */
export class BlockReader {
  readonly #index: BlockIndex
  readonly #id: string

  /** @param id of the volume or snapshot, for errors */
  constructor(index: BlockIndex, id: string) {
    this.#index = index
    this.#id = id
  }

  /** Fills `into` from `offset`, blocking. @throws BadBlockError, CorruptStoreError */
  now(offset: number, into: Uint8Array): void {
    const end = offset + into.byteLength
    for (let at = offset; at < end; ) {
      const stop = this.#index.runEnd(at, end)
      const layer = this.#index.runLayer
      if (layer === undefined) into.fill(0, at - offset, stop - offset)
      else {
        const stretch = stretchOf(layer, at, into.subarray(at - offset, stop - offset))
        layer.files.read(stretch.whole, 0, stretch.whole.byteLength, stretch.block * BLOCK_BYTES)
        this.#check(stretch)
        stretch.deliver()
      }
      at = stop
    }
  }

  /**
   * As `now`, on the thread pool.
   * @param inlineBytes stretches up to this may be read at once
   */
  async later(offset: number, into: Uint8Array, inlineBytes: number): Promise<void> {
    // Crossing to the pool and back for each of many short runs takes longer than reading them.
    const short = Math.min(SHORT_RUN_BYTES, inlineBytes)
    const end = offset + into.byteLength
    for (let at = offset; at < end; ) {
      const stop = this.#index.runEnd(at, end)
      const layer = this.#index.runLayer
      if (layer === undefined) into.fill(0, at - offset, stop - offset)
      else {
        const stretch = stretchOf(layer, at, into.subarray(at - offset, stop - offset))
        const { whole, block } = stretch
        if (whole.byteLength <= short) layer.files.read(whole, 0, whole.byteLength, block * BLOCK_BYTES)
        else await layer.files.readLater(whole, 0, whole.byteLength, block * BLOCK_BYTES)
        this.#check(stretch)
        stretch.deliver()
      }
      at = stop
    }
  }

  #check({ layer, block, whole }: Stretch): void {
    if (layer.sums.match(block, whole)) return
    for (let at = 0; at < whole.byteLength; at += BLOCK_BYTES) {
      const number = block + at / BLOCK_BYTES
      if (isIntact(layer, number, whole.subarray(at, at + BLOCK_BYTES))) continue
      throw new BadBlockError(this.#id, number * BLOCK_BYTES)
    }
  }
}

function stretchOf(layer: Layer, offset: number, into: Uint8Array): Stretch {
  const block = Math.floor(offset / BLOCK_BYTES)
  const before = offset - block * BLOCK_BYTES
  const end = offset + into.byteLength
  if (before === 0 && end % BLOCK_BYTES === 0) return { layer, block, whole: into, deliver: () => {} }
  const whole = Buffer.allocUnsafe(Math.ceil(end / BLOCK_BYTES) * BLOCK_BYTES - block * BLOCK_BYTES)
  return { layer, block, whole, deliver: () => into.set(whole.subarray(before, before + into.byteLength)) }
}
