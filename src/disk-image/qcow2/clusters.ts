import { malformed, type Qcow2Header } from './header.ts'

/** Where the bytes of one cluster, or of one subcluster, are. */
export type Mapping =
  /** Nothing was ever written here; reads as zeroes. */
  | { readonly kind: 'hole' }
  /** Written as zeroes. */
  | { readonly kind: 'zero' }
  /** Plain bytes; `hostOffset` is that of the first byte of the unit asked for. */
  | { readonly kind: 'data'; readonly hostOffset: number }
  /** A whole cluster, compressed. */
  | { readonly kind: 'compressed'; readonly hostOffset: number; readonly hostBytes: number }

const hole: Mapping = { kind: 'hole' }
const zero: Mapping = { kind: 'zero' }

/** Number of subclusters in a cluster when second-level entries are extended. */
export const subclusters = 32

/** Offset bits 9 to 55 of a table entry; exact, since everything beyond the file is refused. */
export function entryOffset(high: number, low: number): number {
  return (high & 0x00ff_ffff) * 2 ** 32 + ((low & 0xffff_fe00) >>> 0)
}

/**
 * Reads one second-level entry.
 * @param entry offset of the entry in `table`
 * @param subcluster which of the 32 parts is meant, when entries are extended
 * @throws Invalid when the entry points outside the file or contradicts itself
 */
export function mappingOf(
  header: Qcow2Header,
  table: Buffer,
  entry: number,
  subcluster: number,
  fileBytes: number,
): Mapping {
  const high = table.readUInt32BE(entry)
  const low = table.readUInt32BE(entry + 4)
  if ((high & 0x4000_0000) !== 0) return compressedAt(header, high, low, fileBytes)
  const hostOffset = entryOffset(high, low)
  if (hostOffset !== 0 && (hostOffset % header.clusterBytes !== 0 || hostOffset >= fileBytes)) {
    throw malformed(`a cluster is said to lie at byte ${hostOffset} of a file of ${fileBytes} bytes`)
  }
  if (header.extendedL2) return subclusterAt(header, table, entry, subcluster, hostOffset)
  if ((low & 1) !== 0) {
    if (header.version === 2) throw malformed('it has a zero cluster, which version 2 does not know')
    return zero
  }
  return hostOffset === 0 ? hole : { kind: 'data', hostOffset }
}

function subclusterAt(
  header: Qcow2Header,
  table: Buffer,
  entry: number,
  subcluster: number,
  hostOffset: number,
): Mapping {
  const isZero = (table.readUInt32BE(entry + 8) >>> subcluster) & 1
  const isAllocated = (table.readUInt32BE(entry + 12) >>> subcluster) & 1
  if (isZero === 1 && isAllocated === 1) throw malformed('a subcluster is both zero and allocated')
  if (isZero === 1) return zero
  if (isAllocated === 0) return hole
  if (hostOffset === 0) throw malformed('a subcluster is allocated nowhere')
  return { kind: 'data', hostOffset: hostOffset + (subcluster * header.clusterBytes) / subclusters }
}

/** Host offset in the low `62 - (clusterBits - 8)` bits, then the number of further 512-byte sectors. */
function compressedAt(header: Qcow2Header, high: number, low: number, fileBytes: number): Mapping {
  const highOffsetBits = 62 - (header.clusterBits - 8) - 32
  const hostOffset = (high & (2 ** highOffsetBits - 1)) * 2 ** 32 + low
  const sectors = ((high & 0x3fff_ffff) >>> highOffsetBits) + 1
  if (hostOffset >= fileBytes) {
    throw malformed(
      `a compressed cluster is said to lie at byte ${hostOffset} of a file of ${fileBytes} bytes`,
    )
  }
  // The last sector may be cut off by the end of the file.
  const hostBytes = Math.min(sectors * 512 - (hostOffset % 512), fileBytes - hostOffset)
  return { kind: 'compressed', hostOffset, hostBytes }
}
