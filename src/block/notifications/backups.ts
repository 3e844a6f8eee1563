import type { BackupRow } from '../backups/queries.ts'
import type { Block } from '../context.ts'

/**
 * Tells what happens to a backup.
 * @param event `create.start`, `createprogress`…
 * @see block-storage-api specification 5.15
 */
export function notifyBackup(
  { notifications }: Pick<Block, 'notifications'>,
  event: string,
  backup: BackupRow,
  more: Readonly<Record<string, unknown>> = {},
): void {
  notifications.emit(`backup.${event}`, `backup.${backup.host?.split('#', 1)[0] ?? 'unknown'}`, {
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
  })
}
