/**
 * CRC32C (Castagnoli), the only digest of RFC 7143 (section 13.1). The value travels least significant byte
 * first: `writeUInt32LE`.
 */

/** Signed: what bit operations give and take. */
const TABLES = makeTables()

function makeTables(): Int32Array {
  const tables = new Int32Array(16 * 256)
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

/** Whether an Int32Array reads bytes in the order in which the CRC takes them. */
const LITTLE_ENDIAN = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1
/** Bytes from which on reading words pays for the view that it takes. */
const MIN_WORD_BYTES = 512

/**
 * Continues a CRC32C over `length` bytes at `at`. Feed it its own result to go on; start with 0.
 * Sixteen bytes per step ("slicing by 16"): about 1.5 GB per second of one core.
 */
export function crc32c(bytes: Uint8Array, at = 0, length = bytes.byteLength - at, crc = 0): number {
  const inWords = LITTLE_ENDIAN && length >= MIN_WORD_BYTES
  return ~(inWords ? byWords(bytes, at, length, ~crc) : byBytes(bytes, at, length, ~crc)) >>> 0
}

/** Four words per step, after the bytes up to the first word boundary. */
function byWords(bytes: Uint8Array, at: number, length: number, state: number): number {
  const t = TABLES
  const before = -(bytes.byteOffset + at) & 3
  const start = at + before
  const steps = (length - before) >>> 4
  const words = new Int32Array(bytes.buffer, bytes.byteOffset + start, steps * 4)
  let c = byBytes(bytes, at, before, state)
  for (let i = 0; i < words.length; i += 4) {
    const w0 = c ^ wordAt(words, i)
    const w1 = wordAt(words, i + 1)
    const w2 = wordAt(words, i + 2)
    const w3 = wordAt(words, i + 3)
    c =
      tableAt(t, 3840 + (w0 & 0xff)) ^
      tableAt(t, 3584 + ((w0 >>> 8) & 0xff)) ^
      tableAt(t, 3328 + ((w0 >>> 16) & 0xff)) ^
      tableAt(t, 3072 + (w0 >>> 24)) ^
      tableAt(t, 2816 + (w1 & 0xff)) ^
      tableAt(t, 2560 + ((w1 >>> 8) & 0xff)) ^
      tableAt(t, 2304 + ((w1 >>> 16) & 0xff)) ^
      tableAt(t, 2048 + (w1 >>> 24)) ^
      tableAt(t, 1792 + (w2 & 0xff)) ^
      tableAt(t, 1536 + ((w2 >>> 8) & 0xff)) ^
      tableAt(t, 1280 + ((w2 >>> 16) & 0xff)) ^
      tableAt(t, 1024 + (w2 >>> 24)) ^
      tableAt(t, 768 + (w3 & 0xff)) ^
      tableAt(t, 512 + ((w3 >>> 8) & 0xff)) ^
      tableAt(t, 256 + ((w3 >>> 16) & 0xff)) ^
      tableAt(t, w3 >>> 24)
  }
  const done = before + steps * 16
  return byBytes(bytes, at + done, length - done, c)
}

/** Headers, and what is left over. */
function byBytes(bytes: Uint8Array, at: number, length: number, state: number): number {
  const t = TABLES
  const end = at + length
  let c = state
  let i = at
  for (; i + 4 <= end; i += 4) {
    c ^=
      byteAt(bytes, i) |
      (byteAt(bytes, i + 1) << 8) |
      (byteAt(bytes, i + 2) << 16) |
      (byteAt(bytes, i + 3) << 24)
    c =
      tableAt(t, 768 + (c & 0xff)) ^
      tableAt(t, 512 + ((c >>> 8) & 0xff)) ^
      tableAt(t, 256 + ((c >>> 16) & 0xff)) ^
      tableAt(t, c >>> 24)
  }
  for (; i < end; i++) c = tableAt(t, (c ^ byteAt(bytes, i)) & 0xff) ^ (c >>> 8)
  return c
}

// The index is always inside: the cast spares a check per byte.
function byteAt(bytes: Uint8Array, index: number): number {
  return bytes[index] as number
}

function wordAt(words: Int32Array, index: number): number {
  return words[index] as number
}

function tableAt(table: Int32Array, index: number): number {
  return table[index] as number
}
