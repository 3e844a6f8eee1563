import type { BlockDevice } from '@emberglass/iscsi/device'
import type { BackupCall } from '../../backup-driver.ts'
import { KnownZeroes } from '../chunked/allocation.ts'
import { DamagedBlob } from '../chunked/blob-store.ts'
import { BlockDigests } from '../chunked/block-digests.ts'
import { type Chunk, chunksOf } from '../chunked/geometry.ts'
import { inLanes } from '../chunked/lanes.ts'
import type { Sink } from '../chunked/read-backup.ts'
import { zeroDigests } from '../chunked/zero-objects.ts'
import { isAsListed, lanes, readHashed, unitBytes, unitsOf } from './blocks.ts'

/** A unit of an image does not hold what was written. */
export class DamagedUnit extends DamagedBlob {
  readonly unit: Chunk

  constructor(unit: Chunk) {
    super('its blocks have other digests than the sha256file says')
    this.unit = unit
  }

  /** Counted from 0. */
  get number(): number {
    return this.unit.offset / unitBytes
  }
}

/**
 * Reads a backup's bytes from its snapshot and checks every digest on the way.
 * @param expected undefined: nobody has kept digests, as with backups that others have made
 * @returns the digests that were found
 * @throws DamagedUnit for a unit that is damaged even when read a second time
 */
export async function readImage(
  image: BlockDevice,
  sizeBytes: number,
  expected: BlockDigests | undefined,
  sink: Sink,
  call: BackupCall,
): Promise<BlockDigests> {
  const { chunkBytes, blockBytes: usual } = unitsOf(sizeBytes)
  const blockBytes = expected?.blockBytes ?? usual
  const found = BlockDigests.empty(blockBytes, sizeBytes)
  const zeroes = new KnownZeroes(image)
  let doneBytes = 0
  const check = (unit: Chunk, digests: Uint8Array) => {
    if (expected !== undefined && !isAsListed(expected, unit, digests)) throw new DamagedUnit(unit)
    found.set(unit.offset / blockBytes, digests)
  }
  await inLanes(lanes, chunksOf(sizeBytes, { chunkBytes, blockBytes }), call, async (unit, inner) => {
    if (await zeroes.cover(unit, inner)) {
      check(unit, zeroDigests(unit.length, blockBytes))
      await sink.zero(unit.offset, unit.length, inner)
    } else {
      const read = async () => {
        const { data, digests } = await readHashed(image, unit, blockBytes, inner)
        check(unit, digests)
        return data
      }
      const data = await read().catch(async (error: unknown) => {
        if (!(error instanceof DamagedUnit)) throw error
        return await read()
      })
      await sink.write(unit.offset, data, inner)
    }
    doneBytes += unit.length
    call.onProgress(doneBytes)
    call.onObject?.()
  })
  await sink.flush(call)
  return found
}
