import { type Bytes, MiB, regrouped } from '../kernel/bytes.ts'
import type { Call } from '../kernel/call.ts'
import { NotFound } from '../kernel/errors.ts'
import type { RbdPool } from './pool.ts'

const pieceBytes = 4 * MiB

/** Plain objects of a pool, beside its images: documents of up to 128 MiB, Ceph's limit. Each method can be repeated. */
export class RadosObjects {
  readonly #pool: RbdPool

  constructor(pool: RbdPool) {
    this.#pool = pool
  }

  /** Replaces an object. A failure leaves nothing of it. */
  async write(name: string, data: Bytes, call: Call): Promise<void> {
    const { cluster, io } = this.#pool
    let offset = 0
    try {
      for await (const piece of regrouped(data, pieceBytes)) {
        if (offset === 0) await cluster.run(call, 'rados_write_full', [io, name, piece, piece.byteLength])
        else await cluster.run(call, 'rados_write', [io, name, piece, piece.byteLength, offset])
        offset += piece.byteLength
      }
    } catch (error) {
      await this.remove(name, { ...call, signal: new AbortController().signal }) // bounded by Ceph's own timeout
      throw error
    }
  }

  /** @throws NotFound on the first pull */
  async *read(name: string, call: Call): Bytes {
    const { cluster, io } = this.#pool
    for (let offset = 0; ; ) {
      const piece = Buffer.alloc(pieceBytes)
      const length = await cluster.run(call, 'rados_read', [io, name, piece, piece.byteLength, offset])
      if (length > 0) yield piece.subarray(0, length)
      if (length < pieceBytes) return
      offset += length
    }
  }

  /** Already gone: fine. */
  async remove(name: string, call: Call): Promise<void> {
    const { cluster, io } = this.#pool
    try {
      await cluster.run(call, 'rados_remove', [io, name])
    } catch (error) {
      if (!(error instanceof NotFound)) throw error
    }
  }
}
