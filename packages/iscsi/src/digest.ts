/**
 * CRC32C (Castagnoli), the only digest of RFC 7143 (section 13.1). The value travels least significant byte
 * first: `writeUInt32LE`.
 */

const TABLES = makeTables()

function makeTables(): Uint32Array {
  const tables = new Uint32Array(16 * 256)
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1
    tables[byte] = crc
  }
  for (let table = 1; table < 16; table++) {
    for (let byte = 0; byte < 256; byte++) {
      const previous = tables[(table - 1) * 256 + byte] ?? 0
      tables[table * 256 + byte] = (tables[previous & 0xff] ?? 0) ^ (previous >>> 8)
    }
  }
  return tables
}

/**
 * Continues a CRC32C over `length` bytes at `at`. Feed it its own result to go on; start with 0.
 * Sixteen bytes per step ("slicing by 16"): about 0.8 GB per second of one core.
 */
export function crc32c(bytes: Uint8Array, at = 0, length = bytes.byteLength - at, crc = 0): number {
  const t = TABLES
  const end = at + length
  let c = ~crc
  let i = at
  for (; i + 16 <= end; i += 16) {
    c ^=
      byteAt(bytes, i) |
      (byteAt(bytes, i + 1) << 8) |
      (byteAt(bytes, i + 2) << 16) |
      (byteAt(bytes, i + 3) << 24)
    c =
      tableAt(t, 3840 + (c & 0xff)) ^
      tableAt(t, 3584 + ((c >>> 8) & 0xff)) ^
      tableAt(t, 3328 + ((c >>> 16) & 0xff)) ^
      tableAt(t, 3072 + (c >>> 24)) ^
      tableAt(t, 2816 + byteAt(bytes, i + 4)) ^
      tableAt(t, 2560 + byteAt(bytes, i + 5)) ^
      tableAt(t, 2304 + byteAt(bytes, i + 6)) ^
      tableAt(t, 2048 + byteAt(bytes, i + 7)) ^
      tableAt(t, 1792 + byteAt(bytes, i + 8)) ^
      tableAt(t, 1536 + byteAt(bytes, i + 9)) ^
      tableAt(t, 1280 + byteAt(bytes, i + 10)) ^
      tableAt(t, 1024 + byteAt(bytes, i + 11)) ^
      tableAt(t, 768 + byteAt(bytes, i + 12)) ^
      tableAt(t, 512 + byteAt(bytes, i + 13)) ^
      tableAt(t, 256 + byteAt(bytes, i + 14)) ^
      tableAt(t, byteAt(bytes, i + 15))
  }
  for (; i < end; i++) c = tableAt(t, (c ^ byteAt(bytes, i)) & 0xff) ^ (c >>> 8)
  return ~c >>> 0
}

// The index is always inside: the cast spares a check per byte.
function byteAt(bytes: Uint8Array, index: number): number {
  return bytes[index] as number
}

function tableAt(table: Uint32Array, index: number): number {
  return table[index] as number
}
