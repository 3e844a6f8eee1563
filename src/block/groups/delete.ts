import { Invalid } from '../../kernel/errors.ts'
import { attachmentsOf } from '../attachments/queries.ts'
import { type Block, enqueue } from '../context.ts'
import { InvalidState } from '../errors.ts'
import { notifyGroup } from '../notifications/groups.ts'
import type { BlockRequest } from '../operation.ts'
import { authorize } from '../policy.ts'
import { snapshotsOfVolume, updateVolume } from '../volumes/queries.ts'
import { deleteGroupRow, type GroupApi, lockGroup, membersOf, updateGroup } from './queries.ts'

/**
 * Deletes a group and, if asked to, its members: each by a job of its own, the last of which removes the group.
 * @throws NotFound, Forbidden, InvalidState @see block-storage-api specification 4.6
 */
export async function deleteGroup(
  block: Block,
  request: BlockRequest,
  api: GroupApi,
  id: string,
  withVolumes: boolean,
): Promise<void> {
  const { group, isGone } = await block.db.transaction().execute(async (transaction) => {
    const group = await lockGroup(transaction, request, api, id)
    authorize(request.identity, 'group:delete', group.project_id)
    const members = await membersOf(transaction, id)
    const refuse = (why: string) => new InvalidState(`Invalid group: Group ${id} cannot be deleted: ${why}.`)
    if (!withVolumes && group.status !== 'available' && group.status !== 'error' && group.host !== null) {
      throw refuse(`status must be available or error, and it is ${group.status}`)
    }
    if (!withVolumes && members.length > 0) {
      if (api === 'group') throw refuse('it has volumes, and delete-volumes was not set')
      throw new Invalid(`Consistency group ${id} still contains volumes. Pass force to delete them with it.`)
    }
    const snapshot = await transaction
      .selectFrom('volume_group_snapshots')
      .select('id')
      .where('group_id', '=', id)
      .limit(1)
      .executeTakeFirst()
    if (snapshot !== undefined) throw refuse('it has group snapshots')
    const copy = await transaction
      .selectFrom('volume_groups')
      .select('id')
      .where('source_group_id', '=', id)
      .where('status', '=', 'creating')
      .limit(1)
      .executeTakeFirst()
    if (copy !== undefined) throw refuse(`group ${copy.id} is being made from it`)
    const now = block.now().toISOString()
    for (const member of members) {
      if (member.attach_status === 'attached' || (await attachmentsOf(transaction, member.id)).length > 0) {
        throw refuse(`its volume ${member.id} is attached`)
      }
      if ((await snapshotsOfVolume(transaction, member.id)).length > 0) {
        throw refuse(`its volume ${member.id} has snapshots`)
      }
      await updateVolume(transaction, member.id, {
        status: 'deleting',
        previous_status: member.status,
        updated_at: now,
      })
      await enqueue(block, transaction, 'volume.delete', {
        resource: `volume:${member.id}`,
        payload: { volumeId: member.id },
        requestId: request.requestId,
      })
    }
    if (members.length === 0) await deleteGroupRow(transaction, id)
    else await updateGroup(transaction, id, { status: 'deleting', updated_at: now })
    return { group, isGone: members.length === 0 }
  })
  notifyGroup(block, 'delete.start', { ...group, status: 'deleting' })
  if (isGone) notifyGroup(block, 'delete.end', { ...group, status: 'deleted' })
}
