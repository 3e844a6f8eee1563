import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type BlockDevice, readStream } from '@emberglass/iscsi/device'
import { messageOf, StorageError } from '../../kernel/errors.ts'
import { defineJob, type Job, type JobDefinition } from '../../kernel/jobs/job-queue.ts'
import type { Block } from '../context.ts'
import { actions, details, writeMessage } from '../messages/queries.ts'
import { backendVolume } from './backend-facts.ts'
import { convertedDisk } from './convert-disk.ts'
import { findVolume, transitionVolume } from './queries.ts'
import type { UploadImagePayload } from './upload-image.ts'

/** Reads that are under way while the image service takes what was read before; each holds 1 MiB. */
const readOptions = { depth: 8 }

/** Sends a volume's bytes to an image. A run that follows one that died begins again: the image has no data yet. */
export function uploadVolumeJob(block: Block): JobDefinition<UploadImagePayload> {
  return defineJob<UploadImagePayload>({
    kind: 'volume.upload',

    async run({ volumeId, imageId, diskFormat }, job) {
      const volume = await findVolume(block.db, volumeId)
      if (volume?.status !== 'uploading') return
      await removeConversion(imageId)
      const { status } = await block.images.show(imageId, undefined, job.signal)
      if (status !== 'active') {
        const { driver } = await block.backends.ready(volume.host, job.signal)
        const facts = await backendVolume(block.db, block.settings, volume)
        await using device = await driver.open(facts, 'r', job)
        await send(device, imageId, diskFormat, job)
      }
      await restore(volumeId)
      job.log.info({ volumeId, imageId }, 'volume uploaded as an image')
    },

    async fail({ volumeId, imageId }, error, job) {
      await removeConversion(imageId)
      await block.images.delete(imageId, undefined, job.signal)
      const failed = await restore(volumeId)
      if (failed === undefined) return
      await writeMessage(block, block.db, {
        projectId: failed.project_id,
        requestId: job.requestId,
        resourceType: 'VOLUME',
        resourceId: volumeId,
        action: actions.copyVolumeToImage,
        detail: details.uploadFailed,
        sentence: error instanceof StorageError ? messageOf(error) : undefined,
      })
    },
  })

  async function send(device: BlockDevice, imageId: string, diskFormat: string, job: Job): Promise<void> {
    if (diskFormat === 'raw') {
      const bytes = readStream(device, 0, device.sizeBytes, readOptions, job)
      await block.images.upload(imageId, bytes, device.sizeBytes, undefined, job)
      return
    }
    await using disk = await convertedDisk(device, diskFormat, placeOf(imageId), job)
    await block.images.upload(imageId, disk.bytes(), disk.sizeBytes, undefined, job)
  }

  /** Where the disk of an image is converted: by its id, so that what a killed run has left is found. */
  function placeOf(imageId: string): string {
    return join(block.settings.imageConversionDir ?? block.conversionDirectory, `upload-${imageId}`)
  }

  async function removeConversion(imageId: string): Promise<void> {
    await rm(placeOf(imageId), { recursive: true, force: true })
  }

  async function restore(volumeId: string) {
    const volume = await findVolume(block.db, volumeId)
    return await transitionVolume(block.db, volumeId, ['uploading'], {
      status: volume?.previous_status ?? 'available',
      previous_status: null,
      updated_at: block.now().toISOString(),
    })
  }
}
