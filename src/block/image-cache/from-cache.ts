import { randomUUID } from 'node:crypto'
import { GiB } from '../../kernel/bytes.ts'
import { messageOf } from '../../kernel/errors.ts'
import type { Job } from '../../kernel/jobs/job-queue.ts'
import type { Backend } from '../backends.ts'
import { type Block, enqueue } from '../context.ts'
import type { ImageFacts } from '../image-service.ts'
import type { Clones, Created, NewVolume } from '../volume-driver.ts'
import { backendVolume } from '../volumes/backend-facts.ts'
import { copyImage } from '../volumes/copy-image.ts'
import {
  deleteVolumeRow,
  findVolume,
  insertVolume,
  transitionVolume,
  type VolumeRow,
} from '../volumes/queries.ts'
import { type CacheEntry, deleteEntry, entriesOf, findEntry, insertEntry, touchEntry } from './queries.ts'

/** What is to be made of an image. */
interface Wish {
  readonly volume: VolumeRow
  readonly wanted: NewVolume
  readonly image: ImageFacts
}

/**
 * A volume made of an image as a clone of a hidden volume that holds the image, which is made when there is none.
 * @returns undefined when the cache is off or cannot help: the image is then copied
 * @see datera-drivers specification 4.19.4; block-storage-api specification 5.7
 */
export async function fromImageCache(
  block: Block,
  backend: Backend,
  wish: Wish,
  job: Job,
): Promise<Created | undefined> {
  const { clones } = backend.driver
  const { internalProjectId, internalUserId } = block.settings
  if (!backend.imageCache.enabled || clones === undefined) return undefined
  if (internalProjectId === undefined || internalUserId === undefined) {
    job.log.warn('the image-volume cache needs cinder_internal_tenant_project_id and …_user_id')
    return undefined
  }
  const key = `image-cache:${backend.host}:${wish.image.id}`
  return await block.locks.withLock(key, job.signal, async () => {
    try {
      const source = await cachedVolume(block, backend, wish, job)
      if (source === undefined || source.size_gib > wish.volume.size_gib) return undefined
      return await clone(block, clones, source, wish.wanted, job)
    } catch (error) {
      if (job.signal.aborted) throw error
      job.log.warn({ imageId: wish.image.id, error: messageOf(error) }, 'the image-volume cache failed')
      return undefined
    }
  })
}

async function clone(
  block: Block,
  clones: Clones,
  source: VolumeRow,
  wanted: NewVolume,
  job: Job,
): Promise<Created> {
  return await clones.create(await backendVolume(block.db, block.settings, source), wanted, job)
}

/** The hidden volume that holds the image, made now if need be; undefined when it would not fit. */
async function cachedVolume(
  block: Block,
  backend: Backend,
  wish: Wish,
  job: Job,
): Promise<VolumeRow | undefined> {
  const { image } = wish
  const entry = await findEntry(block.db, image.id, backend.host)
  if (entry !== undefined) {
    const source = await findVolume(block.db, entry.volume_id)
    if (source?.status === 'available' && entry.image_checksum === checksumOf(image)) {
      await touchEntry(block.db, entry.id, block.now().toISOString())
      job.log.info({ imageId: image.id, host: backend.host }, 'image-volume cache hit')
      return source
    }
    await evict(block, entry, job)
  }
  const sizeGib = Math.ceil(Math.max(image.virtualSizeBytes ?? 0, image.sizeBytes ?? 0, 1) / GiB)
  if (!(await makeRoom(block, backend, sizeGib, job))) return undefined
  return await fill(block, backend, wish, sizeGib, job)
}

function checksumOf(image: ImageFacts): string | null {
  return image.osHashValue ?? image.checksum ?? null
}

/** @returns false when the image is larger than the cache may be */
async function makeRoom(block: Block, backend: Backend, sizeGib: number, job: Job): Promise<boolean> {
  const { maxSizeGib, maxCount } = backend.imageCache
  if (maxSizeGib > 0 && sizeGib > maxSizeGib) return false
  const entries = [...(await entriesOf(block.db, backend.host))]
  const isFull = () => {
    const usedGib = entries.reduce((sum, entry) => sum + entry.size_gib, 0)
    return (
      (maxCount > 0 && entries.length + 1 > maxCount) || (maxSizeGib > 0 && usedGib + sizeGib > maxSizeGib)
    )
  }
  while (entries.length > 0 && isFull()) {
    const oldest = entries.shift()
    if (oldest !== undefined) await evict(block, oldest, job)
  }
  return true
}

/** Forgets an entry, and deletes its volume by a job. */
async function evict(block: Block, entry: CacheEntry, job: Job): Promise<void> {
  await block.db.transaction().execute(async (transaction) => {
    await deleteEntry(transaction, entry.id)
    const set = { status: 'deleting', previous_status: 'available', updated_at: block.now().toISOString() }
    const volume = await transitionVolume(transaction, entry.volume_id, ['available', 'error'], set)
    if (volume === undefined) return
    await enqueue(block, transaction, 'volume.delete', {
      resource: `volume:${volume.id}`,
      payload: { volumeId: volume.id },
      requestId: job.requestId,
    })
  })
  job.log.info({ imageId: entry.image_id, host: entry.host }, 'image-volume cache eviction')
}

/** Copies the image to a volume of the internal project. Its id is remembered before it exists. */
async function fill(
  block: Block,
  backend: Backend,
  { volume, image }: Wish,
  sizeGib: number,
  job: Job,
): Promise<VolumeRow | undefined> {
  job.log.info({ imageId: image.id, host: backend.host }, 'image-volume cache miss')
  const state = (job.state ?? {}) as { readonly cacheVolumeId?: string } // part of what the job itself saved
  const id = state.cacheVolumeId ?? randomUUID()
  await job.save({ ...state, cacheVolumeId: id })
  const now = block.now().toISOString()
  const known = await findVolume(block.db, id)
  const row =
    known ??
    (await insertVolume(block.db, {
      ...volume,
      id,
      project_id: block.settings.internalProjectId ?? '',
      user_id: block.settings.internalUserId ?? '',
      name: `image-${image.id}`,
      description: null,
      size_gib: sizeGib,
      status: 'creating',
      group_id: null,
      consumes_quota: 0,
      provider_location: null,
      metadata: '{}',
      admin_metadata: JSON.stringify({ readonly: 'True' }),
      created_at: now,
    }))
  const facts = await backendVolume(block.db, block.settings, row)
  try {
    if (known !== undefined) await backend.driver.delete(facts, job)
    const { providerLocation } = await backend.driver.create(facts, job)
    const downloading = { status: 'downloading', provider_location: providerLocation ?? null }
    const fresh = await transitionVolume(block.db, id, ['creating', 'downloading'], downloading)
    if (fresh === undefined || !(await copyImage(block, backend.driver, fresh, image.id, job)))
      return undefined
    return await block.db.transaction().execute(async (transaction) => {
      const done = { status: 'available', launched_at: now, updated_at: now }
      const filled = await transitionVolume(transaction, id, ['downloading'], done)
      await insertEntry(transaction, {
        id: randomUUID(),
        image_id: image.id,
        host: backend.host,
        image_checksum: checksumOf(image),
        volume_id: id,
        size_gib: sizeGib,
        last_used_at: now,
      })
      return filled
    })
  } catch (error) {
    if (job.signal.aborted) throw error
    await backend.driver.delete(facts, job)
    await block.db.transaction().execute((transaction) => deleteVolumeRow(transaction, id))
    throw error
  }
}
