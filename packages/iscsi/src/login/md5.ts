/** MD5 (RFC 1321), for CHAP alone: a runtime in FIPS mode refuses to compute it. Not for anything else. */

const SHIFTS = [7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21]
const SINES = Array.from(
  { length: 64 },
  (_, index) => Math.floor(Math.abs(Math.sin(index + 1)) * 2 ** 32) | 0,
)

export function md5(message: Uint8Array): Buffer {
  const length = message.byteLength
  const block = Buffer.alloc((((length + 8) >> 6) + 1) * 64)
  block.set(message)
  block.writeUInt8(0x80, length)
  block.writeUInt32LE((length * 8) >>> 0, block.byteLength - 8)
  block.writeUInt32LE(Math.floor(length / 0x2000_0000), block.byteLength - 4)

  let a0 = 0x67452301
  let b0 = 0xefcdab89 | 0
  let c0 = 0x98badcfe | 0
  let d0 = 0x10325476
  for (let at = 0; at < block.byteLength; at += 64) {
    let a = a0
    let b = b0
    let c = c0
    let d = d0
    for (let step = 0; step < 64; step++) {
      const round = step >> 4
      const mixed =
        round === 0
          ? (b & c) | (~b & d)
          : round === 1
            ? (d & b) | (~d & c)
            : round === 2
              ? b ^ c ^ d
              : c ^ (b | ~d)
      const word =
        round === 0
          ? step
          : round === 1
            ? (5 * step + 1) & 15
            : round === 2
              ? (3 * step + 5) & 15
              : (7 * step) & 15
      const sum = (a + mixed + (SINES[step] ?? 0) + block.readInt32LE(at + 4 * word)) | 0
      const shift = SHIFTS[round * 4 + (step & 3)] ?? 0
      a = d
      d = c
      c = b
      b = (b + ((sum << shift) | (sum >>> (32 - shift)))) | 0
    }
    a0 = (a0 + a) | 0
    b0 = (b0 + b) | 0
    c0 = (c0 + c) | 0
    d0 = (d0 + d) | 0
  }
  const digest = Buffer.alloc(16)
  digest.writeInt32LE(a0, 0)
  digest.writeInt32LE(b0, 4)
  digest.writeInt32LE(c0, 8)
  digest.writeInt32LE(d0, 12)
  return digest
}
