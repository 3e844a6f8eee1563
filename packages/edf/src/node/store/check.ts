import { readdirSync } from 'node:fs'
import { type ScanHost, scanRegion } from './data-scan.ts'
import { CorruptStoreError } from './errors.ts'
import { layerOfFile } from './layer-files.ts'
import type { Layer, LayerGraph } from './layer-graph.ts'
import { BLOCK_BYTES, BLOCKS_PER_PAGE, countData, DATA, hasUnknownState, stateOf } from './map-page.ts'

/** What a check has found. */
export interface CheckReport {
  /** Damage: something that was acknowledged cannot be read, or reads wrong. */
  readonly errors: readonly string[]
  /** Traces of a crash, or garbage: nothing is lost. */
  readonly warnings: readonly string[]
  readonly layers: number
  /** Map pages that hold something. */
  readonly pages: number
  /** Blocks of data in all layers. */
  readonly blocks: number
}

/** How thorough a check is. */
export interface CheckOptions {
  /** Read all data and compare it with its checksums. Default: no, the maps alone. */
  readonly data?: boolean
}

/**
 * Walks all layers. May run while the store is in use: what changes meanwhile is not taken for damage.
 * @param path directory of the layers' files
 * @param problems what the catalog found wrong with itself
 * @param scan compares the data with their checksums as well
 */
export async function checkLayers(
  graph: LayerGraph,
  path: string,
  problems: readonly string[],
  scan?: ScanHost,
): Promise<CheckReport> {
  const errors = problems.map((problem) => `catalog: ${problem}`)
  const warnings: string[] = []
  let pages = 0
  let blocks = 0
  for (const entry of graph.entries.values()) {
    if (entry.kind === 'volume' && (entry.layer.children.size > 0 || entry.layer.entries.size > 1)) {
      errors.push(`volume ${entry.id} writes to layer ${entry.layer.id}, which others read`)
    }
  }
  for (const layer of [...graph.layers.values()]) {
    if (layer.gone) continue
    if (hasCycle(layer)) errors.push(`layer ${layer.id} lies below itself`)
    if (layer.children.size === 0 && layer.entries.size === 0) warnings.push(`nobody needs layer ${layer.id}`)
    const found = await checkLayer(layer, errors, warnings)
    pages += found.pages
    blocks += found.blocks
    if (scan !== undefined && !layer.gone) await checkData(layer, scan, errors)
  }
  for (const name of readdirSync(path)) {
    const id = layerOfFile(name)
    if (id === undefined) warnings.push(`${name} is not one of the store's files`)
    else if (!graph.layers.has(id) && !graph.doomed.some((layer) => layer.id === id)) {
      warnings.push(`${name} belongs to no layer`)
    }
  }
  return { errors, warnings, layers: graph.layers.size, pages, blocks }
}

function hasCycle(layer: Layer): boolean {
  const seen = new Set<Layer>()
  for (let below: Layer | undefined = layer; below !== undefined; below = below.parent) {
    if (seen.has(below)) return true
    seen.add(below)
  }
  return false
}

async function checkLayer(
  layer: Layer,
  errors: string[],
  warnings: string[],
): Promise<{ pages: number; blocks: number }> {
  let pages = 0
  let blocks = 0
  layer.files.acquire()
  try {
    for (let page = 0; page < layer.files.pageCount; page++) {
      if (page % 64 === 63) await new Promise(setImmediate)
      if (layer.gone) break
      const problem = checkPage(layer, page)
      if (problem === undefined) continue
      if (problem.error !== undefined) errors.push(problem.error)
      if (problem.warning !== undefined) warnings.push(problem.warning)
      pages += Number(problem.blocks > 0)
      blocks += problem.blocks
    }
  } catch (error) {
    if (!(error instanceof CorruptStoreError)) throw error
    errors.push(error.message)
  } finally {
    layer.files.release()
  }
  return { pages, blocks }
}

async function checkData(layer: Layer, scan: ScanHost, errors: string[]): Promise<void> {
  layer.files.acquire()
  try {
    for (let region = 0; region < layer.files.pageCount; region++) {
      for await (const { bad } of scanRegion(scan, layer, region)) {
        for (const block of bad) errors.push(`block ${block} of layer ${layer.id} does not have its checksum`)
      }
    }
  } catch (error) {
    if (!(error instanceof CorruptStoreError)) throw error
    if (!errors.includes(error.message)) errors.push(error.message)
  } finally {
    layer.files.release()
    layer.rest()
  }
}

interface PageFinding {
  readonly blocks: number
  readonly error?: string
  readonly warning?: string
}

function checkPage(layer: Layer, page: number): PageFinding | undefined {
  const where = `page ${page} of the map of layer ${layer.id}`
  let found: ReturnType<typeof layer.files.readPage>
  try {
    found = layer.files.readPage(page)
  } catch (error) {
    if (!(error instanceof CorruptStoreError)) throw error
    return { blocks: 0, error: error.message }
  }
  const warning = found.badSlots > 0 ? { warning: `${where} has a torn slot` } : {}
  const { states } = found
  if (states === undefined) return { blocks: 0, ...warning }
  const blocks = countData(states)
  if (hasUnknownState(states)) return { blocks, error: `${where} holds an unknown state`, ...warning }
  let last = BLOCKS_PER_PAGE - 1
  while (last >= 0 && stateOf(states, last) !== DATA) last--
  if (last >= 0 && layer.files.dataBytes < (page * BLOCKS_PER_PAGE + last + 1) * BLOCK_BYTES) {
    return { blocks, error: `the data of layer ${layer.id} ends below what ${where} says`, ...warning }
  }
  return { blocks, ...warning }
}
