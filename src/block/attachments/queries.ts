import type { Insertable, Transaction, Updateable } from 'kysely'
import { NotFound } from '../../kernel/errors.ts'
import type { BlockDb } from '../context.ts'
import type { Tables, VolumeAttachmentsTable, VolumesTable } from '../db/tables.ts'
import { stringMapOf } from '../types/queries.ts'
import { type AttachmentRow, updateVolume, type Viewer, type VolumeRow } from '../volumes/queries.ts'

function attachmentNotFound(id: string): NotFound {
  return new NotFound(`Volume attachment could not be found with filter: attachment_id = ${id}.`)
}

/** @throws NotFound when it does not exist or is another project's */
export async function getAttachment(db: BlockDb, viewer: Viewer, id: string): Promise<AttachmentRow> {
  const row = await db.selectFrom('volume_attachments').selectAll().where('id', '=', id).executeTakeFirst()
  if (row === undefined || (!viewer.isAdmin && row.project_id !== viewer.projectId))
    throw attachmentNotFound(id)
  return row
}

export async function attachmentsOf(db: BlockDb, volumeId: string): Promise<readonly AttachmentRow[]> {
  return await db
    .selectFrom('volume_attachments')
    .selectAll()
    .where('volume_id', '=', volumeId)
    .orderBy('created_at')
    .orderBy('id')
    .execute()
}

export async function insertAttachment(
  db: BlockDb,
  row: Insertable<VolumeAttachmentsTable>,
): Promise<AttachmentRow> {
  return await db.insertInto('volume_attachments').values(row).returningAll().executeTakeFirstOrThrow()
}

/** @returns undefined when it is gone */
export async function updateAttachment(
  db: BlockDb,
  id: string,
  set: Updateable<VolumeAttachmentsTable>,
): Promise<AttachmentRow | undefined> {
  return await db
    .updateTable('volume_attachments')
    .set(set)
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirst()
}

export async function deleteAttachmentRow(db: BlockDb, id: string): Promise<void> {
  await db.deleteFrom('volume_attachments').where('id', '=', id).execute()
}

/** States in which a volume follows its attachments; others (extending, uploading…) come back to it by themselves. */
const following = [
  'available',
  'reserved',
  'attaching',
  'in-use',
  'detaching',
  'error_attaching',
  'error_detaching',
]

/**
 * What a volume's status has to be, given its attachments.
 * @see block-storage-api specification 4.5
 */
export function statusFor(
  attachments: readonly Pick<AttachmentRow, 'attach_status'>[],
): Pick<VolumesTable, 'status' | 'attach_status'> {
  const has = (status: string) => attachments.some((attachment) => attachment.attach_status === status)
  if (has('attached')) return { status: 'in-use', attach_status: 'attached' }
  if (has('attaching')) return { status: 'attaching', attach_status: 'attaching' }
  if (has('detaching')) return { status: 'detaching', attach_status: 'detaching' }
  if (has('reserved')) return { status: 'reserved', attach_status: 'reserved' }
  return { status: 'available', attach_status: 'detached' }
}

/**
 * Brings a volume's status in line with its attachments. In the transaction that changed them, with the volume
 * locked.
 */
export async function followAttachments(
  transaction: Transaction<Tables>,
  volume: VolumeRow,
  now: Date,
): Promise<void> {
  const derived = statusFor(await attachmentsOf(transaction, volume.id))
  const adminMetadata = stringMapOf(volume.admin_metadata)
  const { attached_mode: _, ...withoutMode } = adminMetadata
  await updateVolume(transaction, volume.id, {
    ...(following.includes(volume.status) ? derived : { attach_status: derived.attach_status }),
    ...(volume.status === 'extending' || volume.status === 'uploading'
      ? { previous_status: derived.status }
      : {}),
    ...(derived.attach_status === 'detached' ? { admin_metadata: JSON.stringify(withoutMode) } : {}),
    updated_at: now.toISOString(),
  })
}
