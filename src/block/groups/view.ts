import { wireDate } from '../links.ts'
import type { BlockRequest } from '../operation.ts'
import { isAllowed } from '../policy.ts'
import type { GroupRow } from './queries.ts'

/** What the plain list and the answers to create show. */
export function groupSummary(row: Pick<GroupRow, 'id' | 'name'>): object {
  return { id: row.id, name: row.name }
}

/**
 * A group in full.
 * @param more.volumes ids of the members; undefined when they were not asked for
 * @see block-storage-api specification 3.10
 */
export function groupView(
  row: GroupRow,
  request: BlockRequest,
  more: { volumeTypes: readonly string[]; volumes: readonly string[] | undefined },
): object {
  const { minor } = request
  return {
    id: row.id,
    status: row.status,
    availability_zone: row.availability_zone,
    created_at: wireDate(row.created_at),
    name: row.name,
    description: row.description,
    group_type: row.group_type_id,
    volume_types: more.volumeTypes,
    ...(minor >= 14
      ? { group_snapshot_id: row.group_snapshot_id, source_group_id: row.source_group_id }
      : {}),
    ...(more.volumes === undefined ? {} : { volumes: more.volumes }),
    ...(minor >= 38 ? { replication_status: row.replication_status } : {}),
    ...(minor >= 58 && isAllowed(request.identity, 'group:group_project_attribute', row.project_id)
      ? { project_id: row.project_id }
      : {}),
  }
}

/** A consistency group in full. */
export function consistencyGroupView(row: GroupRow, volumeTypes: readonly string[]): object {
  return {
    id: row.id,
    status: row.status,
    availability_zone: row.availability_zone,
    created_at: wireDate(row.created_at),
    name: row.name,
    description: row.description,
    volume_types: volumeTypes,
  }
}
