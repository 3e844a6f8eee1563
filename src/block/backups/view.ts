import { wireDate } from '../links.ts'
import type { BlockRequest } from '../operation.ts'
import { isAllowed } from '../policy.ts'
import type { BackupRow, BackupWithDependents } from './queries.ts'

const json = JSON.stringify

/** What the plain list, and the answers to create, update and import, show. */
export function backupSummaryJson(row: Pick<BackupRow, 'id' | 'name'>, request: BlockRequest): string {
  return `{"id":"${row.id}","name":${json(row.name)},"links":${request.links.json('backups', row.id)}}`
}

/** A backup as JSON text. @see block-storage-api specification 3.5 */
export function backupJson(row: BackupWithDependents, request: BlockRequest): string {
  const { minor } = request
  let text = `{"id":"${row.id}","name":${json(row.name)},"description":${json(row.description)}`
  text += `,"status":"${row.status}","size":${row.size_gib},"object_count":${row.object_count}`
  text += `,"availability_zone":${json(row.availability_zone)},"container":${json(row.container)}`
  text += `,"created_at":"${wireDate(row.created_at)}","updated_at":${json(wireDate(row.updated_at))}`
  text += `,"fail_reason":${json(row.fail_reason)},"volume_id":"${row.volume_id}"`
  text += `,"links":${request.links.json('backups', row.id)},"is_incremental":${row.parent_id !== null}`
  text += `,"has_dependent_backups":${Number(row.dependents) > 0},"snapshot_id":${json(row.snapshot_id)}`
  text += `,"data_timestamp":"${wireDate(row.data_timestamp)}"`
  if (isAllowed(request.identity, 'backup:backup_project_attribute', row.project_id)) {
    if (minor >= 18) text += `,"os-backup-project-attr:project_id":${json(row.project_id)}`
    if (minor >= 56) text += `,"user_id":${json(row.user_id)}`
  }
  if (minor >= 43) text += `,"metadata":${row.metadata}`
  if (minor >= 64 && row.encryption_key_id !== null) {
    text += `,"encryption_key_id":${json(row.encryption_key_id)}`
  }
  return `${text}}`
}
