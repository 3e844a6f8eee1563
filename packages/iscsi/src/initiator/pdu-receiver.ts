import { crc32c } from '../digest.ts'
import { IscsiError } from '../errors.ts'
import { additionalHeaderBytes, dataSegmentLength, HEADER_BYTES, padded } from '../pdu/header.ts'

/** Who takes the PDUs of one connection. What it throws ends the connection. */
export interface PduSink {
  /**
   * Where the data segment goes, at least `length` bytes; undefined for a buffer of the receiver's, whose
   * content is gone after `received`. The header is valid until `received` returns.
   */
  destination(header: Buffer, length: number): Uint8Array | undefined
  /** One whole PDU. `data` is what `destination` gave, cut to the segment's length. */
  received(header: Buffer, data: Uint8Array): void
}

/** Additional header segments: at most 60 words would be legal, none that matter here are longer than this. */
const maxAdditionalBytes = 240
const digestBytes = 4
const padding = Buffer.alloc(4)
const nothing = Buffer.alloc(0)

type Phase = 'header' | 'data' | 'trailer'

/**
 * Cuts a stream of bytes into PDUs (RFC 7143 section 11.2) and copies each data segment once, to its
 * destination. Lengths are checked before anything is allocated. Pure: it neither reads nor writes a socket.
 */
export class PduReceiver {
  /** Set when the login has settled them; they hold from the next PDU on. */
  headerDigest = false
  dataDigest = false
  /** Longest data segment that was declared to the peer. */
  maxDataBytes = 8192

  readonly #sink: PduSink
  readonly #head = Buffer.alloc(HEADER_BYTES + maxAdditionalBytes + digestBytes)
  readonly #trailer = Buffer.alloc(3 + digestBytes)
  #scratch: Buffer = nothing
  #phase: Phase = 'header'
  #wanted = HEADER_BYTES
  #filled = 0
  #data: Uint8Array = nothing
  #dataLength = 0

  constructor(sink: PduSink) {
    this.#sink = sink
  }

  /**
   * Takes the first `length` bytes of `chunk`, which may be reused afterwards.
   * @throws IscsiError `protocol` when the peer breaks the framing or a digest does not match
   */
  push(chunk: Buffer, length: number): void {
    let at = 0
    while (at < length) {
      const count = Math.min(length - at, this.#wanted - this.#filled)
      const into = this.#phase === 'header' ? this.#head : this.#phase === 'data' ? this.#data : this.#trailer
      into.set(chunk.subarray(at, at + count), this.#filled)
      at += count
      this.#filled += count
      if (this.#filled === this.#wanted) this.#advance()
    }
  }

  #advance(): void {
    if (this.#phase === 'header') this.#headerArrived()
    else if (this.#phase === 'data') this.#dataArrived()
    else this.#trailerArrived()
  }

  #headerArrived(): void {
    const additional = additionalHeaderBytes(this.#head)
    if (additional > maxAdditionalBytes) throw broken(`${additional} bytes of additional header segments`)
    const headBytes = HEADER_BYTES + additional + (this.headerDigest ? digestBytes : 0)
    if (this.#wanted < headBytes) {
      this.#wanted = headBytes
      return
    }
    if (this.headerDigest) {
      const covered = HEADER_BYTES + additional
      if (crc32c(this.#head, 0, covered) !== this.#head.readUInt32LE(covered)) {
        throw broken('a header whose digest does not match')
      }
    }
    this.#dataLength = dataSegmentLength(this.#head)
    if (this.#dataLength > this.maxDataBytes) throw broken(`a data segment of ${this.#dataLength} bytes`)
    if (this.#dataLength === 0) {
      this.#finish(nothing)
      return
    }
    const destination = this.#sink.destination(this.#head, this.#dataLength)
    this.#data = destination ?? this.#own(this.#dataLength)
    this.#expect('data', this.#dataLength)
  }

  #dataArrived(): void {
    const trailerBytes = padded(this.#dataLength) - this.#dataLength + (this.dataDigest ? digestBytes : 0)
    if (trailerBytes > 0) this.#expect('trailer', trailerBytes)
    else this.#finish(this.#data.subarray(0, this.#dataLength))
  }

  #trailerArrived(): void {
    if (this.dataDigest) {
      const padBytes = padded(this.#dataLength) - this.#dataLength
      const crc = crc32c(this.#trailer, 0, padBytes, crc32c(this.#data, 0, this.#dataLength))
      if (crc !== this.#trailer.readUInt32LE(padBytes)) throw broken('data whose digest does not match')
    }
    this.#finish(this.#data.subarray(0, this.#dataLength))
  }

  #finish(data: Uint8Array): void {
    this.#data = nothing
    this.#expect('header', HEADER_BYTES)
    this.#sink.received(this.#head, data)
  }

  #expect(phase: Phase, bytes: number): void {
    this.#phase = phase
    this.#wanted = bytes
    this.#filled = 0
  }

  #own(length: number): Buffer {
    if (this.#scratch.byteLength < length) this.#scratch = Buffer.allocUnsafeSlow(length)
    return this.#scratch
  }
}

/**
 * What follows a header and its data on the wire, as far as this connection uses it.
 * @returns the parts of one PDU in order; `data` itself is among them, not copied
 */
export function framePdu(
  header: Buffer,
  data: Uint8Array | undefined,
  headerDigest: boolean,
  dataDigest: boolean,
): Uint8Array[] {
  const parts: Uint8Array[] = [header]
  if (headerDigest) parts.push(digest(crc32c(header)))
  if (data === undefined || data.byteLength === 0) return parts
  parts.push(data)
  const padBytes = padded(data.byteLength) - data.byteLength
  if (padBytes > 0) parts.push(padding.subarray(0, padBytes))
  if (dataDigest) parts.push(digest(crc32c(padding, 0, padBytes, crc32c(data))))
  return parts
}

function digest(crc: number): Buffer {
  const bytes = Buffer.allocUnsafe(digestBytes)
  bytes.writeUInt32LE(crc)
  return bytes
}

function broken(what: string): IscsiError {
  return new IscsiError('protocol', `the target sent ${what}`)
}
