import type { Cancel } from '@emberglass/iscsi/device'
import type { RandomReader } from '../random-reader.ts'
import { entryOffset } from './clusters.ts'
import { malformed, type Qcow2Header } from './header.ts'

/** Second-level tables are read in pieces of at most this many bytes. */
const maxSliceBytes = 64 * 1024
/** Pieces held: 4 MiB in all, which maps 32 GiB of an image with 64 KiB clusters. */
const heldSlices = 64

/** A piece of a second-level table; its first entry is that of cluster `firstCluster`. */
export interface Slice {
  readonly firstCluster: number
  readonly clusters: number
  /** Absent when no table exists here: every cluster is a hole. */
  readonly bytes: Buffer | undefined
}

/** Finds second-level entries: the first level whole in memory, the second in pieces, least recently used. */
export class ClusterTables {
  readonly #header: Qcow2Header
  readonly #source: RandomReader
  readonly #l1: Buffer
  readonly #sliceBytes: number
  readonly #held = new Map<number, Promise<Buffer>>()
  readonly #entryBytes: number
  readonly #tableClusters: number

  /** @param l1 the first-level table, `header.l1Entries` entries of 8 bytes */
  constructor(header: Qcow2Header, source: RandomReader, l1: Buffer) {
    this.#header = header
    this.#source = source
    this.#l1 = l1
    this.#sliceBytes = Math.min(header.clusterBytes, maxSliceBytes)
    this.#entryBytes = header.extendedL2 ? 16 : 8
    this.#tableClusters = header.clusterBytes / this.#entryBytes
  }

  /** Bytes of a second-level entry. */
  get entryBytes(): number {
    return this.#entryBytes
  }

  /**
   * The piece of table that holds a cluster's entry; without a promise when there is no table.
   * @param closing ends reading when the image is closed; callers who share a piece do not end each other
   * @throws Invalid when the table does not lie inside the file
   */
  slice(cluster: number, closing: Cancel): Slice | Promise<Slice> {
    const index = Math.floor(cluster / this.#tableClusters)
    const tableAt = entryOffset(this.#l1.readUInt32BE(index * 8), this.#l1.readUInt32BE(index * 8 + 4))
    const tableStart = index * this.#tableClusters
    if (tableAt === 0) return { firstCluster: tableStart, clusters: this.#tableClusters, bytes: undefined }
    if (
      tableAt % this.#header.clusterBytes !== 0 ||
      tableAt + this.#header.clusterBytes > this.#source.sizeBytes
    ) {
      throw malformed(`a second-level table at byte ${tableAt} does not lie inside the file`)
    }
    const clusters = this.#sliceBytes / this.#entryBytes
    const part = Math.floor((cluster - tableStart) / clusters)
    return this.#load(tableAt + part * this.#sliceBytes, closing).then((bytes) => ({
      firstCluster: tableStart + part * clusters,
      clusters,
      bytes,
    }))
  }

  #load(offset: number, closing: Cancel): Promise<Buffer> {
    const known = this.#held.get(offset)
    if (known !== undefined) {
      this.#held.delete(offset)
      this.#held.set(offset, known)
      return known
    }
    const loading = this.#read(offset, closing)
    this.#held.set(offset, loading)
    loading.catch(() => {
      if (this.#held.get(offset) === loading) this.#held.delete(offset)
    })
    for (const oldest of this.#held.keys()) {
      if (this.#held.size <= heldSlices) break
      this.#held.delete(oldest)
    }
    return loading
  }

  async #read(offset: number, closing: Cancel): Promise<Buffer> {
    const bytes = Buffer.allocUnsafeSlow(this.#sliceBytes)
    await this.#source.read(offset, bytes, closing)
    return bytes
  }
}
