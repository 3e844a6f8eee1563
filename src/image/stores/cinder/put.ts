import { type BlockDevice, writeStream } from '@emberglass/iscsi/device'
import type { BlockStorageClient, VolumeFacts } from '../../../clients/block-storage.ts'
import { type Bytes, exactBytes, GiB, givingBack, MiB, watchBytes } from '../../../kernel/bytes.ts'
import { type Call, sleep } from '../../../kernel/call.ts'
import { BackendError, Conflict, messageOf, NoCapacity, NotFound } from '../../../kernel/errors.ts'
import type { PutCall } from '../../image-store.ts'
import { type AttachedVolume, type AttachOptions, asKernelError, attachVolume } from './attached-volume.ts'
import { GrowingVolume } from './growing-volume.ts'

/** Bytes of one write, and writes under way: together the memory that an upload takes. */
const chunkBytes = MiB
const depth = 8
/** Between two looks at a volume: doubled each time, up to the most. Milliseconds. */
const firstLookMs = 50
const mostLookMs = 15_000
/** How long removing a half-written image may take, in milliseconds. */
const cleanUpMs = 120_000

/** What every verb of the store works with. */
export interface CinderWork {
  readonly client: BlockStorageClient
  readonly attach: AttachOptions
  /** How long a volume may take to become what was asked for, in milliseconds. */
  readonly transitionMs: number
  readonly volumeType: string | undefined
  readonly extendAttached: boolean
  /** Disk formats whose volumes are marked bootable. */
  readonly bootableFormats: readonly string[]
}

/** Name of an image's volume. */
export function volumeName(imageId: string): string {
  return `image-${imageId}`
}

/** Exact bytes of the image on a volume; absent while it is being written. */
export function imageSizeOf({ metadata }: VolumeFacts): number | undefined {
  const size = Number(metadata['image_size'] ?? Number.NaN)
  return Number.isSafeInteger(size) && size >= 0 ? size : undefined
}

/**
 * Waits until a volume is in a state.
 * @throws BackendError when it takes another one that is no way to it, or too long
 */
export async function reachStatus(
  { client, transitionMs }: CinderWork,
  volumeId: string,
  wanted: string,
  passing: readonly string[],
  call: Call,
): Promise<VolumeFacts> {
  const deadline = Date.now() + transitionMs
  for (let pauseMs = firstLookMs; ; pauseMs = Math.min(mostLookMs, pauseMs * 2)) {
    const volume = await client.show(volumeId, call.signal)
    if (volume.status === wanted) return volume
    if (!passing.includes(volume.status)) {
      throw new BackendError(`The image volume ${volumeId} became ${volume.status} instead of ${wanted}.`, {
        left: 'partial',
      })
    }
    if (Date.now() > deadline) {
      throw new BackendError(
        `The image volume ${volumeId} is still ${volume.status} after ${transitionMs} ms.`,
        {
          left: 'partial',
        },
      )
    }
    await sleep(pauseMs, call.signal)
  }
}

/** Deletes a volume and waits until it is gone. Already gone: fine. @throws Conflict while it is in use */
export async function removeVolume(work: CinderWork, volumeId: string, call: Call): Promise<void> {
  await work.client.delete(volumeId, call.signal)
  try {
    await reachStatus(work, volumeId, 'deleted', ['deleting', 'available'], call)
  } catch (error) {
    if (!(error instanceof NotFound)) throw error
  }
}

/**
 * Writes an image to a volume of its own. When anything fails, the volume is removed.
 * @returns the volume, and the bytes written
 */
export async function putImage(
  work: CinderWork,
  imageId: string,
  data: Bytes,
  sizeBytes: number | undefined,
  call: PutCall,
): Promise<{ volumeId: string; sizeBytes: number }> {
  await removeHalfWritten(work, imageId, call)
  const owner = call.requester?.projectId
  const { id: volumeId } = await work.client.create(
    {
      name: volumeName(imageId),
      sizeGib: Math.max(1, Math.ceil((sizeBytes ?? 0) / GiB)),
      type: work.volumeType,
      metadata: { glance_image_id: imageId, ...(owner === undefined ? {} : { image_owner: owner }) },
    },
    call.signal,
  )
  const source = watchBytes(sizeBytes === undefined ? data : exactBytes(data, sizeBytes))
  try {
    await reachStatus(work, volumeId, 'available', ['creating'], call)
    const written = await write(work, volumeId, givingBack(source.bytes), sizeBytes, call)
    await protect(work, volumeId, written, call)
    return { volumeId, sizeBytes: written }
  } catch (error) {
    const cleaning: Call = { signal: AbortSignal.timeout(cleanUpMs), log: call.log }
    try {
      await removeVolume(work, volumeId, cleaning)
    } catch (second) {
      call.log.error({ imageId, volumeId, error: messageOf(second) }, 'a half-written image volume stays')
    }
    throw source.threw(error) ? error : asKernelError(error, call.signal)
  }
}

/** @throws Conflict when the image is there already */
async function removeHalfWritten(work: CinderWork, imageId: string, call: Call): Promise<void> {
  for (const volume of await work.client.named(volumeName(imageId), call.signal)) {
    if (imageSizeOf(volume) !== undefined || volume.attachments.length > 0) {
      throw new Conflict(`Image ${imageId} is in the store already.`, { details: { imageId } })
    }
    call.log.warn({ imageId, volumeId: volume.id }, 'replacing a half-written image')
    await removeVolume(work, volume.id, call)
  }
}

async function write(
  work: CinderWork,
  volumeId: string,
  data: Bytes,
  sizeBytes: number | undefined,
  call: PutCall,
): Promise<number> {
  const options = { chunkBytes, depth, skipZeroes: true }
  const attach = () => attachVolume(work.client, volumeId, 'rw', work.attach, call)
  let attached: AttachedVolume | undefined = await attach()
  const detach = async () => {
    const leaving = attached
    attached = undefined
    await leaving?.[Symbol.asyncDispose]()
  }

  const grow = async (sizeGib: number): Promise<BlockDevice> => {
    call.log.info({ volumeId, sizeGib }, 'the image is larger than its volume, which grows')
    if (work.extendAttached && attached !== undefined) {
      await extend(work, volumeId, sizeGib, 'in-use', call)
      const seen = await attached.rescan(call)
      if (seen >= sizeGib * GiB) return attached.device
      throw new BackendError(`The image volume does not show its new size of ${sizeGib} GiB.`, {
        left: 'partial',
      })
    }
    await attached?.device.flush(call)
    await detach()
    await reachStatus(work, volumeId, 'available', ['in-use', 'detaching'], call)
    await extend(work, volumeId, sizeGib, 'available', call)
    attached = await attach()
    return attached.device
  }

  try {
    if (sizeBytes !== undefined) {
      return (await writeStream(data, attached.device, options, call)).totalBytes
    }
    const growing = new GrowingVolume(attached.device, grow)
    const { totalBytes } = await writeStream(data, growing, options, call)
    await growing.reach(totalBytes) // zeroes at the end are not written
    return totalBytes
  } finally {
    await detach()
  }
}

/** @throws NoCapacity */
async function extend(
  work: CinderWork,
  volumeId: string,
  sizeGib: number,
  status: string,
  call: Call,
): Promise<void> {
  try {
    await work.client.extend(volumeId, sizeGib, call.signal)
    const volume = await reachStatus(work, volumeId, status, ['extending'], call)
    if (volume.sizeGib >= sizeGib) return
  } catch (error) {
    call.signal.throwIfAborted()
    throw new NoCapacity(`The image volume could not grow to ${sizeGib} GiB: ${messageOf(error)}`, {
      cause: error,
    })
  }
  throw new NoCapacity(`The image volume did not grow to ${sizeGib} GiB.`)
}

/** From here on the volume is whole, and must not change. */
async function protect(work: CinderWork, volumeId: string, sizeBytes: number, call: PutCall): Promise<void> {
  const { client, bootableFormats } = work
  await reachStatus(work, volumeId, 'available', ['in-use', 'detaching'], call)
  if (call.diskFormat !== undefined && bootableFormats.includes(call.diskFormat)) {
    await client.setBootable(volumeId, true, call.signal)
  }
  await client.setReadOnly(volumeId, true, call.signal)
  await client.addMetadata(volumeId, { image_size: String(sizeBytes) }, call.signal)
}
