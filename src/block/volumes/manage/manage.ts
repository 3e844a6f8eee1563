import { randomUUID } from 'node:crypto'
import { GiB } from '../../../kernel/bytes.ts'
import { Invalid, messageOf, NoCapacity } from '../../../kernel/errors.ts'
import { defineJob, type JobDefinition } from '../../../kernel/jobs/job-queue.ts'
import { type Block, enqueue } from '../../context.ts'
import type { BlockRequest } from '../../operation.ts'
import { authorize } from '../../policy.ts'
import { claimQuota } from '../../quotas/limits.ts'
import { poolCandidates } from '../../scheduler/candidates.ts'
import { backendOf } from '../../scheduler/pools.ts'
import { schedule } from '../../scheduler/schedule.ts'
import { defaultType } from '../../types/default.ts'
import { refuseEncrypted } from '../../types/encryption.ts'
import { getTypeByIdOrName, stringMapOf, typeFacts } from '../../types/queries.ts'
import type { ManageReference } from '../../volume-driver.ts'
import { backendVolume } from '../backend-facts.ts'
import { emptyVolume } from '../empty-volume.ts'
import {
  findVolume,
  insertVolume,
  lockVolume,
  transitionVolume,
  updateVolume,
  type VolumeWithType,
} from '../queries.ts'
import { backendToManage, needFeature } from './backend.ts'
import { knownOn } from './known.ts'

/** What a request to manage a volume says. */
export interface ManageVolume {
  readonly host: string
  readonly reference: ManageReference
  readonly name: string | null
  readonly description: string | null
  readonly volumeType: string | undefined
  readonly availabilityZone: string | null
  readonly metadata: Readonly<Record<string, string>>
  readonly bootable: boolean
}

interface ManagePayload {
  readonly [key: string]: string | ManageReference
  readonly volumeId: string
  readonly reference: ManageReference
}

const uuid = /[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}/i

/** A reference as requests write it: an object, or the bare name. @throws Invalid */
export function referenceOf(given: unknown): ManageReference {
  if (typeof given === 'string' && given !== '') return { 'source-name': given }
  if (typeof given === 'object' && given !== null && !Array.isArray(given)) {
    const entries = Object.entries(given)
    if (entries.length > 0 && entries.every(([, value]) => typeof value === 'string')) {
      return Object.fromEntries(entries) as ManageReference // strings only: checked on the line above
    }
  }
  throw new Invalid('Invalid input for field/attribute ref. It must name what lies on the backend.')
}

/**
 * Takes over a volume that lies on a backend. Its size and whether it is there at all the job finds out.
 * @throws NotFound, Forbidden, Invalid, OverQuota @see block-storage-api specification 5.8
 */
export async function manageVolume(
  block: Block,
  request: BlockRequest,
  wanted: ManageVolume,
): Promise<VolumeWithType> {
  authorize(request.identity, 'volume_extension:volume_manage')
  const type =
    wanted.volumeType === undefined
      ? await defaultType(block, block.db, request.projectId)
      : await getTypeByIdOrName(block.db, request, wanted.volumeType)
  await refuseEncrypted(block.db, type)
  const backend = await backendToManage(block, request, wanted.host)
  const named = uuid.exec(wanted.reference['source-name'] ?? '')?.[0]
  if (named !== undefined && (await findVolume(block.db, named)) !== undefined) {
    throw new Invalid(
      `Invalid input received: Unable to manage existing volume. Volume ${wanted.reference['source-name']} already managed.`,
    )
  }
  const id = randomUUID()
  return await block.db.transaction().execute(async (transaction) => {
    await claimQuota(transaction, block.settings, request.projectId, { volumes: 1, typeName: type.name })
    const row = await insertVolume(transaction, {
      ...emptyVolume,
      id,
      project_id: request.projectId,
      user_id: request.identity.userId,
      name: wanted.name,
      description: wanted.description,
      size_gib: 0,
      status: 'managing',
      host: wanted.host,
      availability_zone: wanted.availabilityZone ?? backend.availabilityZone,
      volume_type_id: type.id,
      snapshot_id: null,
      source_volume_id: null,
      bootable: wanted.bootable ? 1 : 0,
      multiattach: /^<is>\s+true$/i.test(stringMapOf(type.extra_specs)['multiattach'] ?? '') ? 1 : 0,
      metadata: JSON.stringify(wanted.metadata),
      image_metadata: null,
      created_at: block.now().toISOString(),
    })
    const payload: ManagePayload = { volumeId: id, reference: wanted.reference }
    await enqueue(block, transaction, 'volume.manage', {
      resource: `volume:${id}`,
      payload,
      requestId: request.requestId,
    })
    return { ...row, volume_type_name: type.name, consistency_group_id: null }
  })
}

/** Asks the backend how large it is, and makes it the volume's. */
export function manageVolumeJob(block: Block): JobDefinition<ManagePayload> {
  return defineJob<ManagePayload>({
    kind: 'volume.manage',

    async run({ volumeId, reference }, job) {
      const volume = await findVolume(block.db, volumeId)
      if (volume?.status !== 'managing' || volume.host === null) return
      const { driver, host: backendHost } = await block.backends.ready(volume.host, job.signal)
      const type = await typeFacts(block.db, volume.volume_type_id)
      const pools = schedule(await poolCandidates(block, job.signal), {
        sizeBytes: 0,
        availabilityZone: undefined,
        extraSpecs: type?.extraSpecs ?? {},
      }).filter(({ host }) => host === volume.host || backendOf(host) === volume.host)
      const [pool] = pools
      if (pool === undefined) {
        throw new NoCapacity(`${volume.host} does not offer what type ${type?.name} demands.`)
      }
      const manage = needFeature(driver.manage, 'manage volumes')
      const facts = await backendVolume(block.db, block.settings, volume)
      const sizeGib = Math.ceil((await manage.sizeBytes(facts, reference, job)) / GiB)
      await block.db.transaction().execute(async (transaction) => {
        const locked = await lockVolume(transaction, { projectId: '', isAdmin: true }, volumeId)
        await claimQuota(transaction, block.settings, locked.project_id, {
          gigabytes: sizeGib - locked.size_gib,
          volumeSizeGib: sizeGib,
          typeName: type?.name ?? null,
        })
        await updateVolume(transaction, volumeId, { size_gib: sizeGib, host: pool.host })
      })
      const wanted = { ...facts, sizeBytes: sizeGib * GiB }
      const created = await manage.manage(wanted, reference, await knownOn(block, backendHost), job)
      const now = block.now().toISOString()
      const service = await block.db
        .selectFrom('volume_services')
        .select('id')
        .where('host', '=', backendHost)
        .executeTakeFirst()
      await transitionVolume(block.db, volumeId, ['managing'], {
        status: 'available',
        provider_location: created.providerLocation ?? null,
        service_id: service?.id ?? null,
        launched_at: now,
        updated_at: now,
      })
      job.log.info({ volumeId, sizeGib }, 'volume managed')
    },

    async fail({ volumeId }, error, job) {
      job.log.warn({ volumeId, error: messageOf(error) }, 'volume could not be managed')
      await transitionVolume(block.db, volumeId, ['managing'], {
        status: 'error_managing',
        consumes_quota: 0,
        updated_at: block.now().toISOString(),
      })
    },
  })
}
