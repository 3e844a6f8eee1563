import { isIntact } from './block-reader.ts'
import type { Layer } from './layer-graph.ts'
import { BLOCK_BYTES, BLOCKS_PER_PAGE, DATA, stateOf } from './map-page.ts'
import type { ThinVolume } from './thin-volume.ts'

/** Blocks that are read at once: 256 KiB. */
const READ_BLOCKS = 64

/** What a scan needs of the store. */
export interface ScanHost {
  /** The open volume that writes to a layer, if there is one. */
  writerOf(layer: Layer): ThinVolume | undefined
}

/** What a scan has found in a stretch of a layer. */
export interface Scanned {
  /** Bytes that were read. */
  readonly bytes: number
  /** Numbers of the blocks that do not have their checksum. */
  readonly bad: readonly number[]
}

/**
 * Reads the blocks of one page of a layer's map (63 MiB) and compares them with their checksums, in pieces, while others
 * use the store.
 */
export async function* scanRegion(host: ScanHost, layer: Layer, region: number): AsyncGenerator<Scanned> {
  const { states } = layer.files.readPage(region)
  if (states === undefined) return
  const buffer = Buffer.allocUnsafe(READ_BLOCKS * BLOCK_BYTES)
  for (let at = 0; at < BLOCKS_PER_PAGE && !layer.gone; ) {
    if (stateOf(states, at) !== DATA) {
      at++
      continue
    }
    let end = at + 1
    while (end < BLOCKS_PER_PAGE && end - at < READ_BLOCKS && stateOf(states, end) === DATA) end++
    const first = region * BLOCKS_PER_PAGE + at
    const data = buffer.subarray(0, (end - at) * BLOCK_BYTES)
    await layer.files.readLater(data, 0, data.byteLength, first * BLOCK_BYTES)
    const bad: number[] = []
    for (let block = first; block < first + end - at; block++) {
      const bytes = data.subarray((block - first) * BLOCK_BYTES, (block - first + 1) * BLOCK_BYTES)
      if (isIntact(layer, block, bytes)) continue
      if (await lookAgain(host, layer, block)) bad.push(block)
    }
    yield { bytes: data.byteLength, bad }
    at = end
  }
}

/** Looks at a block while nobody changes it. @returns whether it is bad */
async function lookAgain(host: ScanHost, layer: Layer, block: number): Promise<boolean> {
  const volume = host.writerOf(layer)
  const look = (): boolean => {
    // A merge writes, or a write has taken the block elsewhere: nobody reads what is here.
    if (layer.gone || layer.merging) return false
    if (volume !== undefined && volume.index.top === layer && !volume.index.inTop(block)) return false
    const bytes = Buffer.allocUnsafe(BLOCK_BYTES)
    layer.files.read(bytes, 0, BLOCK_BYTES, block * BLOCK_BYTES)
    return !isIntact(layer, block, bytes)
  }
  return volume === undefined ? look() : await volume.exclusive(look)
}
