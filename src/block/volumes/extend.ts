import { GiB } from '../../kernel/bytes.ts'
import { Invalid, NoCapacity } from '../../kernel/errors.ts'
import { defineJob, type Job, type JobDefinition } from '../../kernel/jobs/job-queue.ts'
import { type Block, enqueue } from '../context.ts'
import { InvalidState } from '../errors.ts'
import { actions, details, writeMessage } from '../messages/queries.ts'
import type { BlockRequest } from '../operation.ts'
import { authorize } from '../policy.ts'
import { claimQuota } from '../quotas/limits.ts'
import { poolCandidates } from '../scheduler/candidates.ts'
import { hasCapacity, sizeLimitProblem } from '../scheduler/pools.ts'
import { refuseFrozen } from '../services/frozen.ts'
import { typeFacts } from '../types/queries.ts'
import { backendVolume } from './backend-facts.ts'
import { findVolume, lockVolume, transitionVolume, updateVolume, type VolumeRow } from './queries.ts'

/**
 * Grows a volume.
 * @param sizeGib the new total
 * @throws NotFound, Forbidden, InvalidState, Invalid, OverQuota @see specification 4.1, 5.8
 */
export async function extendVolume(
  block: Block,
  request: BlockRequest,
  id: string,
  sizeGib: number,
): Promise<void> {
  await block.db.transaction().execute(async (transaction) => {
    const volume = await lockVolume(transaction, request, id)
    authorize(request.identity, 'volume:extend', volume.project_id)
    const extendable = request.minor >= 42 ? ['available', 'in-use'] : ['available']
    if (!extendable.includes(volume.status)) {
      throw new InvalidState(
        `Invalid volume: Volume ${id} status must be '${extendable.join("' or '")}' to extend, currently ${volume.status}.`,
      )
    }
    if (sizeGib <= volume.size_gib) {
      throw new Invalid(
        `Invalid input received: New size for extend must be greater than current size. (current: ${volume.size_gib}, extended: ${sizeGib}).`,
      )
    }
    await refuseFrozen(transaction, volume.host)
    const type = await typeFacts(transaction, volume.volume_type_id)
    const problem = sizeLimitProblem(sizeGib, type?.extraSpecs ?? {})
    if (problem !== undefined) throw new Invalid(problem)
    await claimQuota(transaction, block.settings, volume.project_id, {
      gigabytes: sizeGib - volume.size_gib,
      volumeSizeGib: sizeGib,
      typeName: type?.name ?? null,
    })
    await updateVolume(transaction, id, {
      status: 'extending',
      previous_status: volume.status,
      pending_size_gib: sizeGib,
      updated_at: block.now().toISOString(),
    })
    await enqueue(block, transaction, 'volume.extend', {
      resource: `volume:${id}`,
      payload: { volumeId: id },
      requestId: request.requestId,
    })
  })
}

/** Grows a volume on its backend. */
export function extendVolumeJob(block: Block): JobDefinition<{ readonly volumeId: string }> {
  return defineJob<{ readonly volumeId: string }>({
    kind: 'volume.extend',

    async run({ volumeId }, job) {
      const volume = await findVolume(block.db, volumeId)
      if (volume?.status !== 'extending' || volume.pending_size_gib === null) return
      const { driver } = await block.backends.ready(volume.host, job.signal)
      // a first run only: one that went further may have grown it already
      if (job.attempt === 1) await checkCapacity(block, volume, job)
      const facts = await backendVolume(block.db, block.settings, volume)
      await driver.extend(facts, volume.pending_size_gib * GiB, job)
      await transitionVolume(block.db, volumeId, ['extending'], {
        status: volume.previous_status ?? 'available',
        previous_status: null,
        size_gib: volume.pending_size_gib,
        pending_size_gib: null,
        updated_at: block.now().toISOString(),
      })
      job.log.info({ volumeId, sizeGib: volume.pending_size_gib }, 'volume extended')
    },

    async fail({ volumeId }, error, job) {
      const full = error instanceof NoCapacity
      await block.db.transaction().execute(async (transaction) => {
        const before = await findVolume(transaction, volumeId)
        const failed = await transitionVolume(transaction, volumeId, ['extending'], {
          status: full ? (before?.previous_status ?? 'available') : 'error_extending',
          previous_status: null,
          pending_size_gib: null,
          updated_at: block.now().toISOString(),
        })
        if (failed === undefined) return
        await writeMessage(block, transaction, {
          projectId: failed.project_id,
          requestId: job.requestId,
          resourceType: 'VOLUME',
          resourceId: volumeId,
          action: actions.extendVolume,
          detail: full ? details.noBackendAvailable : details.driverFailedExtend,
        })
      })
    },
  })
}

/**
 * Asks the scheduler's filters whether the volume's pool has room for what it grows by.
 * @throws NoCapacity
 */
async function checkCapacity(block: Block, volume: VolumeRow, job: Job): Promise<void> {
  const growthBytes = ((volume.pending_size_gib ?? volume.size_gib) - volume.size_gib) * GiB
  const pools = await poolCandidates(block, job.signal, { withDisabled: true })
  const pool = pools.find(({ host }) => host === volume.host)
  if (pool === undefined) return // only the driver knows
  const type = await typeFacts(block.db, volume.volume_type_id)
  // the pool's count has the growth already
  const before = { ...pool, provisionedBytes: pool.provisionedBytes - growthBytes }
  if (
    hasCapacity(before, {
      availabilityZone: undefined,
      sizeBytes: growthBytes,
      extraSpecs: type?.extraSpecs ?? {},
    })
  )
    return
  throw new NoCapacity(`Pool ${pool.host} has no room for ${growthBytes / GiB} GiB more.`)
}
