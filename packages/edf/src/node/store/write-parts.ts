import type { BlockReader } from './block-reader.ts'
import { sumOf } from './layer-sums.ts'
import { BLOCK_BYTES } from './map-page.ts'

/** A write as whole blocks. */
export interface WholeBlocks {
  /** What has to be written, in order and without gaps. */
  readonly parts: readonly { readonly data: Uint8Array; readonly offset: number }[]
  readonly firstBlock: number
  /** The checksum of each block. */
  readonly sums: Uint32Array
}

/**
 * Makes whole blocks of a write: one that it covers in part is filled up with what it held before.
 * @throws BadBlockError when that is damaged
 */
export function wholeBlocks(reader: BlockReader, offset: number, data: Uint8Array): WholeBlocks {
  const end = offset + data.byteLength
  const first = Math.floor(offset / BLOCK_BYTES)
  const last = Math.floor((end - 1) / BLOCK_BYTES)
  const fillFirst = offset % BLOCK_BYTES !== 0 || (first === last && end % BLOCK_BYTES !== 0)
  const fillLast = first !== last && end % BLOCK_BYTES !== 0
  const parts: { data: Uint8Array; offset: number }[] = []
  const start = fillFirst ? Math.min(end, (first + 1) * BLOCK_BYTES) : offset
  const stop = fillLast ? last * BLOCK_BYTES : end
  if (fillFirst) parts.push({ data: filled(reader, first, offset, data), offset: first * BLOCK_BYTES })
  if (start < stop) parts.push({ data: data.subarray(start - offset, stop - offset), offset: start })
  if (fillLast) parts.push({ data: filled(reader, last, offset, data), offset: last * BLOCK_BYTES })
  const sums = new Uint32Array(last - first + 1)
  let at = 0
  for (const part of parts) {
    for (let from = 0; from < part.data.byteLength; from += BLOCK_BYTES) {
      sums[at++] = sumOf(part.data.subarray(from, from + BLOCK_BYTES))
    }
  }
  return { parts, firstBlock: first, sums }
}

function filled(reader: BlockReader, block: number, offset: number, data: Uint8Array): Uint8Array {
  const start = block * BLOCK_BYTES
  const whole = new Uint8Array(BLOCK_BYTES)
  reader.now(start, whole)
  const from = Math.max(start, offset)
  const to = Math.min(start + BLOCK_BYTES, offset + data.byteLength)
  whole.set(data.subarray(from - offset, to - offset), from - start)
  return whole
}
