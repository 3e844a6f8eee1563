/*
 * Which regions of a layer may hold blocks whose checksum on the disk is not theirs, as it lies in the layer's `.marks`
 * file.
 *
 * A block that is overwritten in place has its new bytes before its new checksum is durable; after a crash that looks
 * just like a flipped bit. So a region (a page of the map, 63 MiB) is marked, durably, before the first overwrite in
 * it, and the mark goes when its checksums are durable. After a crash the blocks of marked regions are taken as they
 * are, and get their checksums anew; everywhere else a checksum is believed. Blocks that the durable map does not name
 * need no mark: nobody looks at them after a crash.
 *
 * The file is sectors of 512 bytes, which a disk writes whole or not at all:
 *
 *   byte  0  u32  CRC-32 of bytes 4 … 511
 *   byte  4  u32  magic "EGMK"
 *   byte  8       504 bytes: a bit for each of 4032 regions, lowest bits first
 *
 * A sector of zeroes marks nothing; one that is damaged marks all of its regions.
 */
import { crc32 } from 'node:zlib'
import type { LayerFiles } from './layer-files.ts'
import { BLOCKS_PER_PAGE } from './map-page.ts'

const MAGIC = 0x4b4d4745
const SECTOR_BYTES = 512
const HEADER_BYTES = 8
const REGIONS_PER_SECTOR = (SECTOR_BYTES - HEADER_BYTES) * 8

/** The marks of one layer. */
export class LayerMarks {
  readonly #files: LayerFiles
  #loaded = false
  /** Marked on the disk. */
  readonly #marked = new Set<number>()
  /** Left by a crash: their checksums have not been looked at since. */
  readonly #unsure = new Set<number>()
  /** Written to since the last flush began, and what the present flush makes durable. */
  #touched = new Set<number>()
  #flushing = new Set<number>()
  #last = -1
  #writing: Promise<void> | undefined
  #wanted = new Set<number>()

  constructor(files: LayerFiles) {
    this.#files = files
  }

  /** Notes a write to blocks. @returns false when it has to wait for `mark` */
  touch(first: number, last: number): boolean {
    const start = Math.floor(first / BLOCKS_PER_PAGE)
    const end = Math.floor(last / BLOCKS_PER_PAGE)
    if (start === end && start === this.#last) return true
    for (let region = start; region <= end; region++) {
      if (!this.#marked.has(region)) return false
      this.#touched.add(region)
    }
    this.#last = end
    return true
  }

  /** Marks the regions of blocks, durably. Then ask `touch` again. @throws whatever the filesystem does */
  async mark(first: number, last: number): Promise<void> {
    this.#load()
    const start = Math.floor(first / BLOCKS_PER_PAGE)
    const end = Math.floor(last / BLOCKS_PER_PAGE)
    for (let region = start; region <= end; region++) {
      if (!this.#marked.has(region)) this.#wanted.add(region)
      while (!this.#marked.has(region)) {
        this.#writing ??= this.#write().finally(() => {
          this.#writing = undefined
        })
        await this.#writing
      }
      this.#touched.add(region)
    }
  }

  /** A flush begins, which makes durable what was written before. */
  flushBegins(): void {
    for (const region of this.#touched) this.#flushing.add(region)
    this.#touched = new Set()
    this.#last = -1
  }

  /** It has succeeded. The marks go when others are written, or with `close`. */
  flushed(): void {
    this.#flushing = new Set()
  }

  /** Everything is durable: all marks go but those a crash has left. */
  close(): void {
    this.#last = -1
    this.#touched.clear()
    if (this.#marked.size === this.#unsure.size) return
    if (this.#unsure.size === 0) this.#files.clearMarks()
    else for (const sector of sectorsOf(this.#marked)) this.#writeSector(sector, this.#unsure)
    this.#marked.clear()
    for (const region of this.#unsure) this.#marked.add(region)
  }

  /** What was not flushed is given up: the marks have to be believed now. */
  distrust(): void {
    this.#last = -1
    for (const region of this.#marked) this.#unsure.add(region)
    this.#touched.clear()
    this.#flushing.clear()
  }

  /** Whether the checksum of a block that does not match may be the one that is wrong. */
  doubts(block: number): boolean {
    this.#load()
    return this.#unsure.size > 0 && this.#unsure.has(Math.floor(block / BLOCKS_PER_PAGE))
  }

  /** Regions that a crash has left, by their pages in the map. */
  get doubtful(): readonly number[] {
    this.#load()
    return [...this.#unsure]
  }

  /** The checksums of a region match what is there, durably. */
  cleared(region: number): void {
    this.#unsure.delete(region)
  }

  /** Takes regions out whose data are durable, and the wanted ones in. */
  async #write(): Promise<void> {
    const wanted = this.#wanted
    this.#wanted = new Set()
    const before = new Set(this.#marked)
    for (const region of before) {
      const busy = this.#touched.has(region) || this.#flushing.has(region) || this.#unsure.has(region)
      if (!busy) this.#marked.delete(region)
    }
    this.#last = -1
    const after = new Set([...this.#marked, ...wanted])
    for (const sector of sectorsOf([...before, ...after])) this.#writeSector(sector, after)
    await this.#files.syncMarks()
    for (const region of wanted) {
      this.#marked.add(region)
      this.#touched.add(region)
    }
  }

  #writeSector(sector: number, regions: ReadonlySet<number>): void {
    const bytes = Buffer.alloc(SECTOR_BYTES)
    bytes.writeUInt32LE(MAGIC, 4)
    const base = sector * REGIONS_PER_SECTOR
    for (const region of regions) {
      const bit = region - base
      if (bit < 0 || bit >= REGIONS_PER_SECTOR) continue
      const at = HEADER_BYTES + (bit >> 3)
      bytes.writeUInt8(bytes.readUInt8(at) | (1 << (bit & 7)), at)
    }
    bytes.writeUInt32LE(crc32(bytes.subarray(4)), 0)
    this.#files.writeMarks(bytes, sector * SECTOR_BYTES)
  }

  #load(): void {
    if (this.#loaded) return
    const bytes = this.#files.readMarks()
    for (let sector = 0; (sector + 1) * SECTOR_BYTES <= bytes.byteLength; sector++) {
      for (const region of decodeSector(bytes, sector)) {
        this.#marked.add(region)
        this.#unsure.add(region)
      }
    }
    this.#loaded = true
  }
}

function sectorsOf(regions: Iterable<number>): Set<number> {
  return new Set([...regions].map((region) => Math.floor(region / REGIONS_PER_SECTOR)))
}

function decodeSector(file: Buffer, sector: number): number[] {
  const bytes = file.subarray(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES)
  if (bytes.every((byte) => byte === 0)) return []
  const intact = bytes.readUInt32LE(4) === MAGIC && bytes.readUInt32LE(0) === crc32(bytes.subarray(4))
  const found: number[] = []
  for (let bit = 0; bit < REGIONS_PER_SECTOR; bit++) {
    const byte = bytes[HEADER_BYTES + (bit >> 3)] ?? 0
    if (!intact || (byte & (1 << (bit & 7))) !== 0) found.push(sector * REGIONS_PER_SECTOR + bit)
  }
  return found
}
