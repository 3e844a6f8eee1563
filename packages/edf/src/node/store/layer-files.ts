import {
  close,
  closeSync,
  existsSync,
  fdatasync,
  fstatSync,
  fsync,
  ftruncateSync,
  openSync,
  read,
  readFileSync,
  readSync,
  write,
  writeSync,
} from 'node:fs'
import { unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { CorruptStoreError, systemCode } from './errors.ts'
import {
  decodePage,
  EMPTY_PAGE,
  encodeSlot,
  type MapPage,
  PAGE_BYTES,
  PageKind,
  SLOT_BYTES,
} from './map-page.ts'
import { PageCache } from './page-cache.ts'

const readAsync = promisify(read)
const writeAsync = promisify(write)
const fdatasyncAsync = promisify(fdatasync)
const fsyncAsync = promisify(fsync)
const closeAsync = promisify(close)

const FILE_NAME = /^(\d+)\.(data|map|sums|marks|journal-[ab])$/

/** @returns the number of the layer that a file of the layers' directory belongs to; undefined for other files */
export function layerOfFile(name: string): number | undefined {
  const match = FILE_NAME.exec(name)
  return match === null ? undefined : Number(match[1])
}

/** The directory of all layers' files, and what they share. */
export class LayerDirectory {
  readonly path: string
  /** One page of a map or of checksums, read and decoded in one go. */
  readonly scratch = Buffer.alloc(PAGE_BYTES)
  /** The pages of checksums in memory. */
  readonly sumsCache: PageCache
  readonly #fd: number

  /** @param sumsPages pages of checksums (4 MiB of data each) that are kept in memory */
  constructor(path: string, sumsPages = 4096) {
    this.path = path
    this.sumsCache = new PageCache(sumsPages)
    this.#fd = openSync(path, 'r')
  }

  /** Makes new names durable. */
  async sync(): Promise<void> {
    await fsyncAsync(this.#fd)
  }

  async close(): Promise<void> {
    await closeAsync(this.#fd)
  }
}

/** The files of a layer. */
type Part = 'data' | 'map' | 'sums' | 'marks'
const PARTS: readonly Part[] = ['data', 'map', 'sums', 'marks']

/** A file of pages of two slots. */
interface PagedFile {
  readonly fd: number
  readonly kind: PageKind
  bytes: number
}

/**
 * The files of a layer: `data`, sparse, every block at its own offset; `map`, the pages of `map-page.ts`; `sums`, the
 * checksums of `layer-sums.ts`; `marks`, those of `layer-marks.ts`. They are made by the first write, so that a fresh
 * snapshot or clone costs no file. Descriptors are opened when first used and closed when the last user leaves.
 *
 * A layer of the first format has no `sums` and no `marks`; they are made when they are first needed.
 */
export class LayerFiles {
  readonly #directory: LayerDirectory
  readonly #id: number
  #data: number | undefined
  #map: PagedFile | undefined
  #sums: PagedFile | undefined
  #marks: number | undefined
  #created: boolean
  /** A file was made whose name is not durable yet. */
  #unnamed = false
  #users = 0

  /** @param written whether the files must exist already */
  constructor(directory: LayerDirectory, id: number, written: boolean) {
    this.#directory = directory
    this.#id = id
    this.#created = written
  }

  /** Whether nothing was ever written to the layer. */
  get blank(): boolean {
    return !this.#created
  }

  /** Whether somebody uses the files. */
  get used(): boolean {
    return this.#users > 0
  }

  /** Keeps descriptors open until the matching `release`. */
  acquire(): void {
    this.#users++
  }

  /** Closes the descriptors when this was the last user. */
  release(): void {
    this.#users--
    if (this.#users > 0) return
    for (const fd of [this.#data, this.#map?.fd, this.#sums?.fd, this.#marks]) {
      if (fd !== undefined) closeSync(fd)
    }
    this.#data = undefined
    this.#map = undefined
    this.#sums = undefined
    this.#marks = undefined
  }

  /** Makes the files unless they exist. They are durable only after `LayerDirectory.sync`. */
  create(): void {
    if (this.#created) return
    this.#open('w+')
    for (const part of ['sums', 'marks'] as const) closeSync(openSync(this.#path(part), 'w'))
    this.#created = true
  }

  /** Takes up files that a killed process has made. @returns whether they are there */
  adopt(): boolean {
    this.#created ||= existsSync(this.#path('data')) && existsSync(this.#path('map'))
    return this.#created
  }

  /** Takes back `adopt`: the files are about to go. Nobody uses them. */
  disown(): void {
    this.#created = false
  }

  /** Reads bytes that the map says are there, blocking. @throws CorruptStoreError when the file is too short */
  read(into: Uint8Array, start: number, length: number, offset: number): void {
    const fd = this.#dataDescriptor()
    let done = 0
    while (done < length) {
      const bytes = readSync(fd, into, start + done, length - done, offset + done)
      if (bytes === 0) throw this.#tooShort(offset + done)
      done += bytes
    }
  }

  /** As `read`, on the thread pool. */
  async readLater(into: Uint8Array, start: number, length: number, offset: number): Promise<void> {
    const fd = this.#dataDescriptor()
    let done = 0
    while (done < length) {
      const { bytesRead } = await readAsync(fd, into, start + done, length - done, offset + done)
      if (bytesRead === 0) throw this.#tooShort(offset + done)
      done += bytesRead
    }
  }

  /** Writes, blocking; the map is not touched. */
  write(data: Uint8Array, offset: number): void {
    writeWhole(this.#dataDescriptor(), data, offset)
  }

  /** As `write`, on the thread pool. */
  async writeLater(data: Uint8Array, offset: number): Promise<void> {
    const fd = this.#dataDescriptor()
    let done = 0
    while (done < data.byteLength) {
      const { bytesWritten } = await writeAsync(fd, data, done, data.byteLength - done, offset + done)
      done += bytesWritten
    }
  }

  /** Makes all written data durable. */
  async syncData(): Promise<void> {
    await fdatasyncAsync(this.#dataDescriptor())
  }

  /** Makes all written map pages durable. */
  async syncMap(): Promise<void> {
    await fdatasyncAsync(this.#mapFile().fd)
  }

  /** Makes all written pages of checksums durable. */
  async syncSums(): Promise<void> {
    await fdatasyncAsync(this.#sumsFile().fd)
    await this.#syncNames()
  }

  /** Pages the map file may hold: none at or above this number was ever written. */
  get pageCount(): number {
    return this.#created ? Math.ceil(this.#mapFile().bytes / PAGE_BYTES) : 0
  }

  /**
   * Reads a page of the map, blocking: 8 KiB.
   * @throws CorruptStoreError when neither of its slots is valid
   */
  readPage(page: number): MapPage {
    return page >= this.pageCount ? EMPTY_PAGE : this.#readPage(this.#mapFile(), page)
  }

  /** Writes a page to the slot that does not hold `previous`, blocking. It is durable after `syncMap`. */
  writePage(page: number, states: Uint8Array, previous: Pick<MapPage, 'sequence' | 'slot'>): void {
    this.#writePage(this.#mapFile(), page, states, previous)
  }

  /** As `readPage`, of the checksums. */
  readSumsPage(page: number): MapPage {
    if (!this.#created) return EMPTY_PAGE
    const file = this.#sumsFile()
    return page * PAGE_BYTES >= file.bytes ? EMPTY_PAGE : this.#readPage(file, page)
  }

  /** As `writePage`, of the checksums. It is durable after `syncSums`. */
  writeSumsPage(page: number, sums: Uint8Array, previous: Pick<MapPage, 'sequence' | 'slot'>): void {
    this.#writePage(this.#sumsFile(), page, sums, previous)
  }

  /** The marks, all of them; no bytes when there are none. */
  readMarks(): Buffer {
    return this.#created ? readFileSync(this.#marksDescriptor()) : Buffer.alloc(0)
  }

  /** Writes a part of the marks, blocking. */
  writeMarks(bytes: Uint8Array, offset: number): void {
    writeWhole(this.#marksDescriptor(), bytes, offset)
  }

  /** Makes the marks durable. */
  async syncMarks(): Promise<void> {
    await fdatasyncAsync(this.#marksDescriptor())
    await this.#syncNames()
  }

  /** Forgets all marks, sooner or later durably. */
  clearMarks(): void {
    ftruncateSync(this.#marksDescriptor(), 0)
  }

  /** Length of the data file in bytes, as far as it was ever written. */
  get dataBytes(): number {
    return this.#created ? fstatSync(this.#dataDescriptor()).size : 0
  }

  /** Path of the data file, for programs that punch holes. */
  get dataPath(): string {
    return this.#path('data')
  }

  /** Removes all files; already gone is fine. Open descriptors stay usable. */
  async unlink(): Promise<void> {
    for (const part of PARTS) {
      try {
        await unlink(this.#path(part))
      } catch (error) {
        if (systemCode(error) !== 'ENOENT') throw error
      }
    }
  }

  #path(part: Part): string {
    return join(this.#directory.path, `${this.#id}.${part}`)
  }

  #readPage(file: PagedFile, page: number): MapPage {
    const bytes = this.#directory.scratch
    const length = readSync(file.fd, bytes, 0, PAGE_BYTES, page * PAGE_BYTES)
    bytes.fill(0, length)
    const found = decodePage(bytes, this.#id, page, file.kind)
    if (found !== undefined) return found
    const what = file.kind === PageKind.map ? 'map' : 'checksums'
    throw new CorruptStoreError(`page ${page} of the ${what} of layer ${this.#id} is damaged`)
  }

  #writePage(
    file: PagedFile,
    page: number,
    states: Uint8Array,
    previous: Pick<MapPage, 'sequence' | 'slot'>,
  ): void {
    const slot = 1 - previous.slot
    const offset = page * PAGE_BYTES + slot * SLOT_BYTES
    writeWhole(file.fd, encodeSlot(this.#id, page, previous.sequence + 1, states, file.kind), offset)
    file.bytes = Math.max(file.bytes, offset + SLOT_BYTES)
  }

  #dataDescriptor(): number {
    if (this.#data === undefined) this.#open('r+')
    return this.#data ?? -1
  }

  #mapFile(): PagedFile {
    if (this.#map === undefined) this.#open('r+')
    return this.#map ?? { fd: -1, kind: PageKind.map, bytes: 0 }
  }

  #sumsFile(): PagedFile {
    if (this.#sums === undefined) {
      const fd = this.#openLater('sums')
      this.#sums = { fd, kind: PageKind.sums, bytes: fstatSync(fd).size }
    }
    return this.#sums
  }

  #marksDescriptor(): number {
    this.#marks ??= this.#openLater('marks')
    return this.#marks
  }

  #openLater(part: Part): number {
    try {
      return openSync(this.#path(part), 'r+')
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error
      this.#unnamed = true
      return openSync(this.#path(part), 'w+')
    }
  }

  async #syncNames(): Promise<void> {
    if (!this.#unnamed) return
    await this.#directory.sync()
    this.#unnamed = false
  }

  #open(flags: 'r+' | 'w+'): void {
    try {
      const data = openSync(this.#path('data'), flags)
      try {
        const fd = openSync(this.#path('map'), flags)
        this.#map = { fd, kind: PageKind.map, bytes: fstatSync(fd).size }
      } catch (error) {
        closeSync(data)
        throw error
      }
      this.#data = data
    } catch (error) {
      if (systemCode(error) !== 'ENOENT' || flags === 'w+') throw error
      throw new CorruptStoreError(`layer ${this.#id} has lost a file`, error)
    }
  }

  #tooShort(offset: number): CorruptStoreError {
    return new CorruptStoreError(
      `the data of layer ${this.#id} ends at byte ${offset}, below what its map says`,
    )
  }
}

function writeWhole(fd: number, bytes: Uint8Array, offset: number): void {
  let done = 0
  while (done < bytes.byteLength) {
    done += writeSync(fd, bytes, done, bytes.byteLength - done, offset + done)
  }
}
