import { FileReader } from '../../../disk-image/random-reader.ts'
import type { Call } from '../../../kernel/call.ts'
import { Invalid } from '../../../kernel/errors.ts'

/** Where the data of an archive's one member lies. */
export interface ZipMember {
  readonly method: 'stored' | 'deflated'
  /** Offset of its first byte in the file. */
  readonly start: number
  readonly packedBytes: number
}

const endSignature = 0x06054b50
const centralSignature = 0x02014b50
const localSignature = 0x04034b50
const zip64ExtraId = 0x0001
/** The end record, and the longest comment that may follow it. */
const endBytes = 22
const maxTailBytes = endBytes + 65_535

/**
 * Finds the data of a zip archive that has exactly one member.
 * @throws Invalid for any other archive
 * @see PKWARE's .ZIP File Format Specification, sections 4.3.7, 4.3.12, 4.3.16, 4.5.3
 */
export async function findZipMember(path: string, sizeBytes: number, call: Call): Promise<ZipMember> {
  await using reader = await FileReader.open(path)
  const read = async (offset: number, length: number): Promise<Buffer> => {
    if (offset < 0 || offset + length > sizeBytes) throw malformed()
    const bytes = Buffer.alloc(length)
    await reader.read(offset, bytes, call)
    return bytes
  }

  const tailBytes = Math.min(maxTailBytes, sizeBytes)
  if (tailBytes < endBytes) throw malformed()
  const tail = await read(sizeBytes - tailBytes, tailBytes)
  let end = tailBytes - endBytes
  while (end >= 0 && tail.readUInt32LE(end) !== endSignature) end -= 1
  if (end < 0) throw malformed()
  if (tail.readUInt16LE(end + 10) !== 1) {
    throw new Invalid('A zip archive must have exactly one member to become an image.')
  }
  const directoryBytes = tail.readUInt32LE(end + 12)
  // the directory lies right before the end record, or before the ones that zip64 puts between them
  const claimed = tail.readUInt32LE(end + 16)
  const start = claimed === 0xffffffff ? sizeBytes - tailBytes + end - 76 - directoryBytes : claimed
  const entry = await read(start, Math.min(directoryBytes, 46 + 3 * 65_535))
  if (entry.byteLength < 46 || entry.readUInt32LE(0) !== centralSignature) throw malformed()
  const flags = entry.readUInt16LE(8)
  if ((flags & 1) !== 0) throw new Invalid('An encrypted zip archive cannot become an image.')
  const method = entry.readUInt16LE(10)
  if (method !== 0 && method !== 8) throw new Invalid(`The zip archive is packed with method ${method}.`)

  const sizes = wideFields(entry)
  const local = await read(sizes.localOffset, 30)
  if (local.readUInt32LE(0) !== localSignature) throw malformed()
  const dataStart = sizes.localOffset + 30 + local.readUInt16LE(26) + local.readUInt16LE(28)
  if (dataStart + sizes.packedBytes > sizeBytes) throw malformed()
  return { method: method === 0 ? 'stored' : 'deflated', start: dataStart, packedBytes: sizes.packedBytes }
}

/** The packed size and the place of the local header, in 32 bits or, where those are full, in zip64's 64. */
function wideFields(entry: Buffer): { packedBytes: number; localOffset: number } {
  let packedBytes = entry.readUInt32LE(20)
  let localOffset = entry.readUInt32LE(42)
  const unpackedIsWide = entry.readUInt32LE(24) === 0xffffffff
  let position = 46 + entry.readUInt16LE(28)
  const end = Math.min(entry.byteLength, position + entry.readUInt16LE(30))
  while (position + 4 <= end) {
    const length = entry.readUInt16LE(position + 2)
    if (entry.readUInt16LE(position) === zip64ExtraId) {
      let field = position + 4 + (unpackedIsWide ? 8 : 0)
      const next = () => {
        if (field + 8 > Math.min(end, position + 4 + length)) throw malformed()
        const value = Number(entry.readBigUInt64LE(field))
        field += 8
        return value
      }
      if (packedBytes === 0xffffffff) packedBytes = next()
      if (localOffset === 0xffffffff) localOffset = next()
    }
    position += 4 + length
  }
  return { packedBytes, localOffset }
}

function malformed(): Invalid {
  return new Invalid('The image is not a well-formed zip archive.')
}
