import { type ScanHost, scanRegion } from './data-scan.ts'
import { CorruptStoreError } from './errors.ts'
import type { Layer, LayerGraph } from './layer-graph.ts'
import { BLOCK_BYTES } from './map-page.ts'
import type { ThinVolume } from './thin-volume.ts'

/** How far a scrub has come: what lies before is done. */
export interface ScrubPosition {
  readonly layer: number
  /** A page of the layer's map: 63 MiB. */
  readonly region: number
}

/** What a scrub has done since it told of itself before. */
export interface ScrubStep extends ScrubPosition {
  /** Bytes that were read. */
  readonly bytes: number
  /** Damaged blocks, as somebody sees them who reads a volume or snapshot; offsets are bytes. */
  readonly bad: readonly { readonly id: string; readonly offset: number }[]
  /** Damage of maps and checksums themselves. */
  readonly problems: readonly string[]
}

/** What a scrub needs of the store. */
export interface ScrubHost extends ScanHost {
  readonly graph: LayerGraph
  holding(id: string, operation: (volume: ThinVolume) => Promise<void>): Promise<void>
}

/** Reads every block of a store once, in the order of the layers, from a position on, as fast as it is asked to. */
export async function* scrubLayers(host: ScrubHost, from: ScrubPosition): AsyncGenerator<ScrubStep> {
  const layers = [...host.graph.layers.values()].sort((a, b) => a.id - b.id)
  for (const layer of layers) {
    if (layer.id < from.layer || layer.gone) continue
    layer.files.acquire()
    try {
      const first = layer.id === from.layer ? from.region : 0
      for (let region = first; region < layer.files.pageCount && !layer.gone; region++) {
        yield* scrubRegion(host, layer, region)
      }
    } catch (error) {
      if (!(error instanceof CorruptStoreError)) throw error
      yield { layer: layer.id, region: 0, bytes: 0, bad: [], problems: [error.message] }
    } finally {
      layer.files.release()
      layer.rest()
    }
  }
}

async function* scrubRegion(host: ScrubHost, layer: Layer, region: number): AsyncGenerator<ScrubStep> {
  for await (const { bytes, bad } of scanRegion(host, layer, region)) {
    const places: { id: string; offset: number }[] = []
    for (const block of bad) {
      const id = await readerOf(host, layer, block)
      if (id !== undefined) places.push({ id, offset: block * BLOCK_BYTES })
    }
    yield { layer: layer.id, region, bytes, bad: places, problems: [] }
  }
}

/** A volume or snapshot that shows a block of a layer; undefined when all have something else in its place. */
async function readerOf(host: ScrubHost, layer: Layer, block: number): Promise<string | undefined> {
  let found: string | undefined
  for (const entry of [...host.graph.entries.values()]) {
    if (!entry.layer.chain().includes(layer) || (block + 1) * BLOCK_BYTES > entry.sizeBytes) continue
    await host.holding(entry.id, async (volume) => {
      await volume.exclusive(() => {
        volume.index.runEnd(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES)
        if (volume.index.runLayer === layer) found = entry.id
      })
    })
    if (found !== undefined) return found
  }
  return undefined
}
