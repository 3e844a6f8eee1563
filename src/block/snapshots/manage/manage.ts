import { randomUUID } from 'node:crypto'
import { GiB } from '../../../kernel/bytes.ts'
import { messageOf, NotFound } from '../../../kernel/errors.ts'
import { defineJob, type JobDefinition } from '../../../kernel/jobs/job-queue.ts'
import { type Block, enqueue } from '../../context.ts'
import { InvalidState } from '../../errors.ts'
import type { BlockRequest } from '../../operation.ts'
import { authorize } from '../../policy.ts'
import { claimQuota } from '../../quotas/limits.ts'
import type { ManageReference } from '../../volume-driver.ts'
import { backendSnapshot } from '../../volumes/backend-facts.ts'
import { backendToManage, needFeature } from '../../volumes/manage/backend.ts'
import { knownOn } from '../../volumes/manage/known.ts'
import { findVolume, getVolume, lockVolume } from '../../volumes/queries.ts'
import { findSnapshot, insertSnapshot, type SnapshotRow, transitionSnapshot } from '../queries.ts'

interface ManagePayload {
  readonly [key: string]: string | ManageReference
  readonly snapshotId: string
  readonly reference: ManageReference
}

/**
 * Takes over a snapshot that lies on the backend of a volume.
 * @throws NotFound, Forbidden, Invalid, InvalidState, OverQuota
 */
export async function manageSnapshot(
  block: Block,
  request: BlockRequest,
  wanted: {
    volumeId: string
    reference: ManageReference
    name: string | null
    description: string | null
    metadata: Readonly<Record<string, string>>
  },
): Promise<SnapshotRow> {
  authorize(request.identity, 'snapshot_extension:snapshot_manage')
  const { host } = await getVolume(block.db, request, wanted.volumeId)
  if (host === null) throw new InvalidState(`Invalid volume: Volume ${wanted.volumeId} is on no backend.`)
  await backendToManage(block, request, host)
  return await block.db.transaction().execute(async (transaction) => {
    const volume = await lockVolume(transaction, request, wanted.volumeId)
    const type = await transaction
      .selectFrom('volume_types')
      .select('name')
      .where('id', '=', volume.volume_type_id ?? '')
      .executeTakeFirst()
    await claimQuota(transaction, block.settings, volume.project_id, {
      snapshots: 1,
      gigabytes: block.settings.noSnapshotGbQuota ? 0 : volume.size_gib,
      typeName: type?.name ?? null,
    })
    const row = await insertSnapshot(transaction, {
      id: randomUUID(),
      project_id: volume.project_id,
      user_id: request.identity.userId,
      volume_id: volume.id,
      group_snapshot_id: null,
      volume_type_id: volume.volume_type_id,
      name: wanted.name,
      description: wanted.description,
      size_gib: volume.size_gib,
      status: 'creating',
      progress: '0%',
      encryption_key_id: volume.encryption_key_id,
      consumes_quota: 1,
      provider_location: null,
      metadata: JSON.stringify(wanted.metadata),
      created_at: block.now().toISOString(),
      updated_at: null,
    })
    const payload: ManagePayload = { snapshotId: row.id, reference: wanted.reference }
    await enqueue(block, transaction, 'snapshot.manage', {
      resource: `volume:${volume.id}`,
      payload,
      requestId: request.requestId,
    })
    return row
  })
}

/** Makes what the reference names the snapshot's. */
export function manageSnapshotJob(block: Block): JobDefinition<ManagePayload> {
  return defineJob<ManagePayload>({
    kind: 'snapshot.manage',

    async run({ snapshotId, reference }, job) {
      const snapshot = await findSnapshot(block.db, snapshotId)
      if (snapshot?.status !== 'creating') return
      const volume = await findVolume(block.db, snapshot.volume_id)
      if (volume === undefined) throw new NotFound(`Volume ${snapshot.volume_id} could not be found.`)
      const { driver, host } = await block.backends.ready(volume.host, job.signal)
      const manage = needFeature(driver.manageSnapshots, 'manage snapshots')
      const facts = await backendSnapshot(block.db, block.settings, snapshot, volume)
      const sizeGib = Math.ceil((await manage.sizeBytes(facts.volume, reference, job)) / GiB)
      const created = await manage.manage(facts, reference, await knownOn(block, host), job)
      await transitionSnapshot(block.db, snapshotId, ['creating'], {
        status: 'available',
        progress: '100%',
        size_gib: Math.min(sizeGib, volume.size_gib),
        provider_location: created.providerLocation ?? null,
        updated_at: block.now().toISOString(),
      })
      job.log.info({ snapshotId }, 'snapshot managed')
    },

    async fail({ snapshotId }, error, job) {
      job.log.warn({ snapshotId, error: messageOf(error) }, 'snapshot could not be managed')
      await transitionSnapshot(block.db, snapshotId, ['creating'], {
        status: 'error',
        updated_at: block.now().toISOString(),
      })
    },
  })
}
