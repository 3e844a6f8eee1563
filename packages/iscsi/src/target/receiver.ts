/**
 * Cuts a byte stream into PDUs (RFC 7143 section 11.2) without copying headers that arrive whole: a state machine
 * over offsets. It holds one header at most; data segments go straight to where the handler wants them.
 */
import { crc32c } from '../digest.ts'
import { additionalHeaderBytes, dataSegmentLength, HEADER_BYTES, padded } from '../pdu/header.ts'

/** Words of additional header that an initiator can have a use for: an extended command block and a length. */
const MAX_ADDITIONAL_BYTES = 60 * 4
const DIGEST_BYTES = 4

export interface PduHandler {
  /** Where in the buffer that `header` returned the data segment begins. */
  readonly sinkAt: number
  /**
   * A header has arrived; its buffer is valid during the call only. Returns where its data segment goes: a buffer
   * with room for `dataLength` bytes at `sinkAt`, or undefined to throw it away. Not called with more data than
   * `maxDataLength`.
   */
  header(from: Buffer, at: number, dataLength: number, additional: Buffer | undefined): Buffer | undefined
  /** The data segment (and so the PDU) is complete. `digestOk` is false when its digest did not match. */
  end(digestOk: boolean): void
  /** The stream cannot be cut any further: the connection has to be dropped. */
  broken(reason: string): void
}

const State = { header: 0, additional: 1, data: 2, trailer: 3, stopped: 4 } as const

export class Receiver {
  headerDigest = false
  dataDigest = false
  /** Longest data segment the peer may send; longer ones break the stream before anything is allocated. */
  maxDataLength: number
  /** May be exchanged between two PDUs, from `end`. */
  handler: PduHandler
  readonly #header = Buffer.alloc(HEADER_BYTES + MAX_ADDITIONAL_BYTES + DIGEST_BYTES)
  readonly #trailer = Buffer.alloc(8)
  /** Headers that have arrived. */
  pdus = 0
  #state: number = State.header
  /** Bytes of the current part that have arrived. */
  #have = 0
  /** Bytes of header, additional header and header digest together. */
  #headerWanted = HEADER_BYTES
  #dataLength = 0
  #trailerWanted = 0
  #sink: Buffer | undefined
  #sinkAt = 0
  #crc = 0

  constructor(handler: PduHandler, maxDataLength: number) {
    this.handler = handler
    this.maxDataLength = maxDataLength
  }

  /** Whether the stream stands inside a PDU: a peer that stays there is stuck. */
  get insidePdu(): boolean {
    return this.#state !== State.header || this.#have > 0
  }

  /** Ignores everything from now on. */
  stop(): void {
    this.#state = State.stopped
    this.#sink = undefined
  }

  /** Takes the bytes `from`..`end`; keeps none of the buffer. */
  push(bytes: Buffer, from: number, end: number): void {
    let at = from
    while (at < end) {
      switch (this.#state) {
        case State.header:
          at = this.#takeHeader(bytes, at, end)
          break
        case State.additional:
          at = this.#takeAdditional(bytes, at, end)
          break
        case State.data:
          at = this.#takeData(bytes, at, end)
          break
        case State.trailer:
          at = this.#takeTrailer(bytes, at, end)
          break
        default:
          return
      }
    }
  }

  #takeHeader(bytes: Buffer, at: number, end: number): number {
    if (this.#have === 0 && end - at >= HEADER_BYTES && !this.headerDigest && bytes[at + 4] === 0) {
      this.#dispatch(bytes, at, undefined)
      return at + HEADER_BYTES
    }
    const taken = Math.min(HEADER_BYTES - this.#have, end - at)
    bytes.copy(this.#header, this.#have, at, at + taken)
    this.#have += taken
    if (this.#have < HEADER_BYTES) return at + taken
    const additional = additionalHeaderBytes(this.#header)
    if (additional > MAX_ADDITIONAL_BYTES) return this.#fail('too long an additional header', end)
    this.#headerWanted = HEADER_BYTES + additional + (this.headerDigest ? DIGEST_BYTES : 0)
    if (this.#headerWanted > HEADER_BYTES) this.#state = State.additional
    else this.#dispatch(this.#header, 0, undefined)
    return at + taken
  }

  #takeAdditional(bytes: Buffer, at: number, end: number): number {
    const taken = Math.min(this.#headerWanted - this.#have, end - at)
    bytes.copy(this.#header, this.#have, at, at + taken)
    this.#have += taken
    if (this.#have < this.#headerWanted) return at + taken
    const length = HEADER_BYTES + additionalHeaderBytes(this.#header)
    if (this.headerDigest && crc32c(this.#header, 0, length) !== this.#header.readUInt32LE(length)) {
      return this.#fail('a header digest did not match', end)
    }
    const additional = length > HEADER_BYTES ? this.#header.subarray(HEADER_BYTES, length) : undefined
    this.#dispatch(this.#header, 0, additional)
    return at + taken
  }

  #dispatch(header: Buffer, at: number, additional: Buffer | undefined): void {
    const length = dataSegmentLength(header, at)
    this.pdus += 1
    this.#have = 0
    if (length > this.maxDataLength) {
      this.#fail(`a data segment of ${length} bytes where ${this.maxDataLength} are allowed`, 0)
      return
    }
    this.#dataLength = length
    this.#crc = 0
    const sink = this.handler.header(header, at, length, additional)
    // The handler may have stopped us.
    if (this.#state === State.stopped) return
    this.#sink = sink
    this.#sinkAt = this.handler.sinkAt
    if (length > 0) {
      this.#state = State.data
      return
    }
    this.#state = State.header
    this.handler.end(true)
  }

  #takeData(bytes: Buffer, at: number, end: number): number {
    const taken = Math.min(this.#dataLength - this.#have, end - at)
    if (this.#sink) bytes.copy(this.#sink, this.#sinkAt + this.#have, at, at + taken)
    if (this.dataDigest) this.#crc = crc32c(bytes, at, taken, this.#crc)
    this.#have += taken
    if (this.#have < this.#dataLength) return at + taken
    this.#have = 0
    this.#sink = undefined
    this.#trailerWanted = padded(this.#dataLength) - this.#dataLength + (this.dataDigest ? DIGEST_BYTES : 0)
    if (this.#trailerWanted > 0) {
      this.#state = State.trailer
      return at + taken
    }
    this.#state = State.header
    this.handler.end(true)
    return at + taken
  }

  #takeTrailer(bytes: Buffer, at: number, end: number): number {
    const taken = Math.min(this.#trailerWanted - this.#have, end - at)
    bytes.copy(this.#trailer, this.#have, at, at + taken)
    this.#have += taken
    if (this.#have < this.#trailerWanted) return at + taken
    this.#have = 0
    this.#state = State.header
    let ok = true
    if (this.dataDigest) {
      const pad = this.#trailerWanted - DIGEST_BYTES
      ok = crc32c(this.#trailer, 0, pad, this.#crc) === this.#trailer.readUInt32LE(pad)
    }
    this.handler.end(ok)
    return at + taken
  }

  #fail(reason: string, next: number): number {
    this.stop()
    this.handler.broken(reason)
    return next
  }
}
