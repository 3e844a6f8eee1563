import { type Block, enqueue } from '../context.ts'
import { InvalidState } from '../errors.ts'
import type { GroupApi } from '../groups/queries.ts'
import { notifyGroupSnapshot } from '../notifications/groups.ts'
import type { BlockRequest } from '../operation.ts'
import { authorize } from '../policy.ts'
import { updateSnapshot } from '../snapshots/queries.ts'
import {
  lockGroupSnapshot,
  membersOfGroupSnapshot,
  settleGroupSnapshot,
  updateGroupSnapshot,
} from './queries.ts'

/**
 * Deletes a group snapshot with its members, each by a job of its own.
 * @throws NotFound, Forbidden, InvalidState
 */
export async function deleteGroupSnapshot(
  block: Block,
  request: BlockRequest,
  api: GroupApi,
  id: string,
): Promise<void> {
  const { row, settled } = await block.db.transaction().execute(async (transaction) => {
    const row = await lockGroupSnapshot(transaction, request, api, id)
    authorize(request.identity, 'group:delete_group_snapshot', row.project_id)
    const refuse = (why: string) =>
      new InvalidState(`Invalid GroupSnapshot: GroupSnapshot ${id} cannot be deleted: ${why}.`)
    if (row.status !== 'available' && row.status !== 'error') {
      throw refuse(`status must be available or error, and it is ${row.status}`)
    }
    const copy = await transaction
      .selectFrom('volume_groups')
      .select('id')
      .where('group_snapshot_id', '=', id)
      .where('status', '=', 'creating')
      .limit(1)
      .executeTakeFirst()
    if (copy !== undefined) throw refuse(`group ${copy.id} is being made from it`)
    const updated_at = block.now().toISOString()
    await updateGroupSnapshot(transaction, id, { status: 'deleting', updated_at })
    for (const member of await membersOfGroupSnapshot(transaction, id)) {
      await updateSnapshot(transaction, member.id, { status: 'deleting', updated_at })
      await enqueue(block, transaction, 'snapshot.delete', {
        resource: `volume:${member.volume_id}`,
        payload: { snapshotId: member.id },
        requestId: request.requestId,
      })
    }
    // one without members is gone at once
    return { row, settled: await settleGroupSnapshot(block, transaction, id) }
  })
  await notifyGroupSnapshot(block, 'delete.start', { ...row, status: 'deleting' })
  if (settled !== undefined) await notifyGroupSnapshot(block, settled.event, settled.row)
}
