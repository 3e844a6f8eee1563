import { randomUUID } from 'node:crypto'
import { copyDevice } from '@emberglass/iscsi/device'
import { Conflict, Invalid, messageOf, NotFound, Unsupported } from '../../kernel/errors.ts'
import { defineJob, type Job, type JobDefinition } from '../../kernel/jobs/job-queue.ts'
import { type Block, enqueue } from '../context.ts'
import type { BlockRequest } from '../operation.ts'
import { authorize } from '../policy.ts'
import { findSnapshot, lockSnapshot, transitionSnapshot, updateSnapshot } from '../snapshots/queries.ts'
import type { BackendSnapshot, VolumeDriver } from '../volume-driver.ts'
import { backendSnapshot } from './backend-facts.ts'
import { findVolume, lockVolume, transitionVolume, updateVolume } from './queries.ts'

/** What the job is told. */
interface RevertPayload {
  readonly [key: string]: string
  readonly volumeId: string
  readonly snapshotId: string
}

/**
 * Takes a volume back to its newest snapshot.
 * @throws NotFound; Invalid for another snapshot or size; Conflict for a status @see specification 4.1
 */
export async function revertVolume(
  block: Block,
  request: BlockRequest,
  id: string,
  snapshotId: string,
): Promise<void> {
  await block.db.transaction().execute(async (transaction) => {
    const volume = await lockVolume(transaction, request, id)
    authorize(request.identity, 'volume:revert_to_snapshot', volume.project_id)
    const newest = await transaction
      .selectFrom('snapshots')
      .select('id')
      .where('volume_id', '=', id)
      .orderBy('created_at', 'desc')
      .orderBy('id', 'desc')
      .limit(1)
      .executeTakeFirst()
    if (newest === undefined) throw new Invalid(`Volume ${id} has no snapshots.`)
    if (newest.id !== snapshotId) {
      throw new Invalid(
        `Specified snapshot ${snapshotId} is not the latest one of volume ${id}: that is ${newest.id}.`,
      )
    }
    const snapshot = await lockSnapshot(transaction, { ...request, isAdmin: true }, snapshotId)
    if (snapshot.size_gib !== volume.size_gib) {
      throw new Invalid(
        `Can't revert volume ${id} to its latest snapshot ${snapshotId}. The volume size must be equal to the snapshot size.`,
      )
    }
    if (volume.status !== 'available') {
      throw new Conflict(`Can't revert volume ${id}: its status is ${volume.status}, not available.`)
    }
    if (snapshot.status !== 'available') {
      throw new Conflict(`Can't revert to snapshot ${snapshotId}: its status is ${snapshot.status}.`)
    }
    const updated_at = block.now().toISOString()
    await updateVolume(transaction, id, { status: 'reverting', updated_at })
    await updateSnapshot(transaction, snapshotId, { status: 'restoring', updated_at })
    const payload: RevertPayload = { volumeId: id, snapshotId }
    await enqueue(block, transaction, 'volume.revert', {
      resource: `volume:${id}`,
      payload,
      requestId: request.requestId,
    })
  })
}

/** Reverts on the backend, or by copying from a temporary volume. */
export function revertVolumeJob(block: Block): JobDefinition<RevertPayload> {
  return defineJob<RevertPayload>({
    kind: 'volume.revert',

    async run({ volumeId, snapshotId }, job) {
      const { driver, facts } = (await work(volumeId, snapshotId, job)) ?? {}
      if (driver === undefined || facts === undefined) return
      if (driver.snapshots?.revert !== undefined) await driver.snapshots.revert(facts, job)
      else await copyBack(driver, facts, job)
      await end(volumeId, snapshotId, 'available')
      job.log.info({ volumeId, snapshotId }, 'volume reverted')
    },

    async fail({ volumeId, snapshotId }, error, job) {
      job.log.error({ volumeId, snapshotId, error: messageOf(error) }, 'volume could not be reverted')
      const { driver, facts } = (await work(volumeId, snapshotId, job)) ?? {}
      if (driver !== undefined && facts !== undefined) await removeTemporary(driver, facts, job)
      await end(volumeId, snapshotId, 'error')
    },
  })

  async function work(volumeId: string, snapshotId: string, job: Job) {
    const volume = await findVolume(block.db, volumeId)
    if (volume?.status !== 'reverting') return undefined
    const snapshot = await findSnapshot(block.db, snapshotId)
    if (snapshot === undefined) throw new NotFound(`Snapshot ${snapshotId} could not be found.`)
    const { driver } = await block.backends.ready(volume.host, job.signal)
    return { driver, facts: await backendSnapshot(block.db, block.settings, snapshot, volume) }
  }

  async function end(volumeId: string, snapshotId: string, status: string): Promise<void> {
    const updated_at = block.now().toISOString()
    await block.db.transaction().execute(async (transaction) => {
      await transitionVolume(transaction, volumeId, ['reverting'], { status, updated_at })
      await transitionSnapshot(transaction, snapshotId, ['restoring'], { status: 'available', updated_at })
    })
  }

  /** The snapshot's bytes by way of a volume made of it, whose id the job remembers before it exists. */
  async function copyBack(driver: VolumeDriver, snapshot: BackendSnapshot, job: Job): Promise<void> {
    if (driver.snapshots === undefined) throw new Unsupported('The backend has no snapshots.')
    if (temporaryOf(snapshot, job) === undefined) await job.save({ temporaryId: randomUUID() })
    const temporary = temporaryOf(snapshot, job)
    if (temporary === undefined) throw new Error('the job did not keep its state')
    const { providerLocation } = await driver.snapshots.createVolume(snapshot, temporary, job)
    {
      await using source = await driver.open({ ...temporary, providerLocation }, 'r', job)
      await using target = await driver.open(snapshot.volume, 'rw', job)
      await copyDevice(source, target, { skipZeroes: true, targetIsZeroed: false, depth: 16 }, job)
    }
    await driver.delete({ ...temporary, providerLocation }, job)
  }

  async function removeTemporary(driver: VolumeDriver, snapshot: BackendSnapshot, job: Job): Promise<void> {
    const temporary = temporaryOf(snapshot, job)
    if (temporary !== undefined) await driver.delete({ ...temporary, providerLocation: undefined }, job)
  }

  function temporaryOf(snapshot: BackendSnapshot, job: Job) {
    const state = job.state as { readonly temporaryId?: string } | undefined // only this job writes its state
    if (state?.temporaryId === undefined) return undefined
    const name = block.settings.volumeNameTemplate.replace('%s', state.temporaryId)
    return { ...snapshot.volume, id: state.temporaryId, name }
  }
}
