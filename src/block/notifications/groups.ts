import type { Block } from '../context.ts'
import type { GroupSnapshotRow } from '../group-snapshots/queries.ts'
import { findGroup, type GroupRow } from '../groups/queries.ts'
import { groupNotice, groupSnapshotNotice } from './payloads.ts'

type Telling = Pick<Block, 'db' | 'notifications'>

/**
 * Tells of a group that is made from another, or deleted: that begins with a request and ends with the last job of a
 * member.
 * @param event `delete.start`
 */
export function notifyGroup({ notifications }: Telling, event: string, group: GroupRow): void {
  notifications.emit(`group.${event}`, publisher('group', group.host), groupNotice(group))
}

/** The same of a snapshot of a group. */
export async function notifyGroupSnapshot(
  block: Telling,
  event: string,
  snapshot: GroupSnapshotRow,
): Promise<void> {
  const type = `group_snapshot.${event}`
  if (!block.notifications.tells(type)) return
  const group = await findGroup(block.db, snapshot.group_id)
  block.notifications.emit(type, publisher('group_snapshot', group?.host), groupSnapshotNotice(snapshot))
}

function publisher(kind: string, host: string | null | undefined): string {
  return `${kind}.${host?.split('#', 1)[0] ?? 'unknown'}`
}
