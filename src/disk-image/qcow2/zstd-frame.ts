const magic = 0xfd2fb528

/**
 * Length of the first Zstandard frame, so that what follows it in the last sector can be cut off: Node's decoder
 * takes the filling for another frame.
 * @returns undefined when no whole frame stands there
 * @see RFC 8878 section 3.1.1
 */
export function zstdFrameBytes(packed: Buffer): number | undefined {
  if (packed.byteLength < 6 || packed.readUInt32LE(0) !== magic) return undefined
  const descriptor = packed.readUInt8(4)
  const singleSegment = (descriptor & 0x20) !== 0
  const sizeFlag = descriptor >>> 6
  const sizeBytes = sizeFlag === 0 ? (singleSegment ? 1 : 0) : 2 ** sizeFlag
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] ?? 0
  let at = 5 + (singleSegment ? 0 : 1) + dictionaryBytes + sizeBytes
  for (;;) {
    if (at + 3 > packed.byteLength) return undefined
    const block = packed.readUIntLE(at, 3)
    const repeatsOneByte = ((block >>> 1) & 3) === 1
    at += 3 + (repeatsOneByte ? 1 : block >>> 3)
    if ((block & 1) !== 0) break
  }
  if ((descriptor & 4) !== 0) at += 4
  return at <= packed.byteLength ? at : undefined
}
