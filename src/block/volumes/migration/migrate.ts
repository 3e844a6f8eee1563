import { Invalid, messageOf, NoCapacity } from '../../../kernel/errors.ts'
import { defineJob, type JobDefinition } from '../../../kernel/jobs/job-queue.ts'
import { type Block, enqueue } from '../../context.ts'
import { InvalidState } from '../../errors.ts'
import type { BlockRequest } from '../../operation.ts'
import { authorize } from '../../policy.ts'
import { poolCandidates } from '../../scheduler/candidates.ts'
import { schedule } from '../../scheduler/schedule.ts'
import { typeFacts } from '../../types/queries.ts'
import {
  findVolume,
  getVolume,
  lockVolume,
  snapshotsOfVolume,
  updateVolume,
  type VolumeRow,
} from '../queries.ts'
import { moveOf, moveVolume, undoMove } from './move.ts'

interface MigratePayload {
  readonly [key: string]: string
  readonly volumeId: string
  readonly host: string
}

/** No migration is under way in these. */
export const notMigrating: readonly (string | null)[] = [null, 'deleting', 'error', 'success']

/**
 * `os-migrate_volume`: another pool for a volume.
 * @param wanted.host `host@backend#pool`
 * @param wanted.lock meanwhile the volume is in `maintenance`: nobody else changes it
 * @throws NotFound, Forbidden, InvalidState, Invalid @see block-storage-api specification 4.1, 5.8
 */
export async function migrateVolume(
  block: Block,
  request: BlockRequest,
  id: string,
  wanted: { host: string; lock: boolean },
): Promise<void> {
  const { project_id: owner } = await getVolume(block.db, request, id)
  authorize(request.identity, 'volume_extension:volume_admin_actions:migrate_volume', owner)
  const pools = await poolCandidates(block, request.signal)
  const pool = pools.find(({ host }) => host === wanted.host)
  if (pool === undefined) throw new Invalid(`No available service named ${wanted.host}.`)
  await block.db.transaction().execute(async (transaction) => {
    const volume = await lockVolume(transaction, request, id)
    const refuse = (why: string) =>
      new InvalidState(
        `Invalid volume: Volume ${id} status must be available or in-use, must not be migrating, have snapshots, be replicated, be part of a group and destination host must be different than the current host: ${why}.`,
      )
    if (volume.status !== 'available' && volume.status !== 'in-use') throw refuse(`it is ${volume.status}`)
    if (!notMigrating.includes(volume.migration_status)) throw refuse('it is being migrated')
    if ((await snapshotsOfVolume(transaction, id)).length > 0) throw refuse('it has snapshots')
    if (volume.group_id !== null) throw refuse('it is part of a group')
    if (volume.host === wanted.host || volume.host === null) throw refuse(`it is on ${volume.host}`)
    await updateVolume(transaction, id, {
      ...(wanted.lock ? { status: 'maintenance', previous_status: volume.status } : {}),
      migration_status: 'starting',
      updated_at: block.now().toISOString(),
    })
    const payload: MigratePayload = { volumeId: id, host: wanted.host }
    await enqueue(block, transaction, 'volume.migrate', {
      resource: `volume:${id}`,
      payload,
      requestId: request.requestId,
    })
  })
}

/** Moves a volume to the pool that the request named. */
export function migrateVolumeJob(block: Block): JobDefinition<MigratePayload> {
  return defineJob<MigratePayload>({
    kind: 'volume.migrate',

    async run({ volumeId, host }, job) {
      const volume = await findVolume(block.db, volumeId)
      if (volume === undefined) return
      if (moveOf(job).targetId === undefined) {
        const fits = schedule(await poolCandidates(block, job.signal), {
          sizeBytes: 0,
          availabilityZone: undefined,
          extraSpecs: (await typeFacts(block.db, volume.volume_type_id))?.extraSpecs ?? {},
        }).some((pool) => pool.host === host)
        if (!fits) throw new NoCapacity(`${host} does not offer what the volume's type demands.`)
      }
      const destination = { host, typeId: volume.volume_type_id }
      await moveVolume(
        block,
        volume,
        destination,
        async (transaction) => {
          await updateVolume(transaction, volumeId, settled(volume))
        },
        job,
      )
    },

    async fail({ volumeId }, error, job) {
      job.log.error({ volumeId, error: messageOf(error) }, 'volume could not be migrated')
      if (!(await undoMove(block, job))) return
      const volume = await findVolume(block.db, volumeId)
      if (volume === undefined) return
      await updateVolume(block.db, volumeId, {
        ...settled(volume),
        migration_status: 'error',
        updated_at: block.now().toISOString(),
      })
    },
  })
}

/** The status that the volume had before it was locked. */
function settled(volume: VolumeRow): Partial<VolumeRow> {
  if (volume.status !== 'maintenance') return {}
  return { status: volume.previous_status ?? 'available', previous_status: null }
}

/**
 * `os-migrate_volume_completion`: what a compute service calls when it has swapped two volumes. Migrations are
 * completed by their own jobs here; the answer tells which id survives.
 * @returns that id
 * @throws NotFound, Forbidden, InvalidState as upstream
 */
export async function completeMigration(
  block: Block,
  request: BlockRequest,
  id: string,
  newVolumeId: string,
): Promise<string> {
  const volume = await getVolume(block.db, request, id)
  const rule = 'volume_extension:volume_admin_actions:migrate_volume_completion'
  authorize(request.identity, rule, volume.project_id)
  const copy = await getVolume(block.db, request, newVolumeId)
  if (volume.migration_status === null && copy.migration_status === null) return copy.id
  if (volume.migration_status === null)
    throw new InvalidState('Invalid volume: Source volume not mid-migration.')
  if (copy.migration_status === null) {
    throw new InvalidState('Invalid volume: Destination volume not mid-migration.')
  }
  const expected = `target:${id}`
  if (copy.migration_status !== expected) {
    throw new InvalidState(
      `Invalid volume: Destination has migration_status ${copy.migration_status}, expected ${expected}.`,
    )
  }
  return id
}
