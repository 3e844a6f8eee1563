/*
 * What a volume has changed in its map since the map was last flushed, for the case that the process is killed.
 *
 * Map pages reach the disk only behind the data they tell of (see `thin-volume.ts`), so the changes since the last
 * flush live in memory. A power failure may take them: nobody was promised that data which was not flushed outlives
 * it. A killed process must not: its data lies in the system's page cache, and so does this file, which is written
 * before a change is acknowledged and never synced. It is therefore believed only while the machine is the same boot.
 *
 * A journal is two files, `<layer>.journal-a` and `-b`. A flush seals the one in use, so that what is changed meanwhile
 * goes to the other, and empties the sealed one when all it tells is durable. Both begin with a header of 64 bytes:
 *
 *   byte  0  u32  magic "EGJL"
 *   byte  4  u32  CRC-32 of bytes 8 … 63
 *   byte  8  u64  number of the layer
 *   byte 16  u32  format version, 1
 *   byte 32       32 bytes: SHA-256 of the boot's id
 *
 * and go on with records of 32 bytes, so that none crosses a page and a kill cannot tear one:
 *
 *   byte  0  u32  CRC-32 of bytes 4 … 31
 *   byte  4  u32  state that the blocks have now, as in `map-page.ts`
 *   byte  8  u64  number of the layer
 *   byte 16  u48  first block
 *   byte 22  u48  sequence, through both files; starts at 1
 *   byte 28  u32  number of blocks
 *
 * All numbers are little-endian.
 */
import { createHash } from 'node:crypto'
import { closeSync, ftruncate, ftruncateSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { crc32 } from 'node:zlib'
import { systemCode } from './errors.ts'
import { ZERO } from './map-page.ts'

const ftruncateAsync = promisify(ftruncate)

const MAGIC = 0x4c4a4745
const VERSION = 1
/** Bytes of a journal file's header, and of each record. */
export const JOURNAL_HEADER_BYTES = 64
export const JOURNAL_RECORD_BYTES = 32
const SUFFIXES = ['journal-a', 'journal-b'] as const

/** @returns an id that no other boot of any machine has; undefined where the system does not tell (Linux does) */
export function readBootId(): string | undefined {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim() || undefined
  } catch {
    return undefined
  }
}

/** `blocks` blocks from `first` have got the state `state`. */
export interface MapChange {
  readonly first: number
  readonly blocks: number
  readonly state: number
}

interface Segment {
  readonly path: string
  fd: number | undefined
  /** Where the next record goes. */
  bytes: number
}

/** The journal of one layer, which one open volume writes. Its files are made by the first record. */
export class MapJournal {
  readonly #header: Buffer
  readonly #record = Buffer.alloc(JOURNAL_RECORD_BYTES)
  #active: Segment
  #sealed: Segment
  #sequence = 0

  /**
   * @param directory where the layers' files are
   * @param boot id of the present boot
   */
  constructor(directory: string, layer: number, boot: string) {
    this.#header = encodeHeader(layer, boot)
    const [a, b] = SUFFIXES.map((suffix) => join(directory, `${layer}.${suffix}`))
    this.#active = { path: a ?? '', fd: undefined, bytes: 0 }
    this.#sealed = { path: b ?? '', fd: undefined, bytes: 0 }
    this.#record.writeUIntLE(layer, 8, 6)
  }

  /** Bytes that were written since the last `seal`. */
  get bytes(): number {
    return this.#active.bytes
  }

  /**
   * Notes a change, blocking; it outlives the process when this returns. The data has been written before.
   * @throws whatever the filesystem does; then nothing is noted
   */
  append(first: number, blocks: number, state: number): void {
    const segment = this.#active
    const fd = segment.fd ?? this.#open(segment)
    const record = this.#record
    record.writeUInt32LE(state, 4)
    record.writeUIntLE(first, 16, 6)
    record.writeUIntLE(this.#sequence + 1, 22, 6)
    record.writeUInt32LE(blocks, 28)
    record.writeUInt32LE(crc32(record.subarray(4)), 0)
    writeAll(fd, record, segment.bytes)
    segment.bytes += JOURNAL_RECORD_BYTES
    this.#sequence++
  }

  /**
   * Starts the other file. What was noted so far is about to be made durable; what comes from now on is not. After a flush
   * that failed the sealed file still tells something: the one in use then goes on, for it tells what came later.
   */
  seal(): void {
    if (this.#sealed.bytes > JOURNAL_HEADER_BYTES) return
    const sealed = this.#active
    this.#active = this.#sealed
    this.#sealed = sealed
  }

  /** Forgets what was noted before the last `seal`: it is durable. @throws whatever the filesystem does */
  async drop(): Promise<void> {
    const { fd, bytes } = this.#sealed
    if (fd === undefined || bytes <= JOURNAL_HEADER_BYTES) return
    await ftruncateAsync(fd, JOURNAL_HEADER_BYTES)
    this.#sealed.bytes = JOURNAL_HEADER_BYTES
  }

  /** Closes the files, and leaves them to the next start. */
  close(): void {
    for (const segment of [this.#active, this.#sealed]) {
      if (segment.fd !== undefined) closeSync(segment.fd)
      segment.fd = undefined
    }
  }

  /** Forgets everything and removes the files. The first of what the filesystem complained about is thrown at the end. */
  remove(): void {
    const errors: unknown[] = []
    const attempt = (step: () => void): void => {
      try {
        step()
      } catch (error) {
        errors.push(error)
      }
    }
    for (const segment of [this.#active, this.#sealed]) {
      const { fd, path } = segment
      if (fd === undefined) continue
      segment.fd = undefined
      segment.bytes = 0
      // Should the name stay, there is nothing left under it.
      attempt(() => ftruncateSync(fd, 0))
      attempt(() => rmSync(path, { force: true }))
      attempt(() => closeSync(fd))
    }
    if (errors.length > 0) throw errors[0]
  }

  #open(segment: Segment): number {
    // Whatever an earlier journal has left goes first: it must not be read as a part of this one.
    if (this.#sequence === 0) rmSync(this.#sealed.path, { force: true })
    const fd = openSync(segment.path, 'w')
    try {
      writeAll(fd, this.#header, 0)
    } catch (error) {
      closeSync(fd)
      throw error
    }
    segment.fd = fd
    segment.bytes = JOURNAL_HEADER_BYTES
    return fd
  }
}

/** What a journal tells after its process was killed. */
export interface JournalContent {
  /** Oldest first. */
  readonly changes: readonly MapChange[]
  /** Records, or headers, that were written whole and have been damaged since. */
  readonly damaged: number
}

/** Reads the journal of a layer. That of another boot, or of another layer, tells nothing. */
export function readJournal(directory: string, layer: number, boot: string): JournalContent {
  const found: { sequence: number; change: MapChange }[] = []
  const expected = encodeHeader(layer, boot)
  let damaged = 0
  for (const suffix of SUFFIXES) {
    const bytes = readIfThere(join(directory, `${layer}.${suffix}`))
    const header = bytes.subarray(0, JOURNAL_HEADER_BYTES)
    if (!header.equals(expected)) {
      if (bytes.byteLength > JOURNAL_HEADER_BYTES && !isHeader(header)) damaged++
      continue
    }
    let bad = 0
    for (
      let at = JOURNAL_HEADER_BYTES;
      at + JOURNAL_RECORD_BYTES <= bytes.byteLength;
      at += JOURNAL_RECORD_BYTES
    ) {
      const record = decodeRecord(bytes.subarray(at, at + JOURNAL_RECORD_BYTES), layer)
      if (record === undefined) bad++
      else {
        found.push(record)
        // What is bad at the end is a write that was never acknowledged; what is followed by others was.
        damaged += bad
        bad = 0
      }
    }
  }
  found.sort((a, b) => a.sequence - b.sequence)
  return { changes: found.map(({ change }) => change), damaged }
}

/** Removes the journal of a layer, if there is one. */
export function removeJournal(directory: string, layer: number): void {
  for (const suffix of SUFFIXES) rmSync(join(directory, `${layer}.${suffix}`), { force: true })
}

function encodeHeader(layer: number, boot: string): Buffer {
  const header = Buffer.alloc(JOURNAL_HEADER_BYTES)
  header.writeUInt32LE(MAGIC, 0)
  header.writeBigUInt64LE(BigInt(layer), 8)
  header.writeUInt32LE(VERSION, 16)
  createHash('sha256').update(boot).digest().copy(header, 32)
  header.writeUInt32LE(crc32(header.subarray(8)), 4)
  return header
}

function isHeader(header: Buffer): boolean {
  return header.readUInt32LE(0) === MAGIC && header.readUInt32LE(4) === crc32(header.subarray(8))
}

function decodeRecord(bytes: Buffer, layer: number): { sequence: number; change: MapChange } | undefined {
  if (bytes.readUInt32LE(0) !== crc32(bytes.subarray(4))) return undefined
  const state = bytes.readUInt32LE(4)
  if (state > ZERO || bytes.readBigUInt64LE(8) !== BigInt(layer)) return undefined
  const change = { first: bytes.readUIntLE(16, 6), blocks: bytes.readUInt32LE(28), state }
  return { sequence: bytes.readUIntLE(22, 6), change }
}

function writeAll(fd: number, bytes: Uint8Array, offset: number): void {
  let done = 0
  while (done < bytes.byteLength) {
    done += writeSync(fd, bytes, done, bytes.byteLength - done, offset + done)
  }
}

function readIfThere(path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return Buffer.alloc(0)
    throw error
  }
}
