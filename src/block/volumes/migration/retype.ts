import { Invalid, messageOf, NoCapacity, Unsupported } from '../../../kernel/errors.ts'
import { defineJob, type Job, type JobDefinition } from '../../../kernel/jobs/job-queue.ts'
import { type Block, enqueue } from '../../context.ts'
import { InvalidState } from '../../errors.ts'
import type { BlockRequest } from '../../operation.ts'
import { authorize } from '../../policy.ts'
import { claimQuota } from '../../quotas/limits.ts'
import { poolCandidates } from '../../scheduler/candidates.ts'
import { sizeLimitProblem } from '../../scheduler/pools.ts'
import { schedule } from '../../scheduler/schedule.ts'
import { getTypeByIdOrName, stringMapOf, typeFacts } from '../../types/queries.ts'
import { typeDifferences, type VolumeTypeFacts } from '../../volume-driver.ts'
import { backendVolume } from '../backend-facts.ts'
import { refuseEncryptionChange } from '../encryption-key.ts'
import { findVolume, lockVolume, snapshotsOfVolume, updateVolume, type VolumeRow } from '../queries.ts'
import { notMigrating } from './migrate.ts'
import { moveOf, moveVolume, undoMove } from './move.ts'

interface RetypePayload {
  readonly [key: string]: string
  readonly volumeId: string
  readonly typeId: string
  readonly policy: 'never' | 'on-demand'
}

/**
 * `os-retype`: another type for a volume, where it lies or, with policy `on-demand`, elsewhere.
 * @throws NotFound, Forbidden, InvalidState, Invalid, OverQuota @see block-storage-api specification 4.1, 5.8
 */
export async function retypeVolume(
  block: Block,
  request: BlockRequest,
  id: string,
  wanted: { type: string; policy: 'never' | 'on-demand' },
): Promise<void> {
  await block.db.transaction().execute(async (transaction) => {
    const volume = await lockVolume(transaction, request, id)
    authorize(request.identity, 'volume:retype', volume.project_id)
    const type = await getTypeByIdOrName(transaction, request, wanted.type)
    await refuseEncryptionChange(transaction, volume, type)
    const refuse = (why: string) =>
      new InvalidState(
        `Invalid volume: Retype needs volume ${id} to be in available or in-use state, not be part of an active migration or a group, and the new type to be another one: ${why}.`,
      )
    if (volume.status !== 'available' && volume.status !== 'in-use') throw refuse(`it is ${volume.status}`)
    if (!notMigrating.includes(volume.migration_status)) throw refuse('it is being migrated')
    if (volume.group_id !== null) throw refuse('it is part of a group')
    if (volume.volume_type_id === type.id) {
      throw new Invalid(`Invalid input received: New volume_type same as original: ${type.name}.`)
    }
    const extraSpecs = stringMapOf(type.extra_specs)
    const problem = sizeLimitProblem(volume.size_gib, extraSpecs)
    if (problem !== undefined) throw new Invalid(problem)
    if (isMultiattach(extraSpecs) !== (volume.multiattach === 1) && volume.status !== 'available') {
      throw new Invalid(
        'Invalid input received: Invalid volume_type passed: the volume must be available to change whether it can be attached several times.',
      )
    }
    await claimQuota(transaction, block.settings, volume.project_id, {
      volumes: 1,
      gigabytes: volume.size_gib,
      typeName: type.name,
      ofTypeOnly: true,
    })
    await updateVolume(transaction, id, {
      status: 'retyping',
      previous_status: volume.status,
      updated_at: block.now().toISOString(),
    })
    const payload: RetypePayload = { volumeId: id, typeId: type.id, policy: wanted.policy }
    await enqueue(block, transaction, 'volume.retype', {
      resource: `volume:${id}`,
      payload,
      requestId: request.requestId,
    })
  })
}

function isMultiattach(extraSpecs: Readonly<Record<string, string>>): boolean {
  return /^<is>\s+true$/i.test(extraSpecs['multiattach'] ?? '')
}

/** Changes a volume's type in place if its backend can, else by migration if the request allows that. */
export function retypeVolumeJob(block: Block): JobDefinition<RetypePayload> {
  return defineJob<RetypePayload>({
    kind: 'volume.retype',

    async run({ volumeId, typeId, policy }, job) {
      const volume = await findVolume(block.db, volumeId)
      if (volume === undefined) return
      const type = await typeFacts(block.db, typeId)
      if (volume.status !== 'retyping') {
        // the volume has changed its place; what is left is to remove the old bytes
        if (moveOf(job).targetId !== undefined) await undoMove(block, job)
        return
      }
      if (type === undefined) throw new Invalid('The new type was deleted.')
      const finished = {
        volume_type_id: typeId,
        multiattach: isMultiattach(type.extraSpecs) ? 1 : 0,
        status: volume.previous_status ?? 'available',
        previous_status: null,
        updated_at: block.now().toISOString(),
      }
      if (moveOf(job).targetId === undefined) {
        const obstacle = await changeInPlace(volume, type, job)
        if (obstacle === undefined) {
          await updateVolume(block.db, volumeId, finished)
          job.log.info({ volumeId, type: type.name }, 'volume retyped')
          return
        }
        if (policy === 'never') throw new Unsupported(obstacle)
        if ((await snapshotsOfVolume(block.db, volumeId)).length > 0) {
          throw new Unsupported(`${obstacle} Volumes with snapshots are not migrated.`)
        }
        await updateVolume(block.db, volumeId, { migration_status: 'starting' })
      }
      const host = moveOf(job).host ?? (await placeFor(volume, type, job))
      await moveVolume(
        block,
        volume,
        { host, typeId },
        async (transaction) => {
          await updateVolume(transaction, volumeId, finished)
        },
        job,
      )
      job.log.info({ volumeId, type: type.name, host }, 'volume retyped by migration')
    },

    async fail({ volumeId }, error, job) {
      job.log.warn({ volumeId, error: messageOf(error) }, 'volume keeps its type')
      if (!(await undoMove(block, job))) return
      const volume = await findVolume(block.db, volumeId)
      if (volume?.status !== 'retyping') return
      await updateVolume(block.db, volumeId, {
        status: volume.previous_status ?? 'available',
        previous_status: null,
        ...(notMigrating.includes(volume.migration_status) ? {} : { migration_status: 'error' }),
        updated_at: block.now().toISOString(),
      })
    },
  })

  /** @returns why that cannot be, or undefined when the backend has changed the volume */
  async function changeInPlace(
    volume: VolumeRow,
    newType: VolumeTypeFacts,
    job: Job,
  ): Promise<string | undefined> {
    const here = schedule(await poolCandidates(block, job.signal), {
      sizeBytes: 0,
      availabilityZone: volume.availability_zone ?? undefined,
      extraSpecs: newType.extraSpecs,
    }).some((pool) => pool.host === volume.host)
    if (!here) return `${volume.host} does not offer what type ${newType.name} demands.`
    const { driver } = await block.backends.ready(volume.host, job.signal)
    const facts = await backendVolume(block.db, block.settings, volume)
    const differences = typeDifferences(facts.type, newType)
    if (driver.retype !== undefined) {
      const attached = volume.attach_status !== 'detached'
      return await driver.retype.change(facts, { newType, differences, attached }, job)
    }
    const forDriver = [...Object.keys(differences.extraSpecs), ...Object.keys(differences.qosSpecs)].filter(
      (key) => /^(?!capabilities:|RESKEY:|provisioning:)[^:]+:/.test(key) || key in differences.qosSpecs,
    )
    if (forDriver.length === 0) return undefined
    return `The backend cannot change ${forDriver.join(', ')} of a volume.`
  }

  async function placeFor(volume: VolumeRow, type: VolumeTypeFacts, job: Job): Promise<string> {
    const pools = schedule(await poolCandidates(block, job.signal), {
      sizeBytes: volume.size_gib * 1024 ** 3,
      availabilityZone: volume.availability_zone ?? undefined,
      extraSpecs: type.extraSpecs,
    })
    const best = pools.find((pool) => pool.host !== volume.host) ?? pools[0]
    if (best === undefined) throw new NoCapacity(`No backend offers what type ${type.name} demands.`)
    return best.host
  }
}
