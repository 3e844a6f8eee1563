import type { ByteExtent } from '../../backup-driver.ts'
import type { BlockDigests } from './block-digests.ts'
import type { Chunk } from './geometry.ts'

/**
 * The parts of a chunk that hold changed bytes, widened to whole blocks, in order and never adjacent.
 * @param changed in order, never overlapping
 */
export function changedParts(chunk: Chunk, changed: readonly ByteExtent[], blockBytes: number): Chunk[] {
  const parts: { offset: number; length: number }[] = []
  const end = chunk.offset + chunk.length
  for (let next = firstEndingBehind(chunk.offset, changed); ; next++) {
    const extent = changed[next]
    if (extent === undefined || extent.offset >= end) return parts
    const from = Math.max(chunk.offset, Math.floor(extent.offset / blockBytes) * blockBytes)
    const to = Math.min(end, Math.ceil((extent.offset + extent.length) / blockBytes) * blockBytes)
    if (to <= from) continue
    const last = parts.at(-1)
    if (last !== undefined && from <= last.offset + last.length) {
      last.length = Math.max(last.length, to - last.offset)
    } else parts.push({ offset: from, length: to - from })
  }
}

/** Index of the first extent that does not lie before `offset`. */
function firstEndingBehind(offset: number, extents: readonly ByteExtent[]): number {
  let [low, high] = [0, extents.length]
  while (low < high) {
    const middle = (low + high) >> 1
    const extent = extents[middle]
    if (extent !== undefined && extent.offset + extent.length <= offset) low = middle + 1
    else high = middle
  }
  return low
}

/** The stretches of a chunk whose blocks are not those of the parent. */
export function differingParts(chunk: Chunk, now: BlockDigests, parent: BlockDigests): Chunk[] {
  const parts: { offset: number; length: number }[] = []
  const { blockBytes } = now
  const end = chunk.offset + chunk.length
  for (let offset = chunk.offset; offset < end; offset += blockBytes) {
    const block = offset / blockBytes
    if (Buffer.compare(now.of(block, 1), parent.of(block, 1)) === 0) continue
    const length = Math.min(blockBytes, end - offset)
    const last = parts.at(-1)
    if (last !== undefined && last.offset + last.length === offset) last.length += length
    else parts.push({ offset, length })
  }
  return parts
}
