import { zeroRange } from '@emberglass/iscsi/device'
import { Conflict, Invalid, messageOf, StorageError } from '../../kernel/errors.ts'
import { defineJob, type JobDefinition } from '../../kernel/jobs/job-queue.ts'
import { attachmentsOf } from '../attachments/queries.ts'
import { type Block, enqueue } from '../context.ts'
import { InvalidState } from '../errors.ts'
import { actions, details, writeMessage } from '../messages/queries.ts'
import type { BlockRequest } from '../operation.ts'
import { authorize } from '../policy.ts'
import { backendVolume } from './backend-facts.ts'
import { copyImage, ImageUnacceptable } from './copy-image.ts'
import { checkImage, showImage } from './image-source.ts'
import { findVolume, getVolume, lockVolume, transitionVolume, updateVolume } from './queries.ts'

interface ReimagePayload {
  readonly [key: string]: string
  readonly volumeId: string
  readonly imageId: string
}

/**
 * Fills a volume anew from an image.
 * @param reserved the volume may be reserved, and stays so
 * @throws NotFound, Forbidden, InvalidState, Invalid; Conflict with several attachments @see specification 4.1
 */
export async function reimageVolume(
  block: Block,
  request: BlockRequest,
  id: string,
  wanted: { imageId: string; reserved: boolean },
): Promise<void> {
  const { project_id: owner } = await getVolume(block.db, request, id)
  authorize(request.identity, wanted.reserved ? 'volume:reimage_reserved' : 'volume:reimage', owner)
  const image = await showImage(block, request, wanted.imageId)
  await block.db.transaction().execute(async (transaction) => {
    const volume = await lockVolume(transaction, request, id)
    const allowed = wanted.reserved ? ['available', 'error', 'reserved'] : ['available', 'error']
    if (!allowed.includes(volume.status)) {
      throw new InvalidState(
        `Invalid volume: Volume ${id} status must be ${allowed.join(' or ')} to reimage, but it is ${volume.status}.`,
      )
    }
    if ((await attachmentsOf(transaction, id)).length > 1) {
      throw new Conflict(`Volume ${id} has several attachments: it cannot be reimaged.`)
    }
    if (volume.encryption_key_id !== null) {
      throw new Invalid(`Volume ${id} is encrypted: an image is not written over it.`)
    }
    checkImage(image, volume.size_gib)
    await updateVolume(transaction, id, {
      status: 'downloading',
      previous_status: volume.status,
      updated_at: block.now().toISOString(),
    })
    const payload: ReimagePayload = { volumeId: id, imageId: image.id }
    await enqueue(block, transaction, 'volume.reimage', {
      resource: `volume:${id}`,
      payload,
      requestId: request.requestId,
    })
  })
}

/** Empties the volume and copies the image. A run that follows one that died begins again. */
export function reimageVolumeJob(block: Block): JobDefinition<ReimagePayload> {
  return defineJob<ReimagePayload>({
    kind: 'volume.reimage',

    async run({ volumeId, imageId }, job) {
      const volume = await findVolume(block.db, volumeId)
      if (volume?.status !== 'downloading') return
      const { driver } = await block.backends.ready(volume.host, job.signal)
      {
        const facts = await backendVolume(block.db, block.settings, volume)
        await using device = await driver.open(facts, 'rw', job)
        await zeroRange(device, 0, device.sizeBytes, job)
        await device.flush(job)
      }
      if (!(await copyImage(block, driver, volume, imageId, job))) return
      await transitionVolume(block.db, volumeId, ['downloading'], {
        status: volume.previous_status === 'reserved' ? 'reserved' : 'available',
        previous_status: null,
        updated_at: block.now().toISOString(),
      })
      job.log.info({ volumeId, imageId }, 'volume filled from another image')
    },

    async fail({ volumeId }, error, job) {
      await block.db.transaction().execute(async (transaction) => {
        const failed = await transitionVolume(transaction, volumeId, ['downloading'], {
          status: 'error',
          previous_status: null,
          updated_at: block.now().toISOString(),
        })
        if (failed === undefined) return
        await writeMessage(block, transaction, {
          projectId: failed.project_id,
          requestId: job.requestId,
          resourceType: 'VOLUME',
          resourceId: volumeId,
          action: actions.reimageVolume,
          detail: error instanceof ImageUnacceptable ? details.imageFormatUnacceptable : details.unknownError,
          sentence: error instanceof StorageError ? messageOf(error) : undefined,
        })
      })
    },
  })
}
