/**
 * What stands before an object on the array: a C struct of 50 bytes, little-endian, of which the first version of
 * Datera's driver wrote the same.
 *
 *     0   4  number of the object, signed: 1…N, -1 the metadata, -2 the digests
 *     4   4  nothing
 *     8   8  bytes of the payload
 *    16  32  MD5 of the payload, hexadecimal
 *    48   2  nothing
 *
 * @see datera-drivers specification 5.1
 */
export interface ObjectHeader {
  readonly number: number
  readonly payloadBytes: number
  readonly md5: string
}

export const headerBytes = 50

export function encodeHeader({ number, payloadBytes, md5 }: ObjectHeader): Buffer {
  const header = Buffer.alloc(headerBytes)
  header.writeInt32LE(number, 0)
  header.writeBigUInt64LE(BigInt(payloadBytes), 8)
  header.write(md5, 16, 32, 'latin1')
  return header
}

export function decodeHeader(bytes: Uint8Array): ObjectHeader {
  const header = Buffer.from(bytes.buffer, bytes.byteOffset, headerBytes)
  return {
    number: header.readInt32LE(0),
    payloadBytes: Number(header.readBigUInt64LE(8)),
    md5: header.toString('latin1', 16, 48),
  }
}

/** The number of an object, by its name. */
export function numberOf(name: string): number {
  if (name.endsWith('_metadata')) return -1
  if (name.endsWith('_sha256file')) return -2
  return Number(name.slice(name.lastIndexOf('-') + 1))
}
