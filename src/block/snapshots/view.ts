import { wireDate } from '../links.ts'
import type { BlockRequest } from '../operation.ts'
import { isAllowed } from '../policy.ts'
import type { SnapshotRow } from './queries.ts'

const json = JSON.stringify

/**
 * A snapshot as JSON text.
 * @param kind `show` is for detail lists too; `list` is the plain list
 * @see block-storage-api specification 3.4
 */
export function snapshotJson(
  row: SnapshotRow,
  request: BlockRequest,
  kind: 'show' | 'create' | 'list',
): string {
  const { minor } = request
  let text = `{"id":"${row.id}","name":${json(row.name)},"description":${json(row.description)}`
  text += `,"volume_id":"${row.volume_id}","status":"${row.status}","size":${row.size_gib}`
  text += `,"metadata":${row.metadata},"created_at":"${wireDate(row.created_at)}"`
  text += `,"updated_at":${json(wireDate(row.updated_at))}`
  if (kind === 'list') return `${text}}`
  if (minor >= 14) text += `,"group_snapshot_id":${json(row.group_snapshot_id)}`
  if (minor >= 41) text += `,"user_id":${json(row.user_id)}`
  if (minor >= 65) text += `,"consumes_quota":${row.consumes_quota === 1}`
  const extended = 'volume_extension:extended_snapshot_attributes'
  if (kind === 'show' && isAllowed(request.identity, extended, row.project_id)) {
    text += `,"os-extended-snapshot-attributes:progress":${json(row.progress)}`
    text += `,"os-extended-snapshot-attributes:project_id":${json(row.project_id)}`
  }
  return `${text}}`
}
