import { randomUUID } from 'node:crypto'
import type { Selectable } from 'kysely'
import type { Block, BlockDb } from '../context.ts'
import type { VolumeMessagesTable } from '../db/tables.ts'

export type MessageRow = Selectable<VolumeMessagesTable>

/** What was being done. @see block-storage-api specification 5.14 */
export const actions = {
  scheduleVolume: '001',
  attachVolume: '002',
  copyVolumeToImage: '003',
  updateAttachment: '004',
  copyImageToVolume: '005',
  unmanageVolume: '006',
  extendVolume: '007',
  createVolumeFromBackend: '008',
  createSnapshot: '009',
  deleteSnapshot: '010',
  updateSnapshot: '011',
  updateSnapshotMetadata: '012',
  createBackup: '013',
  deleteBackup: '014',
  restoreBackup: '015',
  reimageVolume: '016',
} as const

/** What went wrong. */
export const details = {
  unknownError: '001',
  driverNotInitialised: '002',
  noBackendAvailable: '003',
  uploadFailed: '004',
  quotaInsufficient: '006',
  imageLargerThanSpace: '007',
  unmanagingEncryptedUnsupported: '008',
  computeFailedExtend: '009',
  driverFailedExtend: '010',
  imageSignatureWrong: '011',
  driverFailedCreate: '012',
  snapshotCreateFailed: '013',
  snapshotBusy: '015',
  snapshotDeleteFailed: '016',
  attachFailed: '021',
  backupServiceDown: '018',
  backupCreateDriverError: '020',
  backupScheduleError: '024',
  backupDeleteDriverError: '025',
  backupRestoreError: '026',
  volumeStatusInvalid: '027',
  computeFailedReimage: '028',
  imageFormatUnacceptable: '029',
} as const

export type MessageAction = (typeof actions)[keyof typeof actions]
export type MessageDetail = (typeof details)[keyof typeof details]

/** Tells a project what became of something it asked for, after the request was answered. */
export async function writeMessage(
  block: Pick<Block, 'now' | 'settings'>,
  db: BlockDb,
  message: {
    projectId: string
    requestId: string
    resourceType: 'VOLUME' | 'VOLUME_SNAPSHOT' | 'VOLUME_BACKUP'
    resourceId: string
    action: MessageAction
    detail: MessageDetail
    /** What exactly went wrong. */
    sentence?: string | undefined
  },
): Promise<void> {
  const now = block.now()
  await db
    .insertInto('volume_messages')
    .values({
      id: randomUUID(),
      project_id: message.projectId,
      request_id: message.requestId,
      resource_type: message.resourceType,
      resource_uuid: message.resourceId,
      action_id: message.action,
      detail_id: message.detail,
      event_id: `VOLUME_${message.resourceType}_${message.action}_${message.detail}`,
      sentence: message.sentence ?? null,
      message_level: 'ERROR',
      expires_at: new Date(now.getTime() + block.settings.messageTtlSeconds * 1000).toISOString(),
      created_at: now.toISOString(),
    })
    .execute()
}

/** Removes messages whose time is over. */
export async function purgeMessages(block: Pick<Block, 'db' | 'now'>): Promise<void> {
  await block.db.deleteFrom('volume_messages').where('expires_at', '<', block.now().toISOString()).execute()
}
