import { type BlockDevice, writeSparse } from '@emberglass/iscsi/device'
import type { Call } from '../../../kernel/call.ts'
import type { BackupCall, BackupSource, ByteExtent } from '../../backup-driver.ts'
import { KnownZeroes } from '../chunked/allocation.ts'
import { BlockDigests } from '../chunked/block-digests.ts'
import { changedParts, differingParts } from '../chunked/changes.ts'
import { type Chunk, chunksOf, type Geometry } from '../chunked/geometry.ts'
import { inLanes } from '../chunked/lanes.ts'
import { zeroDigests } from '../chunked/zero-objects.ts'
import { isAsListed, lanes, readHashed, settled, unitsOf } from './blocks.ts'

/** The state of the image that is written to. */
export interface Beneath {
  /** Of the parent, whose bytes the image has, but for `astray`. */
  readonly digests: BlockDigests
  /** Where the image has other bytes than the parent: an increment that was given up or removed has left them. */
  readonly astray: readonly ByteExtent[]
}

/** What was written. */
export interface WrittenImage {
  readonly digests: BlockDigests
  /** Units of the image in which something was written. */
  readonly unitCount: number
}

/**
 * Makes an image's bytes those of a volume, writing only what differs.
 * @param beneath undefined: the image is new and reads as zeroes
 */
export async function writeImage(
  image: BlockDevice,
  volume: { readonly sizeBytes: number; readonly source: BackupSource },
  beneath: Beneath | undefined,
  call: BackupCall,
): Promise<WrittenImage> {
  const writer = new ImageWriter(image, volume, beneath)
  let doneBytes = 0
  await inLanes(lanes, chunksOf(volume.sizeBytes, writer.geometry), call, async (unit, inner) => {
    await writer.write(unit, inner)
    doneBytes += unit.length
    call.onProgress(doneBytes)
  })
  await image.flush(call)
  return writer
}

class ImageWriter implements WrittenImage {
  readonly geometry: Geometry
  readonly digests: BlockDigests
  unitCount = 0
  readonly #image: BlockDevice
  readonly #source: BackupSource
  readonly #beneath: Beneath | undefined
  readonly #zeroes: KnownZeroes

  constructor(
    image: BlockDevice,
    { sizeBytes, source }: { readonly sizeBytes: number; readonly source: BackupSource },
    beneath: Beneath | undefined,
  ) {
    const { chunkBytes, blockBytes } = unitsOf(sizeBytes)
    this.geometry = { chunkBytes, blockBytes: beneath?.digests.blockBytes ?? blockBytes }
    this.digests = BlockDigests.empty(this.geometry.blockBytes, sizeBytes)
    this.#image = image
    this.#source = source
    this.#beneath = beneath
    this.#zeroes = new KnownZeroes(source.device)
  }

  async write(unit: Chunk, call: BackupCall): Promise<void> {
    const { blockBytes } = this.geometry
    const beneath = this.#beneath
    const firstBlock = unit.offset / blockBytes
    const blocks = Math.ceil(unit.length / blockBytes)
    const before = beneath?.digests.of(firstBlock, blocks) ?? zeroDigests(unit.length, blockBytes)
    this.digests.set(firstBlock, before)
    const isAstray = beneath !== undefined && changedParts(unit, beneath.astray, blockBytes).length > 0
    const { changed } = this.#source
    const parts =
      beneath === undefined || isAstray || changed === undefined
        ? [unit]
        : changedParts(unit, changed, blockBytes)
    let wroteSomething = false
    for (const part of parts) {
      if (!isAstray && (await this.#isStillZero(part, call))) continue
      const { data, digests } = await readHashed(this.#source.device, part, blockBytes, call)
      const isSame = isAsListed(this.digests, part, digests)
      this.digests.set(part.offset / blockBytes, digests)
      if (isSame && !isAstray) continue
      const isAllNew = beneath === undefined || isAstray
      const differing = isAllNew ? [part] : differingParts(part, this.digests, beneath.digests)
      await this.#writeParts(part, data, differing, call)
      wroteSomething = true
    }
    if (!wroteSomething) return
    this.unitCount += 1
    call.onObject?.()
  }

  /** The volume is known to be zero where the image is. */
  async #isStillZero(part: Chunk, call: Call): Promise<boolean> {
    const { blockBytes } = this.geometry
    if (!isAsListed(this.digests, part, zeroDigests(part.length, blockBytes))) return false
    return await this.#zeroes.cover(part, call)
  }

  async #writeParts(part: Chunk, data: Uint8Array, differing: readonly Chunk[], call: Call): Promise<void> {
    const zeroes = { skipZeroes: true, targetIsZeroed: this.#beneath === undefined }
    await settled(
      differing.map(async ({ offset, length }) => {
        const at = offset - part.offset
        await writeSparse(this.#image, offset, data.subarray(at, at + length), zeroes, () => {}, call)
      }),
    )
  }
}
