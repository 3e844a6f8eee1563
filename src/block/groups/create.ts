import { randomUUID } from 'node:crypto'
import { Invalid, messageOf, NoCapacity } from '../../kernel/errors.ts'
import { defineJob, type JobDefinition } from '../../kernel/jobs/job-queue.ts'
import { type Block, enqueue } from '../context.ts'
import {
  consistencyGroupType,
  type GroupTypeRow,
  getGroupType,
  getGroupTypeByIdOrName,
} from '../group-types/queries.ts'
import type { BlockRequest } from '../operation.ts'
import { authorize } from '../policy.ts'
import { claimQuota } from '../quotas/limits.ts'
import { poolCandidates } from '../scheduler/candidates.ts'
import { hasCapabilities } from '../scheduler/pools.ts'
import { schedule } from '../scheduler/schedule.ts'
import { getTypeByIdOrName, stringMapOf, type TypeRow, typeFacts } from '../types/queries.ts'
import { chooseZone } from '../zones.ts'
import { findGroup, type GroupApi, type GroupRow, transitionGroup, volumeTypesOf } from './queries.ts'

/**
 * Records a group with the job that finds it a backend.
 * @param wanted.groupType id or name; ignored for consistency groups, which have a type of their own
 * @throws NotFound, Invalid, OverQuota @see block-storage-api specification 5.13
 */
export async function createGroup(
  block: Block,
  request: BlockRequest,
  api: GroupApi,
  wanted: {
    groupType: string
    volumeTypes: readonly string[]
    name: string | null
    description: string | null
    availabilityZone: string | null
  },
): Promise<GroupRow> {
  authorize(request.identity, 'group:create')
  const id = randomUUID()
  return await block.db.transaction().execute(async (transaction) => {
    const asAdmin = { ...request, isAdmin: request.isAdmin || api === 'consistencygroup' }
    const groupType = await getGroupTypeByIdOrName(
      transaction,
      asAdmin,
      api === 'group' ? wanted.groupType : consistencyGroupType,
    )
    if (api === 'group' && groupType.name === consistencyGroupType) {
      throw new Invalid(
        `Group_type ${groupType.name} is reserved for migrating CGs to groups. Migrated group can only be operated by CG APIs.`,
      )
    }
    const types: TypeRow[] = []
    for (const type of wanted.volumeTypes) types.push(await getTypeByIdOrName(transaction, request, type))
    const zone = chooseZone(block, {
      asked: wanted.availabilityZone ?? undefined,
      ofSource: undefined,
      extraSpecs: {},
    })
    await claimQuota(transaction, block.settings, request.projectId, { groups: 1, typeName: null })
    const row = await insertGroup(block, transaction, {
      id,
      request,
      groupType,
      volumeTypeIds: types.map((type) => type.id),
      name: wanted.name,
      description: wanted.description,
      zone,
      host: null,
      from: undefined,
    })
    await enqueue(block, transaction, 'group.create', {
      resource: `group:${id}`,
      payload: { groupId: id },
      requestId: request.requestId,
    })
    return row
  })
}

/** Inserts a group's row and the list of its volume types. */
export async function insertGroup(
  block: Block,
  transaction: Parameters<typeof claimQuota>[0],
  group: {
    id: string
    request: BlockRequest
    groupType: GroupTypeRow
    volumeTypeIds: readonly string[]
    name: string | null
    description: string | null
    zone: string | null
    host: string | null
    from: { groupSnapshotId: string } | { sourceGroupId: string } | undefined
  },
): Promise<GroupRow> {
  const { from, request } = group
  const row = await transaction
    .insertInto('volume_groups')
    .values({
      id: group.id,
      project_id: request.projectId,
      user_id: request.identity.userId,
      name: group.name,
      description: group.description,
      status: 'creating',
      availability_zone: group.zone,
      group_type_id: group.groupType.id,
      host: group.host,
      group_snapshot_id: from !== undefined && 'groupSnapshotId' in from ? from.groupSnapshotId : null,
      source_group_id: from !== undefined && 'sourceGroupId' in from ? from.sourceGroupId : null,
      replication_status: null,
      created_at: block.now().toISOString(),
      updated_at: null,
    })
    .returningAll()
    .executeTakeFirstOrThrow()
  for (const volumeTypeId of new Set(group.volumeTypeIds)) {
    await transaction
      .insertInto('volume_group_volume_types')
      .values({ group_id: group.id, volume_type_id: volumeTypeId })
      .execute()
  }
  return row
}

/** Finds a backend that serves all volume types of the group. */
export function createGroupJob(block: Block): JobDefinition<{ readonly groupId: string }> {
  return defineJob<{ readonly groupId: string }>({
    kind: 'group.create',

    async run({ groupId }, job) {
      const group = await findGroup(block.db, groupId)
      if (group?.status !== 'creating') return
      const groupType = await getGroupType(block.db, { projectId: '', isAdmin: true }, group.group_type_id)
      const groupSpecs = stringMapOf(groupType.group_specs)
      const { consistent_group_snapshot_enabled: consistent, ...demands } = groupSpecs
      const availabilityZone = group.availability_zone ?? undefined
      let pools = schedule(await poolCandidates(block, job.signal), {
        sizeBytes: 0,
        availabilityZone,
        extraSpecs: demands,
      })
      for (const typeId of (await volumeTypesOf(block.db, [groupId])).get(groupId) ?? []) {
        const extraSpecs = (await typeFacts(block.db, typeId))?.extraSpecs ?? {}
        pools = schedule(pools, { sizeBytes: 0, availabilityZone, extraSpecs })
      }
      // snapshots of detached volumes are consistent everywhere, those of attached ones where the backend takes them
      const able = pools.filter(
        ({ capabilities }) => consistent && hasCapabilities({ capabilities }, groupSpecs),
      )
      const best = able[0] ?? pools[0]
      if (best === undefined) throw new NoCapacity('No backend serves all volume types of the group.')
      await transitionGroup(block.db, groupId, ['creating'], {
        status: 'available',
        host: best.host,
        updated_at: block.now().toISOString(),
      })
      job.log.info({ groupId, host: best.host }, 'group created')
    },

    async fail({ groupId }, error, job) {
      job.log.warn({ groupId, error: messageOf(error) }, 'group could not be placed')
      await transitionGroup(block.db, groupId, ['creating'], {
        status: 'error',
        updated_at: block.now().toISOString(),
      })
    },
  })
}
