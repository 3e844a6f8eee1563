import { randomUUID } from 'node:crypto'
import type { Transaction } from 'kysely'
import { Invalid } from '../../kernel/errors.ts'
import { type Block, enqueue } from '../context.ts'
import type { Tables } from '../db/tables.ts'
import { InvalidState } from '../errors.ts'
import { getGroupType } from '../group-types/queries.ts'
import { type GroupApi, lockGroup, membersOf } from '../groups/queries.ts'
import { notifyGroupSnapshot } from '../notifications/groups.ts'
import type { BlockRequest } from '../operation.ts'
import { authorize } from '../policy.ts'
import { claimQuota } from '../quotas/limits.ts'
import { backendOf } from '../scheduler/pools.ts'
import { insertSnapshot, type SnapshotRow } from '../snapshots/queries.ts'
import { stringMapOf } from '../types/queries.ts'
import type { VolumeRow } from '../volumes/queries.ts'
import type { GroupSnapshotRow } from './queries.ts'
import { mustBeConsistent } from './take-together.ts'

const snapshotable = ['available', 'in-use']
const notMigrating = [null, 'deleting', 'error', 'success']

/**
 * Records a snapshot of every member. Where the group's type demands consistent snapshots and the backend can take
 * them, one job takes all at one moment; otherwise each has its own job, and the last of them makes the group snapshot
 * available. What nobody writes to is consistent in that way too: a group that demands it is refused while a member is
 * attached.
 * @throws NotFound, Forbidden, InvalidState, OverQuota @see block-storage-api specification 4.6, 5.13
 */
export async function createGroupSnapshot(
  block: Block,
  request: BlockRequest,
  api: GroupApi,
  wanted: { groupId: string; name: string | null; description: string | null },
): Promise<GroupSnapshotRow> {
  const taken = await block.db.transaction().execute(async (transaction) => {
    const group = await lockGroup(transaction, request, api, wanted.groupId)
    authorize(request.identity, 'group:create_group_snapshot', group.project_id)
    if (group.status !== 'available' && group.status !== 'in-use') {
      throw new InvalidState(`Invalid group: Group ${group.id} status is ${group.status}, not available.`)
    }
    const members = await membersOf(transaction, group.id)
    if (members.length === 0) {
      throw new Invalid(`Invalid group: Group ${group.id} is empty. No group snapshot will be created.`)
    }
    const type = await getGroupType(transaction, { ...request, isAdmin: true }, group.group_type_id)
    const demandsConsistency = mustBeConsistent(stringMapOf(type.group_specs))
    const together = demandsConsistency && canTakeTogether(block, members)
    const id = randomUUID()
    const row = await transaction
      .insertInto('volume_group_snapshots')
      .values({
        id,
        project_id: group.project_id,
        user_id: request.identity.userId,
        group_id: group.id,
        group_type_id: group.group_type_id,
        name: wanted.name,
        description: wanted.description,
        status: 'creating',
        created_at: block.now().toISOString(),
        updated_at: null,
      })
      .returningAll()
      .executeTakeFirstOrThrow()
    for (const member of members) {
      checkMember(member, demandsConsistency && !together)
      const snapshot = await snapshotMember(block, transaction, request, row, member)
      if (together) continue
      await enqueue(block, transaction, 'snapshot.create', {
        resource: `volume:${member.id}`,
        payload: { snapshotId: snapshot.id },
        requestId: request.requestId,
      })
    }
    if (together) {
      await enqueue(block, transaction, 'group_snapshot.create', {
        resource: `group:${group.id}`,
        payload: { groupSnapshotId: id },
        requestId: request.requestId,
      })
    }
    return row
  })
  await notifyGroupSnapshot(block, 'create.start', taken)
  return taken
}

/** Whether all are on one backend, whose driver takes snapshots of several volumes at one moment. */
function canTakeTogether(block: Block, members: readonly VolumeRow[]): boolean {
  const hosts = new Set(members.map(({ host }) => backendOf(host ?? '')))
  const backend = block.backends.all.find(({ host }) => hosts.size === 1 && hosts.has(host))
  return backend?.driver.groups !== undefined
}

function checkMember(volume: VolumeRow, mustBeDetached: boolean): void {
  const refuse = (why: string) =>
    new InvalidState(`Invalid volume: The snapshot cannot be created because volume ${volume.id} ${why}.`)
  if (volume.host === null) throw refuse('is not on a backend')
  if (!snapshotable.includes(volume.status)) throw refuse(`is in ${volume.status} status`)
  if (!notMigrating.includes(volume.migration_status)) throw refuse('is being migrated')
  if (mustBeDetached && volume.status === 'in-use') {
    throw refuse('is attached, and its backend takes no consistent snapshots of several attached volumes')
  }
}

async function snapshotMember(
  block: Block,
  transaction: Transaction<Tables>,
  request: BlockRequest,
  group: GroupSnapshotRow,
  volume: VolumeRow,
): Promise<SnapshotRow> {
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
  return await insertSnapshot(transaction, {
    id: randomUUID(),
    project_id: volume.project_id,
    user_id: request.identity.userId,
    volume_id: volume.id,
    group_snapshot_id: group.id,
    volume_type_id: volume.volume_type_id,
    name: group.name,
    description: group.description,
    size_gib: volume.size_gib,
    status: 'creating',
    progress: '0%',
    encryption_key_id: volume.encryption_key_id,
    consumes_quota: 1,
    provider_location: null,
    metadata: '{}',
    created_at: block.now().toISOString(),
    updated_at: null,
  })
}
