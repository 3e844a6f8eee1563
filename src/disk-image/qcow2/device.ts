import { type BlockDevice, type Cancel, checkRange, type Extent } from '@emberglass/iscsi/device'
import { Unsupported } from '../../kernel/errors.ts'
import type { RandomReader } from '../random-reader.ts'
import { type Mapping, mappingOf, subclusters } from './clusters.ts'
import { decompressCluster } from './decompress.ts'
import { headerBytes, parseHeader, type Qcow2Header } from './header.ts'
import { ClusterTables, type Slice } from './tables.ts'

/** How many clusters of one `read` are unpacked at the same time. */
const parallelUnpacking = 4

/** A stretch of the image that lies in one piece, in guest bytes. */
interface Run {
  readonly offset: number
  readonly length: number
  readonly mapping: Mapping
}

/**
 * Opens a qcow2 image for reading: versions 2 and 3, compressed and zero clusters, subclusters. Internal
 * snapshots are ignored. Memory is bounded by the first-level table (at most 32 MiB, and never more than the
 * file really has) and 4 MiB of second-level tables, whatever the image claims.
 * @param source disposed together with the device, and also when opening fails
 * @returns a device of 512-byte blocks; an image size that is no multiple is rounded up with zeroes
 * @throws Invalid when the image is malformed, encrypted, or needs another file; reading may throw it too
 */
export async function openQcow2(source: RandomReader, cancel: Cancel): Promise<BlockDevice> {
  try {
    const start = Buffer.alloc(Math.min(headerBytes, source.sizeBytes))
    await source.read(0, start, cancel)
    const header = parseHeader(start, source.sizeBytes)
    const l1 = Buffer.alloc(header.l1Entries * 8)
    if (l1.byteLength > 0) await source.read(header.l1Offset, l1, cancel)
    return new Qcow2Device(header, source, l1)
  } catch (error) {
    await source[Symbol.asyncDispose]()
    throw error
  }
}

class Qcow2Device implements BlockDevice {
  readonly blockSize = 512
  readonly sizeBytes: number
  readonly #header: Qcow2Header
  readonly #source: RandomReader
  readonly #tables: ClusterTables
  readonly #closing = new AbortController()
  /** Bytes of the smallest unit that has a mapping of its own. */
  readonly #unitBytes: number
  /** The cluster unpacked last: sequential readers with small buffers ask for it again. */
  #unpacked: { readonly hostOffset: number; readonly bytes: Uint8Array } | undefined

  constructor(header: Qcow2Header, source: RandomReader, l1: Buffer) {
    this.#header = header
    this.#source = source
    this.#tables = new ClusterTables(header, source, l1)
    this.#unitBytes = header.extendedL2 ? header.clusterBytes / subclusters : header.clusterBytes
    this.sizeBytes = Math.ceil(header.virtualSizeBytes / this.blockSize) * this.blockSize
  }

  async read(offset: number, into: Uint8Array, cancel: Cancel): Promise<void> {
    checkRange(this, offset, into.byteLength)
    const unpacking = new Set<Promise<void>>()
    try {
      for await (const run of this.#runs(offset, into.byteLength, cancel)) {
        const part = into.subarray(run.offset - offset, run.offset - offset + run.length)
        if (run.mapping.kind === 'data') await this.#readPlain(run.mapping.hostOffset, part, cancel)
        else if (run.mapping.kind === 'compressed') {
          const unpack = this.#readCompressed(run, run.mapping, part, cancel).finally(() =>
            unpacking.delete(unpack),
          )
          unpack.catch(() => {})
          unpacking.add(unpack)
          if (unpacking.size >= parallelUnpacking) await Promise.race(unpacking)
        } else part.fill(0)
      }
      await Promise.all(unpacking)
    } finally {
      // The buffer is the caller's again when this call ends: wait for whoever may still write into it.
      await Promise.allSettled(unpacking)
    }
  }

  async write(): Promise<void> {
    throw new Unsupported('A qcow2 image is opened for reading only.')
  }

  async flush(): Promise<void> {}

  async extents(offset: number, length: number, cancel: Cancel): Promise<readonly Extent[]> {
    checkRange(this, offset, length)
    const extents: { offset: number; length: number; state: Extent['state'] }[] = []
    for await (const run of this.#runs(offset, length, cancel)) {
      const state = run.mapping.kind === 'compressed' ? 'data' : run.mapping.kind
      const last = extents.at(-1)
      if (last?.state === state) last.length += run.length
      else extents.push({ offset: run.offset, length: run.length, state })
    }
    return extents
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new Error('the qcow2 image was closed'))
    await this.#source[Symbol.asyncDispose]()
  }

  /** Cuts a range into stretches of one mapping; neighbours in the file are joined. */
  async *#runs(offset: number, length: number, cancel: Cancel): AsyncGenerator<Run, void, undefined> {
    const end = offset + length
    let pending: { offset: number; length: number; mapping: Mapping } | undefined
    let at = offset
    let slice: Slice | undefined
    while (at < end) {
      cancel.signal.throwIfAborted()
      const cluster = Math.floor(at / this.#header.clusterBytes)
      if (slice === undefined || cluster >= slice.firstCluster + slice.clusters) {
        const found = this.#tables.slice(cluster, this.#closing)
        slice = found instanceof Promise ? await found : found
      }
      const { mapping, runEnd } = this.#mappingAt(at, cluster, slice, end)
      if (pending !== undefined && continues(pending, mapping)) pending.length += runEnd - at
      else {
        if (pending !== undefined) yield pending
        pending = { offset: at, length: runEnd - at, mapping }
      }
      at = runEnd
    }
    if (pending !== undefined) yield pending
  }

  #mappingAt(at: number, cluster: number, slice: Slice, end: number): { mapping: Mapping; runEnd: number } {
    const { clusterBytes } = this.#header
    if (slice.bytes === undefined) {
      const tableEnd = (slice.firstCluster + slice.clusters) * clusterBytes
      return { mapping: { kind: 'hole' }, runEnd: Math.min(end, tableEnd) }
    }
    const unit = Math.floor((at % clusterBytes) / this.#unitBytes)
    const entry = (cluster - slice.firstCluster) * this.#tables.entryBytes
    const mapping = mappingOf(this.#header, slice.bytes, entry, unit, this.#source.sizeBytes)
    const unitBytes = mapping.kind === 'compressed' ? clusterBytes : this.#unitBytes
    const runEnd = Math.min(end, at - (at % unitBytes) + unitBytes)
    if (mapping.kind !== 'data') return { mapping, runEnd }
    return { mapping: { kind: 'data', hostOffset: mapping.hostOffset + (at % unitBytes) }, runEnd }
  }

  /** The last cluster of a file may be cut off: what is missing reads as zeroes, as QEMU has it. */
  async #readPlain(hostOffset: number, into: Uint8Array, cancel: Cancel): Promise<void> {
    const present = Math.max(0, Math.min(into.byteLength, this.#source.sizeBytes - hostOffset))
    if (present > 0) await this.#source.read(hostOffset, into.subarray(0, present), cancel)
    into.fill(0, present)
  }

  async #readCompressed(
    run: Run,
    mapping: { readonly hostOffset: number; readonly hostBytes: number },
    into: Uint8Array,
    cancel: Cancel,
  ): Promise<void> {
    const { clusterBytes, compression } = this.#header
    const start = run.offset % clusterBytes
    if (this.#unpacked?.hostOffset !== mapping.hostOffset) {
      const packed = Buffer.allocUnsafeSlow(mapping.hostBytes)
      await this.#source.read(mapping.hostOffset, packed, cancel)
      const bytes = await decompressCluster(compression, packed, clusterBytes)
      if (run.length < clusterBytes) this.#unpacked = { hostOffset: mapping.hostOffset, bytes }
      into.set(bytes.subarray(start, start + run.length))
      return
    }
    into.set(this.#unpacked.bytes.subarray(start, start + run.length))
  }
}

function continues(run: { length: number; mapping: Mapping }, next: Mapping): boolean {
  if (run.mapping.kind === 'data') {
    return next.kind === 'data' && next.hostOffset === run.mapping.hostOffset + run.length
  }
  return run.mapping.kind === next.kind && next.kind !== 'compressed'
}
