import type { Layer } from './layer-graph.ts'
import { SUMS_PER_PAGE, sumsOf } from './layer-sums.ts'
import { BLOCK_BYTES, BLOCKS_PER_PAGE, DATA, stateOf } from './map-page.ts'
import type { ThinVolume } from './thin-volume.ts'

/**
 * Gives the blocks of a frozen layer's doubtful regions the checksums of what is there, durably.
 * @param check throws when this should end; what is settled by then stays so
 */
export async function settleFrozen(layer: Layer, check: () => void): Promise<void> {
  const { files, marks, sums } = layer
  files.acquire()
  try {
    await files.syncData()
    for (const region of marks.doubtful) {
      const { states } = files.readPage(region)
      for (let at = 0; states !== undefined && at < BLOCKS_PER_PAGE; at++) {
        if (at % SUMS_PER_PAGE === 0) {
          await new Promise(setImmediate)
          check()
        }
        if (stateOf(states, at) !== DATA) continue
        const block = Buffer.allocUnsafe(BLOCK_BYTES)
        files.read(block, 0, BLOCK_BYTES, (region * BLOCKS_PER_PAGE + at) * BLOCK_BYTES)
        sums.set(region * BLOCKS_PER_PAGE + at, sumsOf(block))
      }
      await sums.write(sums.take())
      marks.cleared(region)
    }
    marks.close()
  } finally {
    files.release()
    layer.rest()
  }
}

/** As `settleFrozen`, for the top layer of an open volume, between the operations of others. */
export async function settleOpen(volume: ThinVolume, layer: Layer, check: () => void): Promise<void> {
  for (const region of layer.marks.doubtful) {
    for (let at = 0; at < BLOCKS_PER_PAGE; at += SUMS_PER_PAGE) {
      const first = region * BLOCKS_PER_PAGE + at
      await volume.exclusive(() => {
        check()
        if (volume.index.top === layer) volume.resum(first, first + SUMS_PER_PAGE - 1)
      })
    }
    await volume.exclusive(async () => {
      check()
      if (volume.index.top !== layer) return
      await volume.flushAlone()
      layer.marks.cleared(region)
    })
  }
}
