import {
  close,
  closeSync,
  existsSync,
  fdatasync,
  fstatSync,
  fsync,
  openSync,
  read,
  readSync,
  write,
  writeSync,
} from 'node:fs'
import { unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { CorruptStoreError, systemCode } from './errors.ts'
import { decodePage, EMPTY_PAGE, encodeSlot, type MapPage, PAGE_BYTES, SLOT_BYTES } from './map-page.ts'

const readAsync = promisify(read)
const writeAsync = promisify(write)
const fdatasyncAsync = promisify(fdatasync)
const fsyncAsync = promisify(fsync)
const closeAsync = promisify(close)

const FILE_NAME = /^(\d+)\.(data|map|journal-[ab])$/

/** @returns the number of the layer that a file of the layers' directory belongs to; undefined for other files */
export function layerOfFile(name: string): number | undefined {
  const match = FILE_NAME.exec(name)
  return match === null ? undefined : Number(match[1])
}

/** The directory of all layers' files, and what they share. */
export class LayerDirectory {
  readonly path: string
  /** One page of a map, read and decoded in one go. */
  readonly scratch = Buffer.alloc(PAGE_BYTES)
  readonly #fd: number

  constructor(path: string) {
    this.path = path
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

/**
 * The two files of a layer: `data`, sparse, every block at its own offset; `map`, the pages of `map-page.ts`. They are
 * made by the first write, so that a fresh snapshot or clone costs no file. Descriptors are opened when first used and
 * closed when the last user leaves.
 */
export class LayerFiles {
  readonly #directory: LayerDirectory
  readonly #id: number
  #data: number | undefined
  #map: number | undefined
  #mapBytes = 0
  #created: boolean
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

  /** Keeps descriptors open until the matching `release`. */
  acquire(): void {
    this.#users++
  }

  /** Closes the descriptors when this was the last user. */
  release(): void {
    this.#users--
    if (this.#users > 0) return
    if (this.#data !== undefined) closeSync(this.#data)
    if (this.#map !== undefined) closeSync(this.#map)
    this.#data = undefined
    this.#map = undefined
  }

  /** Makes the files unless they exist. They are durable only after `LayerDirectory.sync`. */
  create(): void {
    if (this.#created) return
    this.#open('w+')
    this.#created = true
  }

  /** Takes up files that a killed process has made. @returns whether both are there */
  adopt(): boolean {
    if (this.#created) return true
    const base = join(this.#directory.path, String(this.#id))
    this.#created = existsSync(`${base}.data`) && existsSync(`${base}.map`)
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
    const fd = this.#dataDescriptor()
    let done = 0
    while (done < data.byteLength) {
      done += writeSync(fd, data, done, data.byteLength - done, offset + done)
    }
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
    await fdatasyncAsync(this.#mapDescriptor())
  }

  /** Pages the map file may hold: none at or above this number was ever written. */
  get pageCount(): number {
    if (!this.#created) return 0
    this.#mapDescriptor()
    return Math.ceil(this.#mapBytes / PAGE_BYTES)
  }

  /**
   * Reads a page of the map, blocking: 8 KiB.
   * @throws CorruptStoreError when neither of its slots is valid
   */
  readPage(page: number): MapPage {
    if (page >= this.pageCount) return EMPTY_PAGE
    const bytes = this.#directory.scratch
    const length = readSync(this.#mapDescriptor(), bytes, 0, PAGE_BYTES, page * PAGE_BYTES)
    bytes.fill(0, length)
    const found = decodePage(bytes, this.#id, page)
    if (found === undefined)
      throw new CorruptStoreError(`page ${page} of the map of layer ${this.#id} is damaged`)
    return found
  }

  /** Writes a page to the slot that does not hold `previous`, blocking. It is durable after `syncMap`. */
  writePage(page: number, states: Uint8Array, previous: Pick<MapPage, 'sequence' | 'slot'>): void {
    const slot = 1 - previous.slot
    const bytes = encodeSlot(this.#id, page, previous.sequence + 1, states)
    const fd = this.#mapDescriptor()
    const offset = page * PAGE_BYTES + slot * SLOT_BYTES
    let done = 0
    while (done < SLOT_BYTES) done += writeSync(fd, bytes, done, SLOT_BYTES - done, offset + done)
    this.#mapBytes = Math.max(this.#mapBytes, offset + SLOT_BYTES)
  }

  /** Length of the data file in bytes, as far as it was ever written. */
  get dataBytes(): number {
    return this.#created ? fstatSync(this.#dataDescriptor()).size : 0
  }

  /** Path of the data file, for programs that punch holes. */
  get dataPath(): string {
    return join(this.#directory.path, `${this.#id}.data`)
  }

  /** Removes both files; already gone is fine. Open descriptors stay usable. */
  async unlink(): Promise<void> {
    for (const suffix of ['data', 'map']) {
      try {
        await unlink(join(this.#directory.path, `${this.#id}.${suffix}`))
      } catch (error) {
        if (systemCode(error) !== 'ENOENT') throw error
      }
    }
  }

  #dataDescriptor(): number {
    if (this.#data === undefined) this.#open('r+')
    return this.#data ?? -1
  }

  #mapDescriptor(): number {
    if (this.#map === undefined) this.#open('r+')
    return this.#map ?? -1
  }

  #open(flags: 'r+' | 'w+'): void {
    const base = join(this.#directory.path, String(this.#id))
    try {
      const data = openSync(`${base}.data`, flags)
      try {
        this.#map = openSync(`${base}.map`, flags)
      } catch (error) {
        closeSync(data)
        throw error
      }
      this.#data = data
      this.#mapBytes = fstatSync(this.#map).size
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
