import { type BlockDevice, copyDevice, IscsiError } from '@emberglass/iscsi/device'
import { FormatInspector } from '../../disk-image/inspect.ts'
import { openQcow2 } from '../../disk-image/qcow2/device.ts'
import { readerOfDevice } from '../../disk-image/random-reader.ts'
import { judge } from '../../disk-image/verdict.ts'
import { GiB, MiB } from '../../kernel/bytes.ts'
import type { Call } from '../../kernel/call.ts'
import { BackendError, Invalid, messageOf, Unsupported } from '../../kernel/errors.ts'
import type { Block } from '../context.ts'
import type { ImageFacts } from '../image-service.ts'
import type { VolumeDriver } from '../volume-driver.ts'
import { backendVolume } from './backend-facts.ts'
import { imageMetadataOf } from './image-source.ts'
import { findVolume, transitionVolume, type VolumeRow } from './queries.ts'

/** The image's data is not what a volume can be made of. Its message is for the user. */
export class ImageUnacceptable extends Invalid {
  readonly tooLarge: boolean

  constructor(message: string, options: { tooLarge?: boolean; cause?: unknown } = {}) {
    super(message, { cause: options.cause })
    this.tooLarge = options.tooLarge ?? false
  }
}

/** As much of the head as any format's header and tables of safety checks need. */
const inspectedBytes = MiB
/** Formats whose stored bytes are the disk itself. */
const plainFormats = ['raw', 'iso', 'aki', 'ari', 'ami']
/** Pause before a copy that broke off is made again, in milliseconds. */
const copyRetryMs = 2_000
/** A fresh volume reads as zeroes. This deep, neither end waits for the other on a busy machine; each holds 1 MiB. */
const copyOptions = { skipZeroes: true, targetIsZeroed: true, depth: 16 } as const
/** How often a running copy looks whether the volume is still wanted, in milliseconds. */
const lookMs = 2_000

/**
 * Fills a fresh volume, which reads as zeroes, with an image's disk; sets its image metadata.
 * @returns false when somebody deleted the volume meanwhile
 * @throws ImageUnacceptable; what reading the image or writing the volume throws
 */
export async function copyImage(
  block: Block,
  driver: VolumeDriver,
  volume: VolumeRow,
  imageId: string,
  call: Call,
): Promise<boolean> {
  const image = await block.images.show(imageId, undefined, call.signal)
  if (image.status !== 'active')
    throw new ImageUnacceptable(`Image ${imageId} is ${image.status}, not active.`)
  const unwanted = new AbortController()
  const watch = setInterval(() => {
    void findVolume(block.db, volume.id).then(
      (row) => {
        if (row === undefined || row.status !== 'downloading') unwanted.abort(new Error('volume deleted'))
      },
      () => {}, // the database is asked again
    )
  }, lookMs)
  watch.unref()
  try {
    const copying: Call = { signal: AbortSignal.any([call.signal, unwanted.signal]), log: call.log }
    await using source = await openDisk(await block.images.open(imageId, copying), image, volume, copying)
    const facts = await backendVolume(block.db, block.settings, volume)
    await using target = await driver.open(facts, 'rw', copying)
    const copied = await copyDevice(source, target, copyOptions, copying)
    call.log.info({ volumeId: volume.id, imageId, ...copied }, 'image copied to volume')
  } catch (error) {
    if (unwanted.signal.aborted && !call.signal.aborted) return false
    if (error instanceof IscsiError) {
      // Part of the image is on the volume. The job begins again with an empty one.
      throw new BackendError(`The copy to the volume broke off: ${messageOf(error)}.`, {
        left: 'partial',
        retryAfterMs: copyRetryMs,
        cause: error,
      })
    }
    throw error
  } finally {
    clearInterval(watch)
  }
  return await rememberImage(block, volume.id, image)
}

/** The volume is one of that image's from now on. @returns false when somebody deleted it meanwhile */
export async function rememberImage(block: Block, volumeId: string, image: ImageFacts): Promise<boolean> {
  const known = await transitionVolume(block.db, volumeId, ['downloading'], {
    bootable: 1,
    image_metadata: JSON.stringify(imageMetadataOf(image)),
  })
  return known !== undefined
}

/** The disk inside the image, after a look at what the data really is. */
export async function openDisk(
  stored: BlockDevice,
  image: ImageFacts,
  volume: VolumeRow,
  call: Call,
): Promise<BlockDevice> {
  const sizeBytes = image.sizeBytes ?? stored.sizeBytes
  const format = image.diskFormat ?? 'raw'
  let disk: BlockDevice | undefined
  try {
    if (format !== 'qcow2' && !plainFormats.includes(format)) {
      throw new ImageUnacceptable(
        `Volumes are made of raw and qcow2 images, not of ${format}: convert it with qemu-img and upload it again.`,
      )
    }
    const head = new Uint8Array(Math.min(inspectedBytes, stored.sizeBytes))
    if (head.byteLength > 0) await stored.read(0, head, call)
    const inspector = new FormatInspector()
    inspector.push(head.subarray(0, Math.min(head.byteLength, sizeBytes)))
    const inspection = inspector.finish()
    const verdict = judge(inspection, format)
    if (!verdict.accepted) throw new ImageUnacceptable(verdict.message)
    disk = format === 'qcow2' ? await openAsQcow2(stored, sizeBytes, call) : stored
    const volumeBytes = volume.size_gib * GiB
    if (disk.sizeBytes > volumeBytes) {
      throw new ImageUnacceptable(
        `The image's disk has ${disk.sizeBytes} bytes, more than the ${volume.size_gib} GiB of the volume.`,
        { tooLarge: true },
      )
    }
    return disk
  } catch (error) {
    await (disk ?? stored)[Symbol.asyncDispose]()
    throw error
  }
}

async function openAsQcow2(stored: BlockDevice, sizeBytes: number, call: Call): Promise<BlockDevice> {
  try {
    return await openQcow2(readerOfDevice(stored, sizeBytes), call)
  } catch (error) {
    if (!(error instanceof Invalid) && !(error instanceof Unsupported)) throw error
    throw new ImageUnacceptable(messageOf(error), { cause: error })
  }
}
