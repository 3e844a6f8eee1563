/**
 * What a connection sends, gathered: PDUs are built next to each other in slabs, and one write carries a whole
 * batch of them. A slab is used again as soon as the socket has taken everything in it. Regions may be finished
 * in another order than they were reserved: a read from the disk reserves its answer's place and fills it later.
 */
import type { Socket } from 'node:net'

/** Bytes of a slab: a burst of 1 MiB with its headers. */
export const SLAB_BYTES = 1048576 + 16384
/** Slabs kept for reuse by all connections of a server. */
const KEPT_SLABS = 16

export interface Slab {
  readonly bytes: Buffer
  /** Bytes given out so far. */
  used: number
  /** Regions that are being filled or on their way out. */
  open: number
}

/** The slabs of a server. A connection that has nothing to send holds none. */
export class SlabPool {
  readonly #free: Slab[] = []

  take(length: number): Slab {
    const slab = length <= SLAB_BYTES ? this.#free.pop() : undefined
    return slab ?? { bytes: Buffer.allocUnsafeSlow(Math.max(length, SLAB_BYTES)), used: 0, open: 0 }
  }

  give(slab: Slab): void {
    slab.used = 0
    if (slab.bytes.byteLength === SLAB_BYTES && this.#free.length < KEPT_SLABS) this.#free.push(slab)
  }
}

interface Piece {
  readonly slab: Slab
  readonly start: number
  end: number
  regions: number
}

export class Sender {
  readonly #socket: Socket
  readonly #pool: SlabPool
  #current: Slab | undefined
  #pieces: Piece[] = []
  #queued = 0
  #scheduled = false
  #closed = false
  /** Called when everything that was queued has left this process: the reads that wait go on. */
  onDrained: () => void = () => {}
  /** Likewise, before: the connection reads on. */
  onEmpty: () => void = () => {}

  constructor(socket: Socket, pool: SlabPool) {
    this.#socket = socket
    this.#pool = pool
  }

  /** Bytes reserved or queued that the socket has not taken yet. */
  get unsentBytes(): number {
    return this.#queued
  }

  /** A place for `length` bytes, at `slab.used - length`. Must be given to `send` or `drop`. */
  reserve(length: number): Slab {
    let slab = this.#current
    if (!slab || slab.used + length > slab.bytes.byteLength) {
      slab = this.#pool.take(length)
      this.#current = slab
    }
    slab.used += length
    slab.open += 1
    this.#queued += length
    return slab
  }

  /** Queues a reserved region, `start`..`end`. */
  send(slab: Slab, start: number, end: number): void {
    const last = this.#pieces.at(-1)
    if (last && last.slab === slab && last.end === start) {
      last.end = end
      last.regions += 1
    } else {
      this.#pieces.push({ slab, start, end, regions: 1 })
    }
    if (!this.#scheduled) {
      this.#scheduled = true
      setImmediate(() => this.flush())
    }
  }

  /** Gives a reserved region back unsent. */
  drop(slab: Slab, length: number): void {
    this.#queued -= length
    this.#release(slab, 1)
  }

  /** Hands everything queued to the socket, in one write where it lies together. */
  flush(): void {
    this.#scheduled = false
    const pieces = this.#pieces
    if (pieces.length === 0) return
    this.#pieces = []
    if (this.#closed) return
    if (pieces.length > 1) this.#socket.cork()
    for (const piece of pieces) {
      const bytes = piece.slab.bytes.subarray(piece.start, piece.end)
      this.#socket.write(bytes, () => {
        this.#queued -= piece.end - piece.start
        this.#release(piece.slab, piece.regions)
        if (this.#queued > 0) return
        this.onEmpty()
        this.onDrained()
      })
    }
    if (pieces.length > 1) this.#socket.uncork()
  }

  /** Sends nothing more. */
  close(): void {
    this.#closed = true
    this.#pieces = []
    this.#current = undefined
  }

  #release(slab: Slab, regions: number): void {
    slab.open -= regions
    if (slab.open > 0) return
    if (slab === this.#current) this.#current = undefined
    this.#pool.give(slab)
  }
}
