import { channel } from 'node:diagnostics_channel'
import { readdirSync, statSync, unlinkSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Catalog } from './catalog.ts'
import { type CheckOptions, type CheckReport, checkLayers } from './check.ts'
import type { ScanHost } from './data-scan.ts'
import {
  CorruptStoreError,
  EntryExistsError,
  EntryNotFoundError,
  NoSpaceError,
  StoreClosedError,
  systemCode,
} from './errors.ts'
import { replayJournal } from './journal-replay.ts'
import { LayerDirectory, layerOfFile } from './layer-files.ts'
import { type Entry, type Layer, LayerGraph } from './layer-graph.ts'
import { MapJournal, readBootId, readJournal, removeJournal } from './map-journal.ts'
import { BLOCK_BYTES, countData } from './map-page.ts'
import { PageCache } from './page-cache.ts'
import { type ScrubPosition, type ScrubStep, scrubLayers } from './scrub.ts'
import { Space, type Usage } from './space.ts'
import { SpaceReturn } from './space-return.ts'
import { ThinVolume, type VolumeHost } from './thin-volume.ts'

const MIB = 1024 * 1024
/** A page of the index in memory, all counted. */
const INDEX_PAGE_BYTES = 40 * 1024
/** Bytes of index memory, for each of which another page of checksums (4 KiB) is kept. */
const SUMS_BYTES = 8 * 1024
const NEVER = { signal: new AbortController().signal }
const failures = channel('emberglass:edf:store:error')

/** Where a store lies, and how much it may use. All but the directory have defaults. */
export interface ThinStoreOptions {
  /** Made when it is missing. One store at a time may have it. */
  readonly directory: string
  /** Bytes of the filesystem that writes leave alone, for merges and the catalog. Default: 256 MiB. */
  readonly reserveBytes?: number
  /** Bytes of data that the store takes at most. Default: what the filesystem has. */
  readonly capacityBytes?: number
  /** Bytes of memory for the maps of open volumes: 40 KiB serve 63 MiB of a volume. Default: 64 MiB. */
  readonly indexBytes?: number
  /** Bytes of a volume's newest layer up to which its I/O may wait for a merge of that layer. Default: 4 MiB. */
  readonly foldBytes?: number
  /** Whether what is unmapped goes back to the filesystem, through the program `fallocate`. Default: true. */
  readonly punchHoles?: boolean
  /** Longest read that may block the event loop, in bytes. Default: 128 KiB. */
  readonly inlineReadBytes?: number
  /** Longest write that may block the event loop, in bytes. Default: 256 KiB. */
  readonly inlineWriteBytes?: number
  /** Bytes of a volume's journal that start a flush. Default: 16 MiB. */
  readonly journalBytes?: number
  /**
   * What tells this boot of the machine from every other. Writes that were acknowledged and not flushed outlive a kill
   * of the process if the next one has the same. Default: what the system says; where it says nothing, they do not.
   */
  readonly bootId?: string
  /** Starts without work in the background: `resume` begins it. Default: false. */
  readonly paused?: boolean
}

/** One line of `list`. */
export interface StoredEntry {
  readonly id: string
  readonly kind: 'volume' | 'snapshot'
  readonly sizeBytes: number
  /** Bytes that deleting it would give back: its own layer's, and those of layers below that serve only it. */
  readonly usedBytes: number
  /** The volume a snapshot was taken of, or what a volume was cloned from, which may be gone. */
  readonly parent?: string
}

/**
 * Volumes, snapshots and clones in a directory of any filesystem with sparse files: `catalog.sqlite` and, for each
 * layer that was ever written to, `layers/<number>.data`, `.map`, `.sums` and `.marks`; for those that are being written,
 * `.journal-a` and `-b`.
 *
 * Create, snapshot, clone and revert take constant time and are durable when they resolve; so is a volume's flush.
 * A process that is killed at any instant loses nothing that was acknowledged; a machine without power loses nothing
 * that was flushed. (A filesystem that is torn away while the machine runs on, its cache lost, is neither.) One store is one medium with one copy:
 * replicas are volumes of the same id in several stores, written by whoever owns those stores.
 *
 * What goes wrong in the background is published on the diagnostics channel `emberglass:edf:store:error`.
 */
export class ThinStore implements AsyncDisposable {
  readonly #catalog: Catalog
  readonly #directory: LayerDirectory
  readonly #graph: LayerGraph
  readonly #space: Space
  readonly #host: VolumeHost
  readonly #opened = new Map<string, ThinVolume>()
  readonly #spaceReturn: SpaceReturn
  readonly #bootId: string | undefined
  #closed = false

  private constructor(catalog: Catalog, directory: LayerDirectory, options: ThinStoreOptions) {
    this.#catalog = catalog
    this.#directory = directory
    this.#graph = new LayerGraph(catalog, directory)
    const capacityBytes = options.capacityBytes ?? Number.POSITIVE_INFINITY
    this.#space = new Space(options.directory, options.reserveBytes ?? 256 * MIB, capacityBytes)
    let punches = options.punchHoles ?? true
    const bootId = options.bootId ?? readBootId()
    this.#bootId = bootId
    const failed = (error: unknown): void => failures.publish({ directory: options.directory, error })
    this.#host = {
      get punches() {
        return punches
      },
      stopPunching: () => {
        punches = false
      },
      failed,
      doubt: (layer) => this.#graph.doubtful.add(layer),
      space: this.#space,
      cache: new PageCache(Math.ceil((options.indexBytes ?? 64 * MIB) / INDEX_PAGE_BYTES)),
      inlineReadBytes: options.inlineReadBytes ?? 128 * 1024,
      inlineWriteBytes: options.inlineWriteBytes ?? 256 * 1024,
      journalBytes: options.journalBytes ?? 16 * MIB,
      journal: ({ id }) => (bootId === undefined ? undefined : new MapJournal(directory.path, id, bootId)),
      settle: (layer) => this.#settle(layer),
      leave: (volume) => this.#leave(volume),
    }
    this.#spaceReturn = new SpaceReturn({
      graph: this.#graph,
      space: this.#space,
      foldBlocks: Math.floor((options.foldBytes ?? 4 * MIB) / BLOCK_BYTES),
      opened: () => this.#opened.values(),
      holding: (id, operation) => this.#holding(id, operation),
      settle: (layer) => this.#settle(layer),
      failed,
    })
  }

  /**
   * Opens the store, or makes an empty one. Recovers from a crash: takes up what the journals tell, removes
   * half-made layers, counts blocks anew, and goes on giving space back.
   * @throws StoreLockedError when the directory is in use
   * @throws CorruptStoreError when the catalog contradicts itself
   */
  static async open(options: ThinStoreOptions): Promise<ThinStore> {
    const layers = join(options.directory, 'layers')
    await mkdir(layers, { recursive: true })
    const catalog = Catalog.open(join(options.directory, 'catalog.sqlite'))
    try {
      const directory = new LayerDirectory(layers, Math.ceil((options.indexBytes ?? 64 * MIB) / SUMS_BYTES))
      try {
        await directory.sync()
        const store = new ThinStore(catalog, directory, options)
        await store.#recover()
        if (options.paused !== true) store.resume()
        return store
      } catch (error) {
        await directory.close()
        throw error
      }
    } catch (error) {
      catalog[Symbol.dispose]()
      throw error
    }
  }

  /** Begins the work in the background, of a store that was opened paused. */
  resume(): void {
    this.#spaceReturn.start()
  }

  /**
   * Where writes to a volume may have been under way when the last process died: numbers of its pages of 63 MiB. Until
   * `resume` the store keeps them; afterwards it settles them.
   */
  doubtful(id: string): readonly number[] {
    const entry = this.#graph.entries.get(id)
    return entry === undefined ? [] : entry.layer.chain().flatMap((layer) => [...this.#doubtsOf(layer)])
  }

  /**
   * Makes an empty volume. The same id with the same size again: fine.
   * @param sizeBytes a multiple of 512
   * @throws EntryExistsError when the id is taken otherwise
   */
  async create(id: string, sizeBytes: number): Promise<void> {
    this.#checkOpen()
    checkSize(sizeBytes)
    const existing = this.#graph.entries.get(id)
    if (existing?.kind === 'volume' && existing.sizeBytes === sizeBytes) return
    this.#graph.createVolume(id, sizeBytes)
  }

  /**
   * Opens a volume for reading and writing, or a snapshot for reading. All who open the same id share one object; each
   * disposes it once. The last one flushes it.
   * @throws EntryNotFoundError
   */
  async open(id: string): Promise<ThinVolume> {
    this.#checkOpen()
    return this.#hold(this.#graph.entry(id))
  }

  /**
   * Grows a volume, open or not; new bytes read as zeroes.
   * @throws RangeError when it would shrink
   */
  async resize(id: string, sizeBytes: number): Promise<void> {
    this.#checkOpen()
    checkSize(sizeBytes)
    const entry = this.#volume(id)
    if (sizeBytes < entry.sizeBytes) {
      throw new RangeError(`${id} has ${entry.sizeBytes} bytes and cannot shrink to ${sizeBytes}`)
    }
    if (sizeBytes > entry.sizeBytes) this.#graph.resize(entry, sizeBytes)
  }

  /**
   * Keeps what the volume holds now: every write that was done before this call, and perhaps some of those under way.
   * @throws EntryNotFoundError, EntryExistsError
   */
  async snapshot(volumeId: string, snapshotId: string): Promise<void> {
    this.#checkOpen()
    this.#checkFree(snapshotId)
    const volume = this.#volume(volumeId)
    await this.#still(volume, () => this.#graph.snapshot(volume, snapshotId))
  }

  /**
   * Makes a volume that starts as a copy of a volume or snapshot, and is independent of it from then on.
   * @param sizeBytes default: that of the source
   * @throws RangeError when it would be smaller than its source
   * @throws EntryNotFoundError, EntryExistsError
   */
  async clone(sourceId: string, newId: string, sizeBytes?: number): Promise<void> {
    this.#checkOpen()
    this.#checkFree(newId)
    if (sizeBytes !== undefined) checkSize(sizeBytes)
    const source = this.#graph.entry(sourceId)
    const clone = (): void => {
      const size = sizeBytes ?? source.sizeBytes
      if (size < source.sizeBytes) {
        throw new RangeError(
          `${newId} of ${size} bytes would be smaller than ${sourceId} of ${source.sizeBytes}`,
        )
      }
      this.#graph.clone(source, newId, size)
    }
    if (source.kind === 'snapshot') clone()
    else await this.#still(source, clone)
  }

  /**
   * Makes a volume what it was at the snapshot. Its size stays; what lies above the snapshot's size reads as zeroes.
   * @throws RangeError when the snapshot is larger than the volume
   */
  async revert(volumeId: string, snapshotId: string): Promise<void> {
    this.#checkOpen()
    const entry = this.#volume(volumeId)
    const revert = (): void => {
      this.#same(entry)
      const snapshot = this.#graph.entry(snapshotId)
      if (snapshot.kind !== 'snapshot') throw new EntryNotFoundError(`there is no snapshot ${snapshotId}`)
      if (snapshot.sizeBytes > entry.sizeBytes) {
        throw new RangeError(`${snapshotId} of ${snapshot.sizeBytes} bytes is larger than ${volumeId}`)
      }
      this.#graph.revert(entry, snapshot)
    }
    if (!this.#opened.has(volumeId)) revert()
    else {
      await this.#holding(volumeId, (volume) =>
        volume.exclusive(() => {
          revert()
          volume.reload()
        }),
      )
    }
    this.#spaceReturn.start()
  }

  /**
   * Deletes a volume or snapshot; clones and snapshots of it stay. Already gone: fine. Whoever has it open finds it
   * gone. Its space comes back in the background.
   */
  async delete(id: string): Promise<void> {
    this.#checkOpen()
    const entry = this.#graph.entries.get(id)
    if (entry === undefined) return
    if (!this.#opened.has(id)) this.#graph.remove(entry)
    else {
      await this.#holding(id, (volume) =>
        volume.exclusive(() => {
          if (this.#graph.entries.get(id) !== entry) return
          this.#graph.remove(entry)
          this.#opened.delete(id)
          volume.close(new EntryNotFoundError(`${id} was deleted`))
        }),
      )
    }
    this.#spaceReturn.start()
  }

  has(id: string): boolean {
    return this.#graph.entries.has(id)
  }

  /** All volumes and snapshots, the oldest first. */
  list(): readonly StoredEntry[] {
    return [...this.#graph.entries.values()].map((entry) => ({
      id: entry.id,
      kind: entry.kind,
      sizeBytes: entry.sizeBytes,
      usedBytes: ownBytes(entry),
      ...(entry.origin === undefined ? {} : { parent: entry.origin }),
    }))
  }

  /** Bytes of the whole store. */
  usage(): Usage {
    this.#checkOpen()
    return this.#space.usage()
  }

  /**
   * Verifies the catalog, every page of every map, and that the data files hold what the maps say; with `data` also
   * every block against its checksum. Others may use the store meanwhile.
   */
  async check({ data = false }: CheckOptions = {}): Promise<CheckReport> {
    this.#checkOpen()
    const scan = data ? this.#scanHost : undefined
    return await checkLayers(this.#graph, this.#directory.path, this.#catalog.problems(), scan)
  }

  /** Reads all data from a position on, and compares it with its checksums, while others use the store. */
  scrub(from: ScrubPosition): AsyncGenerator<ScrubStep> {
    this.#checkOpen()
    const holding = (id: string, operation: (volume: ThinVolume) => Promise<void>): Promise<void> =>
      this.#holding(id, operation)
    return scrubLayers({ ...this.#scanHost, graph: this.#graph, holding }, from)
  }

  /** Resolves when the space of everything deleted so far has come back, and of what was unmapped and flushed. */
  async settled(): Promise<void> {
    for (const volume of [...this.#opened.values()]) await volume.punched()
    await this.#spaceReturn.idle()
  }

  /** Flushes and closes all volumes, whoever has them open, and leaves the directory to others. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    const errors: unknown[] = []
    await this.#spaceReturn.stop()
    for (const volume of [...this.#opened.values()]) {
      await this.#closeVolume(volume).catch((error: unknown) => errors.push(error))
    }
    try {
      if (errors.length === 0) this.#graph.mark(true)
    } finally {
      this.#catalog[Symbol.dispose]()
      await this.#directory.close()
    }
    if (errors.length > 0) throw new AggregateError(errors, 'some volumes could not be flushed')
  }

  #doubtsOf(layer: Layer): readonly number[] {
    return this.#graph.doubtful.has(layer) ? layer.marks.doubtful : []
  }

  get #scanHost(): ScanHost {
    return {
      writerOf: ({ writer }) => (writer === undefined ? undefined : this.#opened.get(writer.id)),
    }
  }

  async #recover(): Promise<void> {
    const names = readdirSync(this.#directory.path)
    const ids = new Set(names.filter((name) => name.includes('.journal-')).map(layerOfFile))
    for (const id of ids) {
      if (id === undefined) continue
      if (!this.#catalog.clean) await this.#replay(id)
      removeJournal(this.#directory.path, id)
    }
    for (const name of names) {
      const id = layerOfFile(name)
      if (id === undefined) continue
      const layer = this.#graph.layers.get(id)
      const marked = name.endsWith('.marks') && statSync(join(this.#directory.path, name)).size > 0
      if (marked && layer !== undefined) this.#graph.doubtful.add(layer)
      // Files of a layer that was never flushed hold nothing that anybody was promised.
      if (layer?.written !== true) unlinkIfThere(join(this.#directory.path, name))
    }
    this.#graph.doomed.length = 0
    if (!this.#catalog.clean) {
      for (const layer of this.#graph.layers.values()) {
        if (!layer.counting || !layer.written) continue
        await this.#secureMap(layer)
        recount(layer)
      }
    }
    for (const layer of this.#graph.layers.values()) this.#space.adopt(layer.usedBlocks)
    this.#graph.onGone = (layer) => this.#space.give(layer.usedBlocks)
    this.#graph.mark(false)
  }

  /** Makes durable what a killed process has acknowledged of one layer. */
  async #replay(id: number): Promise<void> {
    const layer = this.#graph.layers.get(id)
    // Whatever is frozen was flushed before.
    if (layer?.writer === undefined || this.#bootId === undefined) return
    const { changes, damaged } = readJournal(this.#directory.path, id, this.#bootId)
    let lost = damaged
    try {
      if (changes.length > 0) {
        lost += await replayJournal(layer, changes)
        if (!layer.written) await this.#settle(layer)
      }
      if (lost > 0) throw new CorruptStoreError(`${lost} records of the journal of layer ${id} are damaged`)
    } catch (error) {
      // As after a flush that failed: the volume goes on with what is durable.
      if (!layer.written) layer.files.disown()
      this.#host.failed(error)
    }
  }

  /** A killed process may have written pages that are not durable: their other slots must stay until they are. */
  async #secureMap({ files }: Layer): Promise<void> {
    files.acquire()
    try {
      await files.syncSums()
      await files.syncMap()
    } catch (error) {
      this.#host.failed(error)
    } finally {
      files.release()
    }
  }

  #checkOpen(): void {
    if (this.#closed) throw new StoreClosedError('the store is closed')
  }

  #checkFree(id: string): void {
    if (this.#graph.entries.has(id)) throw new EntryExistsError(`there is already a volume or snapshot ${id}`)
  }

  #volume(id: string): Entry {
    const entry = this.#graph.entry(id)
    if (entry.kind !== 'volume') throw new EntryNotFoundError(`there is no volume ${id}`)
    return entry
  }

  /** @throws EntryNotFoundError when the entry was deleted while somebody waited */
  #same(entry: Entry): void {
    if (this.#graph.entries.get(entry.id) !== entry) throw new EntryNotFoundError(`${entry.id} was deleted`)
  }

  #hold(entry: Entry): ThinVolume {
    let volume = this.#opened.get(entry.id)
    if (volume === undefined) {
      volume = new ThinVolume(entry, this.#host)
      this.#opened.set(entry.id, volume)
    }
    volume.users++
    return volume
  }

  /** As a user of the volume: otherwise its last user could close it, and another open it anew, while this waits. */
  async #holding(id: string, operation: (volume: ThinVolume) => Promise<void>): Promise<void> {
    const volume = this.#hold(this.#graph.entry(id))
    try {
      await operation(volume)
    } finally {
      await this.#leave(volume)
    }
  }

  /** Runs `change`, which freezes the volume's top layer, when all that was written is durable. */
  async #still(entry: Entry, change: () => void): Promise<void> {
    if (!this.#opened.has(entry.id)) {
      change()
      return
    }
    await this.#holding(entry.id, async (volume) => {
      // Most is flushed while others go on, so that they wait only for the rest.
      await volume.flush(NEVER)
      await volume.exclusive(async () => {
        await volume.flushAlone()
        this.#same(entry)
        change()
        volume.pushTop()
      })
    })
  }

  async #leave(volume: ThinVolume): Promise<void> {
    volume.users--
    if (volume.users > 0 || this.#opened.get(volume.id) !== volume) return
    await this.#closeVolume(volume)
  }

  async #closeVolume(volume: ThinVolume): Promise<void> {
    await volume.exclusive(async () => {
      if (!this.#closable(volume)) return
      let failure: unknown
      try {
        await volume.flushAlone()
      } catch (error) {
        failure = error
      }
      if (!this.#closable(volume)) return
      // What the disk has no room for stays in memory for the next who opens the volume; a store that ends leaves it
      // in the journal.
      const lacksRoom = failure instanceof NoSpaceError
      if (lacksRoom && !this.#closed) throw failure
      this.#opened.delete(volume.id)
      volume.close(new StoreClosedError(`${volume.id} is closed`), lacksRoom)
      if (failure !== undefined) throw failure
    })
  }

  /** Whether nobody has closed the volume yet, or opened it again. */
  #closable(volume: ThinVolume): boolean {
    return this.#opened.get(volume.id) === volume && (volume.users === 0 || this.#closed)
  }

  async #settle(layer: Layer): Promise<void> {
    await this.#directory.sync()
    this.#graph.settle(layer)
  }
}

function checkSize(sizeBytes: number): void {
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes % 512 !== 0) {
    throw new RangeError(`a volume has a positive multiple of 512 bytes, not ${sizeBytes}`)
  }
}

function ownBytes(entry: Entry): number {
  let blocks = 0
  let layer: Layer | undefined = entry.layer
  while (layer !== undefined && layer.children.size + layer.entries.size === 1) {
    blocks += layer.usedBlocks
    layer = layer.parent
  }
  return blocks * BLOCK_BYTES
}

function recount(layer: Layer): void {
  let blocks = 0
  layer.files.acquire()
  try {
    for (let page = 0; page < layer.files.pageCount; page++) {
      const { states } = layer.files.readPage(page)
      if (states !== undefined) blocks += countData(states)
    }
  } finally {
    layer.files.release()
  }
  layer.usedBlocks = blocks
}

function unlinkIfThere(path: string): void {
  try {
    unlinkSync(path)
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error
  }
}
