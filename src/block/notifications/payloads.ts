import type { GroupSnapshotRow } from '../group-snapshots/queries.ts'
import type { GroupRow } from '../groups/queries.ts'
import type { SnapshotRow } from '../snapshots/queries.ts'
import type { AttachmentRow, VolumeRow } from '../volumes/queries.ts'

/** What a notification says of a volume. @see block-storage-api specification 5.15 */
export function volumeNotice(
  volume: VolumeRow,
  attachments: readonly AttachmentRow[],
): Record<string, unknown> {
  const pairs = (text: string) => JSON.parse(text) as Record<string, string> // our own column
  return {
    tenant_id: volume.project_id,
    host: volume.host,
    user_id: volume.user_id,
    availability_zone: volume.availability_zone,
    volume_id: volume.id,
    volume_type: volume.volume_type_id,
    display_name: volume.name,
    launched_at: volume.launched_at ?? '',
    created_at: volume.created_at,
    status: volume.status,
    snapshot_id: volume.snapshot_id,
    size: volume.size_gib,
    replication_status: volume.replication_status,
    replication_extended_status: null,
    replication_driver_data: null,
    metadata: pairs(volume.metadata),
    // not what they were connected with: that may let somebody in
    volume_attachment: attachments.map((attachment) => ({
      id: attachment.id,
      instance_uuid: attachment.instance_id,
      attached_host: attachment.attached_host,
      mountpoint: attachment.mountpoint,
      attach_mode: attachment.attach_mode,
      attach_status: attachment.attach_status,
    })),
    ...(volume.image_metadata === null ? {} : { glance_metadata: pairs(volume.image_metadata) }),
  }
}

/** What a notification says of a snapshot; metadata is a text there. */
export function snapshotNotice(snapshot: SnapshotRow): Record<string, unknown> {
  return {
    tenant_id: snapshot.project_id,
    user_id: snapshot.user_id,
    volume_id: snapshot.volume_id,
    volume_size: snapshot.size_gib,
    snapshot_id: snapshot.id,
    display_name: snapshot.name,
    created_at: snapshot.created_at,
    status: snapshot.status,
    deleted: '',
    metadata: snapshot.metadata,
  }
}

export function groupSnapshotNotice(snapshot: GroupSnapshotRow): Record<string, unknown> {
  return {
    tenant_id: snapshot.project_id,
    user_id: snapshot.user_id,
    group_snapshot_id: snapshot.id,
    group_id: snapshot.group_id,
    group_type: snapshot.group_type_id,
    name: snapshot.name,
    created_at: snapshot.created_at,
    status: snapshot.status,
  }
}

export function groupNotice(group: GroupRow): Record<string, unknown> {
  return {
    tenant_id: group.project_id,
    user_id: group.user_id,
    availability_zone: group.availability_zone,
    group_id: group.id,
    group_type: group.group_type_id,
    name: group.name,
    created_at: group.created_at,
    status: group.status,
  }
}
