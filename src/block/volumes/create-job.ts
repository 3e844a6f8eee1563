import { GiB } from '../../kernel/bytes.ts'
import {
  BackendError,
  Conflict,
  messageOf,
  NoCapacity,
  StorageError,
  Unsupported,
} from '../../kernel/errors.ts'
import { defineJob, type Job, type JobDefinition } from '../../kernel/jobs/job-queue.ts'
import { enqueueRestore, releaseRestoring } from '../backups/restore-job.ts'
import type { Block } from '../context.ts'
import { findGroup } from '../groups/queries.ts'
import { moveMember } from '../groups/settle.ts'
import {
  actions,
  details,
  type MessageAction,
  type MessageDetail,
  writeMessage,
} from '../messages/queries.ts'
import { poolCandidates } from '../scheduler/candidates.ts'
import { resolveHints, type WireHints } from '../scheduler/hints.ts'
import { backendOf, type Placement } from '../scheduler/pools.ts'
import { schedule } from '../scheduler/schedule.ts'
import { findSnapshot } from '../snapshots/queries.ts'
import { stringMapOf, typeFacts } from '../types/queries.ts'
import type { Created, NewVolume, VolumeDriver } from '../volume-driver.ts'
import { backendSnapshot, backendVolume } from './backend-facts.ts'
import { cloneOfImage } from './clone-image.ts'
import { copyImage, ImageUnacceptable, rememberImage } from './copy-image.ts'
import type { CreateVolumePayload } from './create.ts'
import { findVolume, transitionVolume, type VolumeRow } from './queries.ts'

/** While one of these, the volume is still the job's. */
const making = ['creating', 'downloading']

/** What the job remembers: enough to remove what it made even when the row is gone. */
interface Progress {
  readonly [key: string]: string | number | readonly string[] | undefined
  /** `host@backend#pool` where the volume is being made. */
  readonly host?: string
  readonly name?: string
  readonly sizeGib?: number
  readonly projectId?: string
  /** `copying` from just before the first byte of an image is written. */
  readonly phase?: 'allocating' | 'copying'
  /** Pools that have failed. */
  readonly tried?: readonly string[]
}

/** No backend can take the volume. */
class NoBackend extends NoCapacity {}

/** Makes a volume on a backend, empty or with the bytes of its source. */
export function createVolumeJob(block: Block): JobDefinition<CreateVolumePayload> {
  return defineJob<CreateVolumePayload>({
    kind: 'volume.create',

    async run({ volumeId, imageId, hints, backupId }, job) {
      for (;;) {
        const volume = await findVolume(block.db, volumeId)
        if (volume === undefined || !making.includes(volume.status))
          return await removeUnwanted(volumeId, job)
        const host = volume.host ?? (await place(volume, hints, job))
        if (host === undefined) return await removeUnwanted(volumeId, job)
        try {
          const created = await make({ ...volume, host }, { imageId, backupId }, job)
          if (!created) await removeUnwanted(volumeId, job)
          return
        } catch (error) {
          if (!(await tryElsewhere(volume, host, hints, error, job))) throw error
        }
      }
    },

    async fail({ volumeId }, error, job) {
      const volume = await findVolume(block.db, volumeId)
      if (volume === undefined || !making.includes(volume.status)) return await removeUnwanted(volumeId, job)
      await removeLeftover(volumeId, job).catch((cause: unknown) => {
        // the volume keeps its host: whoever deletes it removes what is left
        job.log.warn(
          { volumeId, error: messageOf(cause) },
          'a failed volume could not be removed from its backend',
        )
      })
      const [action, detail] = messageFor(volume, error)
      await moveMember(block, volume.group_id, async (transaction) => {
        await releaseRestoring(block, transaction, volumeId)
        const failed = await transitionVolume(transaction, volumeId, making, {
          status: 'error',
          updated_at: block.now().toISOString(),
        })
        if (failed === undefined) return
        await writeMessage(block, transaction, {
          projectId: failed.project_id,
          requestId: job.requestId,
          resourceType: 'VOLUME',
          resourceId: volumeId,
          action,
          detail,
          sentence: error instanceof StorageError ? messageOf(error) : undefined,
        })
      })
    },
  })

  /** Chooses a pool and writes it into the row. @returns undefined when the volume is gone meanwhile */
  async function place(volume: VolumeRow, hints: string | undefined, job: Job): Promise<string | undefined> {
    const source = await sourceHost(volume)
    const placement = {
      ...(await placementOf(volume, hints)),
      excluded: progressOf(job).tried ?? [],
      onBackend: source === undefined ? undefined : backendOf(source),
    }
    const candidates = await poolCandidates(block, job.signal)
    const [best] = schedule(candidates, placement, block.settings.scheduler)
    if (best === undefined) {
      const failed = block.backends.all.filter((backend) => backend.state !== 'up')
      const reasons = failed.map((backend) => `Backend ${backend.name} is down.`).join(' ')
      throw new NoBackend(`No valid backend was found. ${reasons}`.trim())
    }
    const service = await block.db
      .selectFrom('volume_services')
      .select('id')
      .where('host', '=', backendOf(best.host))
      .executeTakeFirst()
    const placed = await transitionVolume(block.db, volume.id, making, {
      host: best.host,
      service_id: service?.id ?? null,
    })
    return placed === undefined ? undefined : best.host
  }

  /** What the scheduler is told of a volume. */
  async function placementOf(volume: VolumeRow, hints: string | undefined): Promise<Placement> {
    const type = await typeFacts(block.db, volume.volume_type_id)
    const wire = hints ? (JSON.parse(hints) as WireHints) : {} // an object: the schema of the request saw to it
    return {
      sizeBytes: volume.size_gib * GiB,
      availabilityZone: volume.availability_zone ?? undefined,
      extraSpecs: type?.extraSpecs ?? {},
      qosSpecs: type?.qosSpecs ?? {},
      volume: { name: volume.name ?? '', project_id: volume.project_id, user_id: volume.user_id },
      hints: await resolveHints(block.db, volume.project_id, wire),
    }
  }

  async function sourceHost(volume: VolumeRow): Promise<string | undefined> {
    if (volume.source_volume_id !== null) {
      return (await findVolume(block.db, volume.source_volume_id))?.host ?? undefined
    }
    if (volume.snapshot_id === null) return await groupHost(volume)
    const snapshot = await findSnapshot(block.db, volume.snapshot_id)
    return snapshot && ((await findVolume(block.db, snapshot.volume_id))?.host ?? undefined)
  }

  /** Members of a group are on its backend. */
  async function groupHost(volume: VolumeRow): Promise<string | undefined> {
    if (volume.group_id === null) return undefined
    const group = await findGroup(block.db, volume.group_id)
    if (group?.status === 'creating' && group.host === null) {
      throw new BackendError(`Group ${group.id} is on no backend yet.`, {
        left: 'nothing',
        retryAfterMs: 1_000,
      })
    }
    return group?.host ?? undefined
  }

  /** @returns false when somebody deleted the volume meanwhile */
  async function make(
    volume: VolumeRow & { host: string },
    { imageId, backupId }: Pick<CreateVolumePayload, 'imageId' | 'backupId'>,
    job: Job,
  ): Promise<boolean> {
    const backend = await block.backends.ready(volume.host, job.signal)
    const { driver } = backend
    const wanted = await backendVolume(block.db, block.settings, volume)
    // A copy that was interrupted left a part of an image: begin with an empty volume again. The state says so until
    // the part is gone, whatever dies in between.
    if (progressOf(job).phase === 'copying') await driver.delete(wanted, job)
    await job.save({
      ...progressOf(job),
      host: volume.host,
      name: wanted.name,
      sizeGib: volume.size_gib,
      projectId: volume.project_id,
      phase: 'allocating',
    })
    const image =
      imageId === null ? undefined : await cloneOfImage(block, backend, { volume, wanted, imageId }, job)
    const created = image?.created ?? (await allocate(driver, volume, wanted, job))
    const providerLocation = created.providerLocation ?? null
    const known = await transitionVolume(block.db, volume.id, making, { provider_location: providerLocation })
    if (known === undefined) return false
    if (imageId !== null) {
      const downloading = { status: 'downloading', updated_at: block.now().toISOString() }
      if ((await transitionVolume(block.db, volume.id, making, downloading)) === undefined) return false
      if (image !== undefined) {
        if (!(await rememberImage(block, volume.id, image.facts))) return false
      } else {
        await job.save({ ...progressOf(job), phase: 'copying' })
        if (!(await copyImage(block, driver, known, imageId, job))) return false
      }
    }
    if (backupId !== undefined) return await beginRestore(volume.id, backupId, job.requestId)
    const now = block.now().toISOString()
    const done = await moveMember(block, volume.group_id, (transaction) =>
      transitionVolume(transaction, volume.id, making, {
        status: 'available',
        launched_at: now,
        updated_at: now,
      }),
    )
    if (done !== undefined) job.log.info({ volumeId: volume.id, host: volume.host }, 'volume created')
    return done !== undefined
  }

  /** Hands the empty volume over to the job that fills it. @returns false when somebody deleted it meanwhile */
  async function beginRestore(volumeId: string, backupId: string, requestId: string): Promise<boolean> {
    return await block.db.transaction().execute(async (transaction) => {
      const updated_at = block.now().toISOString()
      const restoring = { status: 'restoring-backup', updated_at }
      if ((await transitionVolume(transaction, volumeId, making, restoring)) === undefined) return false
      await enqueueRestore(block, transaction, { backupId, volumeId, isNew: true }, requestId)
      return true
    })
  }

  async function allocate(
    driver: VolumeDriver,
    volume: VolumeRow,
    wanted: NewVolume,
    job: Job,
  ): Promise<Created> {
    if (volume.snapshot_id !== null) {
      const snapshot = await findSnapshot(block.db, volume.snapshot_id)
      const origin = snapshot && (await findVolume(block.db, snapshot.volume_id))
      if (snapshot === undefined || origin === undefined) {
        throw new Conflict(`Snapshot ${volume.snapshot_id} was deleted before the volume was made.`)
      }
      if (driver.snapshots === undefined) throw new Unsupported('The backend has no snapshots.')
      const facts = await backendSnapshot(block.db, block.settings, snapshot, origin)
      return await driver.snapshots.createVolume(facts, wanted, job)
    }
    if (volume.source_volume_id !== null) {
      const origin = await findVolume(block.db, volume.source_volume_id)
      if (origin === undefined) {
        throw new Conflict(`Volume ${volume.source_volume_id} was deleted before its copy was made.`)
      }
      if (driver.clones === undefined) throw new Unsupported('The backend does not clone volumes.')
      return await driver.clones.create(await backendVolume(block.db, block.settings, origin), wanted, job)
    }
    return await driver.create(wanted, job)
  }

  /** After a failure of one pool: the next one, if the volume may be anywhere and it is worth it. */
  async function tryElsewhere(
    volume: VolumeRow,
    host: string,
    hints: string | undefined,
    error: unknown,
    job: Job,
  ): Promise<boolean> {
    if (job.signal.aborted || !(error instanceof BackendError || error instanceof NoCapacity)) return false
    if (error instanceof NoBackend) return false
    if (volume.snapshot_id !== null || volume.source_volume_id !== null || volume.group_id !== null)
      return false
    const tried = [...(progressOf(job).tried ?? []), host]
    if (tried.length >= block.settings.schedulerMaxAttempts) return false
    const placement = { ...(await placementOf(volume, hints)), excluded: tried }
    const rest = schedule(await poolCandidates(block, job.signal), placement, block.settings.scheduler)
    if (rest.length === 0) return false
    job.log.warn(
      { volumeId: volume.id, host, error: messageOf(error) },
      'volume not created, trying elsewhere',
    )
    await removeLeftover(volume.id, job)
    await transitionVolume(block.db, volume.id, making, { host: null, provider_location: null })
    await job.save({ tried })
    return true
  }

  /**
   * Removes what was made for a volume that was deleted meanwhile. A volume in any other state is left alone: the
   * job may be found again after it had finished, or another run may have finished it.
   */
  async function removeUnwanted(volumeId: string, job: Job): Promise<void> {
    const row = await findVolume(block.db, volumeId)
    if (row !== undefined && row.status !== 'deleting') return
    await releaseRestoring(block, block.db, volumeId)
    await removeLeftover(volumeId, job)
  }

  /** Removes what was made of a volume. */
  async function removeLeftover(volumeId: string, job: Job): Promise<void> {
    const { host, name, sizeGib, projectId } = progressOf(job)
    if (host === undefined || name === undefined) return
    const row = await findVolume(block.db, volumeId)
    const { driver } = await block.backends.ready(host, job.signal)
    await driver.delete(
      {
        id: volumeId,
        name,
        sizeBytes: (sizeGib ?? 1) * GiB,
        projectId: projectId ?? '',
        type: row && (await typeFacts(block.db, row.volume_type_id)),
        metadata: stringMapOf(row?.metadata ?? null),
        providerLocation: row?.provider_location ?? undefined,
      },
      job,
    )
  }
}

function progressOf(job: Job): Progress {
  return (job.state ?? {}) as Progress // only this job writes its state
}

function messageFor(volume: VolumeRow, error: unknown): [MessageAction, MessageDetail] {
  if (error instanceof NoBackend) return [actions.scheduleVolume, details.noBackendAvailable]
  if (error instanceof ImageUnacceptable) {
    return [
      actions.copyImageToVolume,
      error.tooLarge ? details.imageLargerThanSpace : details.imageFormatUnacceptable,
    ]
  }
  if (volume.status === 'downloading') return [actions.copyImageToVolume, details.unknownError]
  return [actions.createVolumeFromBackend, details.driverFailedCreate]
}
