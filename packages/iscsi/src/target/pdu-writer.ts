/** Builds outgoing PDUs in the sender's slabs, with padding and digests as negotiated. */
import { crc32c } from '../digest.ts'
import { HEADER_BYTES, padded } from '../pdu/header.ts'
import type { Sender, Slab } from './sender.ts'

const DIGEST_BYTES = 4

export class PduWriter {
  headerDigest = false
  dataDigest = false
  readonly sender: Sender

  constructor(sender: Sender) {
    this.sender = sender
  }

  /** Where in a PDU its data begins. */
  get dataAt(): number {
    return HEADER_BYTES + (this.headerDigest ? DIGEST_BYTES : 0)
  }

  /** Bytes of a PDU on the wire. */
  size(dataLength: number): number {
    return this.dataAt + padded(dataLength) + (this.dataDigest && dataLength > 0 ? DIGEST_BYTES : 0)
  }

  /** Completes a PDU whose header and data stand in place. */
  seal(bytes: Buffer, at: number, dataLength: number): void {
    if (this.headerDigest) bytes.writeUInt32LE(crc32c(bytes, at, HEADER_BYTES), at + HEADER_BYTES)
    if (dataLength === 0) return
    const data = at + this.dataAt
    const end = data + padded(dataLength)
    for (let pad = data + dataLength; pad < end; pad++) bytes[pad] = 0
    if (this.dataDigest) bytes.writeUInt32LE(crc32c(bytes, data, end - data), end)
  }

  /** Queues one PDU. `encode` writes its header. */
  write(encode: (into: Buffer, at: number) => void, data?: Uint8Array): void {
    const dataLength = data?.byteLength ?? 0
    const size = this.size(dataLength)
    const slab: Slab = this.sender.reserve(size)
    const at = slab.used - size
    encode(slab.bytes, at)
    if (data) slab.bytes.set(data, at + this.dataAt)
    this.seal(slab.bytes, at, dataLength)
    this.sender.send(slab, at, at + size)
  }
}
