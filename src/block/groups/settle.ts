import type { Transaction } from 'kysely'
import type { Block } from '../context.ts'
import type { Tables } from '../db/tables.ts'
import { notifyGroup } from '../notifications/groups.ts'
import { deleteGroupRow, findGroup, type GroupRow, transitionGroup } from './queries.ts'

/**
 * Moves a volume on, in a transaction. A group that is being made from another, or deleted with its members, is
 * done when its last member is: the members' own jobs do the work, so that none of it is lost with the process.
 * @param groupId of the volume's group, if it is in one: locked first, as whoever deletes a group does
 */
export async function moveMember<Result>(
  block: Pick<Block, 'db' | 'now' | 'notifications'>,
  groupId: string | null,
  move: (transaction: Transaction<Tables>) => Promise<Result>,
): Promise<Result> {
  let settled: Settled | undefined
  const result = await block.db.transaction().execute(async (transaction) => {
    if (groupId === null) return await move(transaction)
    await transaction.updateTable('volume_groups').set({ id: groupId }).where('id', '=', groupId).execute()
    const moved = await move(transaction)
    settled = await settleGroup(block, transaction, groupId)
    return moved
  })
  if (settled !== undefined) notifyGroup(block, settled.event, settled.group)
  return result
}

/** What there is to tell of a group that has come to rest. */
interface Settled {
  readonly event: string
  readonly group: GroupRow
}

async function settleGroup(
  block: Pick<Block, 'now'>,
  transaction: Transaction<Tables>,
  groupId: string,
): Promise<Settled | undefined> {
  const group = await findGroup(transaction, groupId)
  if (group === undefined) return undefined
  const rows = await transaction
    .selectFrom('volumes')
    .select('status')
    .where('group_id', '=', groupId)
    .execute()
  const statuses = rows.map((row) => row.status)
  const updated_at = block.now().toISOString()
  if (group.status === 'deleting') {
    if (statuses.length === 0) {
      await deleteGroupRow(transaction, groupId)
      return { event: 'delete.end', group: { ...group, status: 'deleted' } }
    }
    if (!statuses.includes('deleting')) {
      await transitionGroup(transaction, groupId, ['deleting'], { status: 'error_deleting', updated_at })
    }
  }
  const isCopy = group.group_snapshot_id !== null || group.source_group_id !== null
  if (group.status === 'creating' && isCopy) {
    if (statuses.some((status) => status === 'creating' || status === 'downloading')) return undefined
    const status = statuses.includes('error') ? 'error' : 'available'
    await transitionGroup(transaction, groupId, ['creating'], { status, updated_at })
    if (status === 'available') return { event: 'create.end', group: { ...group, status } }
  }
  return undefined
}
