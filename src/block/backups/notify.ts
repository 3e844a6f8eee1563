import type { Logger } from '../../kernel/log.ts'
import type { BackupRow } from './queries.ts'

/**
 * Tells in the log what happens to a backup, as upstream's notifications do.
 * @param event `create.start`, `createprogress`…
 * @see block-storage-api specification 5.15
 */
export function notifyBackup(
  log: Logger,
  event: string,
  backup: BackupRow,
  more: Readonly<Record<string, unknown>> = {},
): void {
  const payload = {
    tenant_id: backup.project_id,
    user_id: backup.user_id,
    availability_zone: backup.availability_zone,
    backup_id: backup.id,
    host: backup.host,
    display_name: backup.name,
    created_at: backup.created_at,
    status: backup.status,
    volume_id: backup.volume_id,
    size: backup.size_gib,
    service_metadata: backup.service_metadata,
    service: backup.service,
    fail_reason: backup.fail_reason,
    parent_id: backup.parent_id,
    snapshot_id: backup.snapshot_id,
    ...more,
  }
  log.info({ event_type: `backup.${event}`, payload }, 'notification')
}
