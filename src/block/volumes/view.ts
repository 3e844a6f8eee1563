import { wireDate } from '../links.ts'
import type { BlockRequest } from '../operation.ts'
import { isAllowed } from '../policy.ts'
import type { AttachmentRow, VolumeWithType } from './queries.ts'

const json = JSON.stringify

/** Internal states that clients see under another name. */
const masked: Readonly<Record<string, string>> = {
  managing: 'creating',
  error_managing: 'error',
  error_managing_deleting: 'deleting',
}

/** `show` and detail lists carry attributes that the answers to create and update do not. */
export type VolumeViewKind = 'show' | 'create'

/**
 * A volume as JSON text. Written by hand rather than through objects: lists of a thousand are common, and this
 * is most of the time they take.
 * @see block-storage-api specification 3.1
 */
export function volumeJson(
  volume: VolumeWithType,
  attachments: readonly AttachmentRow[],
  request: BlockRequest,
  kind: VolumeViewKind,
): string {
  const { minor, isAdmin } = request
  let text = `{"id":"${volume.id}","name":${json(volume.name)},"description":${json(volume.description)}`
  text += `,"status":"${masked[volume.status] ?? volume.status}","size":${volume.size_gib}`
  text += `,"availability_zone":${json(volume.availability_zone)},"created_at":"${wireDate(volume.created_at)}"`
  text += `,"updated_at":${json(wireDate(volume.updated_at))},"volume_type":${json(volume.volume_type_name)}`
  text += `,"snapshot_id":${json(volume.snapshot_id)},"source_volid":${json(volume.source_volume_id)}`
  text += `,"metadata":${kind === 'show' ? metadataJson(volume) : volume.metadata}`
  text += `,"links":${request.links.json('volumes', volume.id)},"user_id":${json(volume.user_id)}`
  text += `,"bootable":"${volume.bootable === 1}","encrypted":${volume.encryption_key_id !== null}`
  text += `,"replication_status":${json(volume.replication_status)},"consistencygroup_id":${json(volume.consistency_group_id)}`
  text += `,"multiattach":${volume.multiattach === 1}`
  text += `,"attachments":${attachments.length === 0 ? '[]' : attachmentsJson(attachments, request)}`
  if (isAdmin) text += `,"migration_status":${json(volume.migration_status)}`
  if (minor >= 13) text += `,"group_id":${json(volume.group_id)}`
  if (minor >= 21 && isAdmin) text += `,"provider_id":${json(volume.provider_id)}`
  if (minor >= 48) text += `,"shared_targets":false,"service_uuid":${json(volume.service_id)}`
  if (minor >= 61 && isAdmin) text += ',"cluster_name":null'
  if (minor >= 63) text += `,"volume_type_id":${json(volume.volume_type_id)}`
  if (minor >= 64 && volume.encryption_key_id !== null) {
    text += `,"encryption_key_id":${json(volume.encryption_key_id)}`
  }
  if (minor >= 65) text += `,"consumes_quota":${volume.consumes_quota === 1}`
  if (kind === 'show') {
    if (isAllowed(request.identity, 'volume_extension:volume_tenant_attribute', volume.project_id)) {
      text += `,"os-vol-tenant-attr:tenant_id":${json(volume.project_id)}`
    }
    if (isAllowed(request.identity, 'volume_extension:volume_host_attribute', volume.project_id)) {
      text += `,"os-vol-host-attr:host":${json(volume.host)}`
    }
    if (isAllowed(request.identity, 'volume_extension:volume_mig_status_attribute', volume.project_id)) {
      text += `,"os-vol-mig-status-attr:migstat":${json(volume.migration_status)}`
      text += `,"os-vol-mig-status-attr:name_id":${json(volume.name_id)}`
    }
    if (
      volume.image_metadata !== null &&
      isAllowed(request.identity, 'volume_extension:volume_image_metadata:show', volume.project_id)
    )
      text += `,"volume_image_metadata":${volume.image_metadata}`
  }
  return `${text}}`
}

/** What the plain list shows of a volume. */
export function volumeSummaryJson(
  volume: Pick<VolumeWithType, 'id' | 'name'>,
  request: BlockRequest,
): string {
  const links = request.links.json('volumes', volume.id)
  return `{"id":"${volume.id}","name":${json(volume.name)},"links":${links}}`
}

/** The metadata, with those parts of the admin metadata that everybody sees. */
function metadataJson(volume: VolumeWithType): string {
  if (volume.admin_metadata === '{}') return volume.metadata
  return json({ ...JSON.parse(volume.metadata), ...JSON.parse(volume.admin_metadata) })
}

/** @see block-storage-api specification 3.2 */
function attachmentsJson(attachments: readonly AttachmentRow[], request: BlockRequest): string {
  const seesHost = request.isAdmin || request.identity.roles.includes('service')
  return json(
    attachments
      .filter((attachment) => attachment.attach_status === 'attached')
      .map((attachment) => ({
        id: attachment.volume_id,
        attachment_id: attachment.id,
        volume_id: attachment.volume_id,
        server_id: attachment.instance_id,
        host_name: seesHost ? attachment.attached_host : null,
        device: attachment.mountpoint,
        attached_at: wireDate(attachment.attached_at),
      })),
  )
}
