import type { Catalog, LayerRow } from './catalog.ts'
import { CorruptStoreError, EntryExistsError, EntryNotFoundError, NoSpaceError } from './errors.ts'
import { type LayerDirectory, LayerFiles } from './layer-files.ts'
import { LayerMarks } from './layer-marks.ts'
import { LayerSums } from './layer-sums.ts'

/** A volume or a snapshot: a name for a layer and all that lies below it. */
export interface Entry {
  readonly id: string
  readonly kind: 'volume' | 'snapshot'
  /** A volume's is its own, writable; a snapshot's is frozen and may be shared. */
  layer: Layer
  sizeBytes: number
  /** The volume a snapshot was taken of, or what a volume was cloned from; it may be gone. */
  readonly origin: string | undefined
}

/** A node of the graph. Frozen as soon as it has a child or a snapshot. */
export class Layer {
  readonly id: number
  readonly files: LayerFiles
  parent: Layer | undefined
  /** Whether the files are durable, so that their absence is damage. */
  written: boolean
  /** Blocks in the data file. */
  usedBlocks: number
  /** Whether every block has a checksum; not so in layers of the first format until a scrub has been there. */
  summed: boolean
  readonly children = new Set<Layer>()
  readonly entries = new Set<Entry>()
  /** No longer in the graph: its files are about to go. */
  gone = false
  /** A merge is writing to its files, whose blocks may not have their checksums meanwhile. */
  merging = false
  readonly #directory: LayerDirectory
  #sums: LayerSums | undefined
  #marks: LayerMarks | undefined

  constructor(directory: LayerDirectory, row: Omit<LayerRow, 'parent'>) {
    this.id = row.id
    this.written = row.written
    this.usedBlocks = row.usedBlocks
    this.summed = row.summed
    this.#directory = directory
    this.files = new LayerFiles(directory, row.id, row.written)
  }

  /** Checksums of the blocks in the data file. */
  get sums(): LayerSums {
    this.#sums ??= new LayerSums(this.files, this.#directory.sumsCache)
    return this.#sums
  }

  /** Where a checksum may not be believed after a crash. */
  get marks(): LayerMarks {
    this.#marks ??= new LayerMarks(this.files)
    return this.#marks
  }

  /** Frees the memory of checksums when nobody uses the layer. What was not written is lost. */
  rest(): void {
    if (this.files.used || this.#sums === undefined) return
    this.#sums.discard()
    this.#sums = undefined
  }

  /** The volume that writes to this layer; undefined for a frozen one. */
  get writer(): Entry | undefined {
    for (const entry of this.entries) if (entry.kind === 'volume') return entry
    return undefined
  }

  /** Whether the count may be ahead of the catalog: a volume writes to the layer, or a merge may have. */
  get counting(): boolean {
    const unnamed = (layer: Layer | undefined): boolean =>
      layer?.entries.size === 0 && layer.children.size === 1
    return this.writer !== undefined || unnamed(this) || unnamed(this.parent)
  }

  get row(): LayerRow {
    return {
      id: this.id,
      parent: this.parent?.id,
      written: this.written,
      usedBlocks: this.usedBlocks,
      summed: this.summed,
    }
  }

  /** This layer and all below it, the lowest first. */
  chain(): Layer[] {
    const layers: Layer[] = []
    for (let layer: Layer | undefined = this; layer !== undefined; layer = layer.parent) layers.push(layer)
    return layers.reverse()
  }
}

/**
 * All layers and entries, in memory and in the catalog. Every change is one transaction and happens without waiting,
 * so nobody sees half of one. A layer is never smaller than those below it, so sizes are the entries' alone.
 *
 * The graph knows nothing of data: whoever freezes a layer has flushed it.
 */
export class LayerGraph {
  readonly #catalog: Catalog
  readonly #directory: LayerDirectory
  readonly #entries = new Map<string, Entry>()
  readonly #layers = new Map<number, Layer>()
  /** Layers without a name that may have become the only support of one other layer. */
  readonly mergeable = new Set<Layer>()
  /** Layers with marks that a crash has left. */
  readonly doubtful = new Set<Layer>()
  /** Layers that are gone, whose files have to follow. */
  readonly doomed: Layer[] = []
  /** Told of every layer that goes. */
  onGone: (layer: Layer) => void = () => {}

  /** Reads the catalog, and drops layers that nobody needs. @throws CorruptStoreError when rows contradict */
  constructor(catalog: Catalog, directory: LayerDirectory) {
    this.#catalog = catalog
    this.#directory = directory
    const rows = catalog.layers()
    for (const row of rows) this.#layers.set(row.id, new Layer(directory, row))
    for (const row of rows) {
      if (row.parent === undefined) continue
      const layer = this.#layer(row.id)
      layer.parent = this.#layer(row.parent)
      layer.parent.children.add(layer)
    }
    for (const row of catalog.entries()) {
      const entry: Entry = { ...row, layer: this.#layer(row.layer) }
      entry.layer.entries.add(entry)
      this.#entries.set(entry.id, entry)
    }
    const unused = [...this.#layers.values()].filter(
      (layer) => layer.children.size === 0 && layer.entries.size === 0,
    )
    this.#change(() => {
      for (const layer of unused) this.#collect(layer)
    })
    for (const layer of this.#layers.values()) this.#consider(layer)
  }

  get entries(): ReadonlyMap<string, Entry> {
    return this.#entries
  }

  get layers(): ReadonlyMap<number, Layer> {
    return this.#layers
  }

  /** @throws EntryNotFoundError */
  entry(id: string): Entry {
    const entry = this.#entries.get(id)
    if (entry === undefined) throw new EntryNotFoundError(`there is no volume or snapshot ${id}`)
    return entry
  }

  /** Adds an empty volume. @throws EntryExistsError */
  createVolume(id: string, sizeBytes: number): void {
    this.#free(id)
    this.#change(() => {
      this.#addEntry({ id, kind: 'volume', layer: this.#addLayer(undefined), sizeBytes, origin: undefined })
    })
  }

  /** Names what `volume` holds now, and gives it a new layer to write to. */
  snapshot(volume: Entry, id: string): void {
    this.#free(id)
    this.#change(() => {
      const layer = this.#freeze(volume)
      this.#addEntry({ id, kind: 'snapshot', layer, sizeBytes: volume.sizeBytes, origin: volume.id })
    })
  }

  /** Adds a volume that starts with what `source` holds now. */
  clone(source: Entry, id: string, sizeBytes: number): void {
    this.#free(id)
    this.#change(() => {
      const below = source.kind === 'volume' ? this.#freeze(source) : source.layer
      this.#addEntry({ id, kind: 'volume', layer: this.#addLayer(below), sizeBytes, origin: source.id })
      this.#consider(below)
    })
  }

  /** Freezes a volume's layer without a name, so that it can be merged. */
  freeze(volume: Entry): void {
    this.#change(() => this.#consider(this.#freeze(volume)))
  }

  /** Throws away what `volume` holds, and starts it again from `snapshot`. */
  revert(volume: Entry, snapshot: Entry): void {
    this.#change(() => {
      this.#move(volume, this.#addLayer(snapshot.layer))
    })
  }

  resize(entry: Entry, sizeBytes: number): void {
    this.#change(() => this.#catalog.updateEntry(entry.id, entry.layer.id, sizeBytes))
    entry.sizeBytes = sizeBytes
  }

  /** Removes an entry, and every layer that only it needed. */
  remove(entry: Entry): void {
    this.#change(() => {
      this.#catalog.removeEntry(entry.id)
      entry.layer.entries.delete(entry)
      this.#undo.push(() => entry.layer.entries.add(entry))
      this.#after.push(() => this.#entries.delete(entry.id))
      this.#collect(entry.layer)
    })
  }

  /**
   * Puts `keeper` in the place of `dropped`, its child or parent. `keeper` must hold by now, durably, what both held.
   */
  replace(dropped: Layer, keeper: Layer): void {
    this.#change(() => {
      if (keeper.parent === dropped) this.#reparent(keeper, dropped.parent)
      for (const child of [...dropped.children]) if (child !== keeper) this.#reparent(child, keeper)
      for (const entry of [...dropped.entries]) this.#rename(entry, keeper)
      this.#catalog.updateLayer(keeper.row)
      this.#collect(dropped)
      this.#consider(keeper)
      if (keeper.parent !== undefined) this.#consider(keeper.parent)
    })
  }

  /** Notes that a layer's files are durable. */
  settle(layer: Layer): void {
    this.#change(() => {
      layer.written = true
      this.#undo.push(() => {
        layer.written = false
      })
      if (!layer.gone) this.#catalog.updateLayer(layer.row)
    })
  }

  /** Notes all counts and whether they will stay exact. */
  mark(clean: boolean): void {
    this.#change(() => {
      if (clean)
        for (const layer of this.#layers.values()) if (layer.counting) this.#catalog.updateLayer(layer.row)
      this.#catalog.clean = clean
    })
  }

  // Memory and rows change together. Where the disk has no room for the rows, nothing has happened: memory goes back,
  // and the change can be tried again. Any other failure means a failing disk, on which the rows may be or not: every
  // later change is refused, and a restart goes back to what is durable.
  #failure: unknown
  /** Takes back what the change under way has done to memory, the last first. */
  readonly #undo: (() => void)[] = []
  /** What the change under way does to memory once its rows are durable. */
  readonly #after: (() => void)[] = []

  #change(change: () => void): void {
    if (this.#failure !== undefined) {
      throw new CorruptStoreError(
        'an earlier change of the catalog failed; restart to recover',
        this.#failure,
      )
    }
    this.#undo.length = 0
    this.#after.length = 0
    try {
      this.#catalog.transaction(change)
    } catch (error) {
      for (const step of this.#undo.reverse()) step()
      if (!(error instanceof NoSpaceError)) this.#failure = error
      throw error
    }
    for (const step of this.#after) step()
  }

  #layer(id: number): Layer {
    const layer = this.#layers.get(id)
    if (layer === undefined) throw new CorruptStoreError(`layer ${id} is missing from the catalog`)
    return layer
  }

  #free(id: string): void {
    if (this.#entries.has(id)) throw new EntryExistsError(`there is already a volume or snapshot ${id}`)
  }

  #addLayer(parent: Layer | undefined): Layer {
    const id = this.#catalog.addLayer(parent?.id)
    const layer = new Layer(this.#directory, { id, written: false, usedBlocks: 0, summed: true })
    layer.parent = parent
    parent?.children.add(layer)
    this.#layers.set(id, layer)
    this.#undo.push(() => {
      parent?.children.delete(layer)
      this.#layers.delete(id)
    })
    return layer
  }

  #addEntry(entry: Entry): void {
    this.#catalog.addEntry({ ...entry, layer: entry.layer.id })
    entry.layer.entries.add(entry)
    this.#entries.set(entry.id, entry)
    this.#undo.push(() => {
      entry.layer.entries.delete(entry)
      this.#entries.delete(entry.id)
    })
  }

  /** @returns the frozen layer that now holds what the volume holds; a layer nothing was written to stays on top */
  #freeze(volume: Entry): Layer {
    const top = volume.layer
    if (top.files.blank && top.parent !== undefined) return top.parent
    this.#rename(volume, this.#addLayer(top))
    this.#catalog.updateLayer(top.row)
    return top
  }

  #rename(entry: Entry, layer: Layer): void {
    this.#catalog.updateEntry(entry.id, layer.id, entry.sizeBytes)
    const before = entry.layer
    moveEntry(entry, layer)
    this.#undo.push(() => moveEntry(entry, before))
  }

  #move(entry: Entry, layer: Layer): void {
    const before = entry.layer
    this.#rename(entry, layer)
    this.#collect(before)
  }

  #reparent(layer: Layer, parent: Layer | undefined): void {
    const before = layer.parent
    moveLayer(layer, parent)
    this.#undo.push(() => moveLayer(layer, before))
    this.#catalog.updateLayer(layer.row)
  }

  #collect(start: Layer): void {
    let layer: Layer | undefined = start
    while (layer !== undefined && layer.children.size === 0 && layer.entries.size === 0) {
      const parent: Layer | undefined = layer.parent
      this.#catalog.removeLayer(layer.id)
      parent?.children.delete(layer)
      const gone = layer
      this.#undo.push(() => parent?.children.add(gone))
      this.#after.push(() => this.#forget(gone))
      layer = parent
    }
    if (layer !== undefined) this.#consider(layer)
  }

  #forget(layer: Layer): void {
    this.#layers.delete(layer.id)
    this.mergeable.delete(layer)
    this.doubtful.delete(layer)
    layer.gone = true
    this.doomed.push(layer)
    this.onGone(layer)
  }

  #consider(layer: Layer): void {
    if (layer.entries.size === 0 && layer.children.size === 1) this.mergeable.add(layer)
    if (layer.parent?.entries.size === 0 && layer.parent.children.size === 1) this.mergeable.add(layer.parent)
  }
}

function moveEntry(entry: Entry, layer: Layer): void {
  entry.layer.entries.delete(entry)
  entry.layer = layer
  layer.entries.add(entry)
}

function moveLayer(layer: Layer, parent: Layer | undefined): void {
  layer.parent?.children.delete(layer)
  layer.parent = parent
  parent?.children.add(layer)
}
