import { Invalid } from '../../kernel/errors.ts'
import type { Block, BlockDb } from '../context.ts'
import { InvalidState } from '../errors.ts'
import { getGroupType } from '../group-types/queries.ts'
import type { BlockRequest } from '../operation.ts'
import { authorize, type Rule } from '../policy.ts'
import { stringMapOf } from '../types/queries.ts'
import { type GroupRow, getGroup, lockGroup, updateGroup } from './queries.ts'

/** From which replication states an action may begin. */
const allowedFrom = {
  enable: [null, 'disabled', 'enabled'],
  disable: ['enabled', 'error'],
  failover: ['enabled', 'failed-over'],
} as const

const rules = {
  enable: 'group:enable_replication',
  disable: 'group:disable_replication',
  failover: 'group:failover_replication',
} as const satisfies Record<string, Rule>

/**
 * The replication actions of a group. No driver here replicates: a group that its type would allow to ends with
 * replication status `error`, as upstream's does when the driver cannot.
 * @throws NotFound, Forbidden, Invalid, InvalidState @see block-storage-api specification 4.6
 */
export async function changeReplication(
  block: Block,
  request: BlockRequest,
  id: string,
  change: keyof typeof rules,
): Promise<void> {
  await block.db.transaction().execute(async (transaction) => {
    const group = await lockGroup(transaction, request, 'group', id)
    authorize(request.identity, rules[change], group.project_id)
    await checkReplicating(transaction, request, group)
    if (group.status !== 'available' && group.status !== 'in-use' && group.status !== 'error') {
      throw new InvalidState(`Invalid group: Group ${id} status is ${group.status}: it must be available.`)
    }
    const from: readonly (string | null)[] = allowedFrom[change]
    if (!from.includes(group.replication_status)) {
      throw new InvalidState(
        `Invalid group: Replication status of group ${id} is ${group.replication_status}: ${change} is not possible.`,
      )
    }
    await updateGroup(transaction, id, {
      replication_status: 'error',
      updated_at: block.now().toISOString(),
    })
  })
  request.log.warn({ groupId: id, change }, 'no driver replicates groups')
}

/** Where a group could be replicated to: nowhere. @throws NotFound, Forbidden, Invalid */
export async function replicationTargets(
  block: Block,
  request: BlockRequest,
  id: string,
): Promise<readonly object[]> {
  const group = await getGroup(block.db, request, 'group', id)
  authorize(request.identity, 'group:list_replication_targets', group.project_id)
  await checkReplicating(block.db, request, group)
  return []
}

async function checkReplicating(db: BlockDb, request: BlockRequest, group: GroupRow): Promise<void> {
  const type = await getGroupType(db, { ...request, isAdmin: true }, group.group_type_id)
  const specs = stringMapOf(type.group_specs)
  const keys = ['group_replication_enabled', 'consistent_group_replication_enabled']
  if (keys.some((key) => /^<is>\s+true$/i.test(specs[key] ?? ''))) return
  throw new Invalid(`Invalid group type: Group ${group.id} is not a replication group type.`)
}
