import { Invalid } from '../../kernel/errors.ts'

/** `QFI\xfb` */
export const qcow2Magic = 0x514649fb

/** Incompatible feature bits of version 3: a reader that does not know one must not open the image. */
export const incompatible = {
  externalData: 1n << 2n,
  compressionType: 1n << 3n,
  extendedL2: 1n << 4n,
  /** Dirty and corrupt (bits 0 and 1) concern writers only. */
  known: 0b11111n,
} as const

/** As QEMU: a larger table of first level is not a real image. */
const maxL1Bytes = 32 * 1024 * 1024

export interface Qcow2Header {
  readonly version: 2 | 3
  /** Bytes the guest sees. */
  readonly virtualSizeBytes: number
  readonly clusterBits: number
  readonly clusterBytes: number
  readonly l1Offset: number
  /** Entries of the first-level table that the size needs; the table may be longer. */
  readonly l1Entries: number
  /** Second-level entries are 16 bytes and carry a bitmap of 32 subclusters. */
  readonly extendedL2: boolean
  readonly compression: 'deflate' | 'zstd'
}

/** Bytes that `parseHeader` wants to see, fewer if the file is shorter. */
export const headerBytes = 112

/**
 * Reads the header of a version 2 or 3 image.
 * @param fileBytes length of the whole file: tables have to lie inside
 * @throws Invalid when the image is malformed, or needs another file or a key to be read
 * @see QEMU docs/interop/qcow2
 */
export function parseHeader(bytes: Uint8Array, fileBytes: number): Qcow2Header {
  const header = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (header.byteLength < 8 || header.readUInt32BE(0) !== qcow2Magic) {
    throw new Invalid('The image is not in the qcow2 format.')
  }
  const version = header.readUInt32BE(4)
  if (version !== 2 && version !== 3) throw new Invalid(`The qcow2 version ${version} is not supported.`)
  if (header.byteLength < (version === 2 ? 72 : 104)) throw malformed('its header is cut short')
  if (header.readBigUInt64BE(8) !== 0n) throw new Invalid('The qcow2 image has a backing file.')
  if (header.readUInt32BE(32) !== 0) throw new Invalid('The qcow2 image is encrypted.')

  const features = version === 3 ? header.readBigUInt64BE(72) : 0n
  if ((features & incompatible.externalData) !== 0n) {
    throw new Invalid('The qcow2 image has an external data file.')
  }
  if ((features & ~incompatible.known) !== 0n) {
    throw new Invalid('The qcow2 image has incompatible features that are not known.')
  }
  const extendedL2 = (features & incompatible.extendedL2) !== 0n

  const clusterBits = header.readUInt32BE(20)
  if (clusterBits < (extendedL2 ? 14 : 9) || clusterBits > 21) {
    throw malformed(`its clusters of 2^${clusterBits} bytes are out of range`)
  }
  const clusterBytes = 2 ** clusterBits
  const virtualSizeBytes = Number(header.readBigUInt64BE(24))
  const coveredByTable = (clusterBytes / (extendedL2 ? 16 : 8)) * clusterBytes
  const l1Entries = Math.ceil(virtualSizeBytes / coveredByTable)
  const l1Offset = Number(header.readBigUInt64BE(40))
  if (l1Entries * 8 > maxL1Bytes || !Number.isSafeInteger(virtualSizeBytes)) {
    throw malformed(`its size of ${virtualSizeBytes} bytes is out of range`)
  }
  if (header.readUInt32BE(36) < l1Entries) throw malformed('its first-level table is too small')
  if (l1Offset % clusterBytes !== 0 || l1Offset + l1Entries * 8 > fileBytes) {
    throw malformed('its first-level table does not lie inside the file')
  }
  const compression = compressionOf(header, version, features)
  return {
    version,
    virtualSizeBytes,
    clusterBits,
    clusterBytes,
    l1Offset,
    l1Entries,
    extendedL2,
    compression,
  }
}

function compressionOf(header: Buffer, version: number, features: bigint): 'deflate' | 'zstd' {
  if ((features & incompatible.compressionType) === 0n) return 'deflate'
  if (version < 3 || header.readUInt32BE(100) < 105 || header.byteLength < 105) {
    throw malformed('it names no compression type')
  }
  const type = header.readUInt8(104)
  if (type === 0) return 'deflate'
  if (type === 1) return 'zstd'
  throw new Invalid(`The qcow2 image is compressed in a way that is not known (type ${type}).`)
}

/** The image contradicts itself; not the fault of whoever reads it. */
export function malformed(what: string): Invalid {
  return new Invalid(`The qcow2 image is malformed: ${what}.`)
}
