import { Type } from 'typebox'
import { Invalid } from '../../kernel/errors.ts'
import { type Block, enqueue } from '../context.ts'
import { InvalidState, ServiceUnavailable } from '../errors.ts'
import type { BlockRequest } from '../operation.ts'
import { authorize } from '../policy.ts'
import { claimQuota } from '../quotas/limits.ts'
import { closed, validator } from '../validation.ts'
import { requireBackupHost, usableBackupHost } from './backup-service.ts'
import { type BackupRow, findBackup, getBackup, insertBackup } from './queries.ts'

export const importBody = validator(
  closed({
    'backup-record': closed({
      backup_service: Type.String({ minLength: 1, maxLength: 255 }),
      backup_url: Type.String({ minLength: 1 }),
    }),
  }),
)

export interface ImportRecord {
  readonly backup_service: string
  readonly backup_url: string
}

/** Volume of a record that has not been read yet. */
const unknownVolumeId = '00000000-0000-0000-0000-000000000000'

/** What a record says of a backup, in upstream's names of columns and with ours behind them. */
type BackupRecord = Readonly<Record<string, unknown>>

/** @throws NotFound, Forbidden, InvalidState */
export async function exportRecord(
  block: Block,
  request: BlockRequest,
  id: string,
): Promise<{ backup_service: string; backup_url: string }> {
  const backup = await getBackup(block.db, request, id)
  authorize(request.identity, 'backup:export-import', backup.project_id)
  if (backup.status !== 'available') {
    throw new InvalidState(`Invalid backup: Backup status must be available and not ${backup.status}.`)
  }
  await requireBackupHost(block, block.db, backup.availability_zone)
  const url = Buffer.from(JSON.stringify(recordOf(backup))).toString('base64')
  return { backup_service: backup.service ?? '', backup_url: url }
}

function recordOf(row: BackupRow): BackupRecord {
  return {
    id: row.id,
    user_id: row.user_id,
    project_id: row.project_id,
    volume_id: row.volume_id,
    host: row.host,
    availability_zone: row.availability_zone,
    container: row.container,
    parent_id: row.parent_id,
    parent: null,
    status: row.status,
    fail_reason: row.fail_reason,
    size: row.size_gib,
    display_name: row.name,
    display_description: row.description,
    service: row.service,
    service_metadata: row.service_metadata,
    object_count: row.object_count,
    temp_volume_id: null,
    temp_snapshot_id: null,
    snapshot_id: row.snapshot_id,
    data_timestamp: row.data_timestamp,
    restore_volume_id: row.restore_volume_id,
    created_at: row.created_at,
    updated_at: row.updated_at,
    deleted_at: null,
    deleted: false,
    encryption_key_id: row.encryption_key_id,
    metadata: JSON.parse(row.metadata),
    num_dependent_backups: 0,
    driver_info: {},
    handler: row.handler,
    encrypted: row.encrypted === 1,
    metadata_sha256: row.metadata_sha256,
  }
}

/**
 * Takes in the record of a backup that another database knew. Its data is looked for in the background.
 * @throws Forbidden, Invalid, InvalidState, OverQuota, ServiceUnavailable
 */
export async function importRecord(
  block: Block,
  request: BlockRequest,
  body: ImportRecord,
): Promise<BackupRow> {
  authorize(request.identity, 'backup:backup-import')
  if ((await usableBackupHost(block, block.db, null)) === undefined) {
    throw new ServiceUnavailable(`Service ${body.backup_service} could not be found.`)
  }
  const record = decode(body.backup_url)
  const row = rowOf(block, request, record, body.backup_service)
  return await block.db.transaction().execute(async (transaction) => {
    if ((await findBackup(transaction, row.id)) !== undefined) {
      throw new InvalidState('Invalid backup: Backup already exists in database.')
    }
    await claimQuota(transaction, block.settings, request.projectId, {
      backups: 1,
      backupGigabytes: row.size_gib,
      typeName: null,
    })
    const inserted = await insertBackup(transaction, { ...row, volume_id: unknownVolumeId })
    await enqueue(block, transaction, 'backup.import', {
      resource: `backup:${row.id}`,
      payload: { backupId: row.id, volumeId: row.volume_id, service: body.backup_service },
      requestId: request.requestId,
    })
    return inserted
  })
}

function decode(url: string): BackupRecord {
  const cannot = (why: string) => new Invalid(`Invalid input received: Can't parse backup record: ${why}.`)
  if (!/^[A-Za-z0-9+/=\s]+$/.test(url)) throw cannot('it is not base64')
  let record: unknown
  try {
    record = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(url, 'base64')))
  } catch {
    throw cannot('it is not JSON in base64')
  }
  if (typeof record !== 'object' || record === null || Array.isArray(record)) throw cannot('it is no object')
  return record as BackupRecord // an object: checked just now
}

const uuidPattern = /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/i

function rowOf(block: Block, request: BlockRequest, record: BackupRecord, service: string): BackupRow {
  const text = (key: string) => (typeof record[key] === 'string' ? record[key] : null)
  const id = text('id')
  const size = record['size']
  if (id === null) throw new Invalid('Invalid input received: Provided backup record is missing an id')
  if (size === undefined || size === null) {
    throw new Invalid('Invalid input received: Provided backup record is missing size attribute')
  }
  const volumeId = text('volume_id') ?? unknownVolumeId
  const parentId = text('parent_id')
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 1) {
    throw new Invalid('Invalid input received: Provided backup record has an invalid size')
  }
  for (const uuid of [id, volumeId, parentId ?? id]) {
    if (!uuidPattern.test(uuid)) throw new Invalid(`Invalid input received: '${uuid}' is not a UUID`)
  }
  const now = block.now().toISOString()
  const moment = (key: string) => {
    const parsed = Date.parse(text(key) ?? '')
    return Number.isNaN(parsed) ? now : new Date(parsed).toISOString()
  }
  const count = record['object_count']
  return {
    id,
    project_id: request.projectId,
    user_id: request.identity.userId,
    volume_id: volumeId,
    snapshot_id: text('snapshot_id'),
    parent_id: parentId,
    name: text('display_name'),
    description: text('display_description'),
    size_gib: size,
    status: 'creating',
    fail_reason: null,
    object_count: typeof count === 'number' && Number.isSafeInteger(count) ? count : 0,
    container: text('container'),
    service: text('service') ?? service,
    handler: text('handler'),
    service_metadata: text('service_metadata'),
    metadata_sha256: text('metadata_sha256'),
    encrypted: record['encrypted'] === true ? 1 : 0,
    availability_zone: text('availability_zone') ?? block.settings.storageAvailabilityZone,
    host: null,
    encryption_key_id: text('encryption_key_id'),
    metadata: '{}',
    activity: null,
    restore_volume_id: null,
    data_timestamp: moment('data_timestamp'),
    created_at: moment('created_at'),
    updated_at: null,
  }
}
