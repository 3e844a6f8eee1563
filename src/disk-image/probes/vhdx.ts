import { found, type Probe } from '../probe.ts'

const regionTableAt = 192 * 1024
const tableBytes = 64 * 1024
const maxEntries = 2047
const metadataRegion = '06a27c8b90479a4bb8fe575f050f886e'
const virtualDiskSize = '2442a52f1bcd7648b2115dbed83bf4b8'

/**
 * VHDX: signature, region table at 192 KiB, metadata table, virtual disk size item (MS-VHDX 2.2.3, 2.6). The
 * search is bounded by the two tables; anything out of place in them is refused.
 */
export function* vhdxProbe(): Probe {
  const identifier = yield { at: 0, length: 8 }
  if (identifier.toString('latin1') !== 'vhdxfile') return undefined
  const malformed = (what: string) =>
    found(0, [{ check: 'tables', message: `The VHDX image is malformed: ${what}.` }])

  const regions = yield { at: regionTableAt, length: tableBytes }
  if (regions.byteLength < 16 || regions.subarray(0, 4).toString('latin1') !== 'regi') {
    return malformed('there is no region table')
  }
  const regionCount = regions.readUInt32LE(8)
  if (regionCount > maxEntries) return malformed('the region table has too many entries')
  let metadataAt: number | undefined
  for (let entry = 16; entry < 16 + regionCount * 32 && entry + 32 <= regions.byteLength; entry += 32) {
    if (regions.toString('hex', entry, entry + 16) !== metadataRegion) continue
    metadataAt = Number(regions.readBigUInt64LE(entry + 16))
    break
  }
  if (metadataAt === undefined) return malformed('there is no metadata region')
  if (metadataAt < regionTableAt + tableBytes || !Number.isSafeInteger(metadataAt)) {
    return malformed('the metadata region overlaps the header')
  }

  const metadata = yield { at: metadataAt, length: tableBytes }
  if (metadata.byteLength < 32 || metadata.subarray(0, 8).toString('latin1') !== 'metadata') {
    return malformed('there is no metadata table')
  }
  const itemCount = metadata.readUInt16LE(10)
  if (itemCount > maxEntries) return malformed('the metadata table has too many entries')
  for (let entry = 32; entry < 32 + itemCount * 32 && entry + 32 <= metadata.byteLength; entry += 32) {
    if (metadata.toString('hex', entry, entry + 16) !== virtualDiskSize) continue
    const itemAt = metadata.readUInt32LE(entry + 16)
    if (itemAt < tableBytes || metadata.readUInt32LE(entry + 20) !== 8) {
      return malformed('the virtual disk size is out of place')
    }
    const item = yield { at: metadataAt + itemAt, length: 8 }
    if (item.byteLength < 8) return malformed('the virtual disk size is missing')
    return found(Number(item.readBigUInt64LE(0)))
  }
  return malformed('there is no virtual disk size')
}
