import { randomUUID } from 'node:crypto'
import type { Transaction } from 'kysely'
import { type Static, Type } from 'typebox'
import { GiB } from '../../kernel/bytes.ts'
import { Invalid } from '../../kernel/errors.ts'
import { type Block, enqueue } from '../context.ts'
import type { Tables } from '../db/tables.ts'
import { InvalidState } from '../errors.ts'
import type { BlockRequest } from '../operation.ts'
import { authorize } from '../policy.ts'
import { claimQuota } from '../quotas/limits.ts'
import { lockSnapshot, type SnapshotRow, updateSnapshot } from '../snapshots/queries.ts'
import { booleanOf, closed, LaxBoolean, Metadata, Name, Uuid, UuidOrNull, validator } from '../validation.ts'
import { lockVolume, updateVolume, type VolumeRow } from '../volumes/queries.ts'
import { usableBackupHost } from './backup-service.ts'
import { chooseHandler, keyInName } from './dispatch.ts'
import { type BackupRow, insertBackup, newestBackup, storedBackup } from './queries.ts'
import { workerOf } from './worker.ts'

const ContainerName = Type.Union([Type.String({ maxLength: 255 }), Type.Null()])
const flag = Type.Optional(Type.Union([LaxBoolean, Type.Null()], { description: 'is not a boolean' }))
const fields = {
  volume_id: Uuid,
  snapshot_id: Type.Optional(UuidOrNull),
  name: Type.Optional(Name),
  description: Type.Optional(Name),
  container: Type.Optional(ContainerName),
  incremental: flag,
  force: flag,
}
const withMetadata = { ...fields, metadata: Type.Optional(Type.Union([Metadata, Type.Null()])) }
const withZone = {
  ...withMetadata,
  availability_zone: Type.Optional(Type.Union([Type.String({ minLength: 1, maxLength: 255 }), Type.Null()])),
}
type CreateBackup = Static<ReturnType<typeof Type.Object<typeof withZone>>>

const plainBody = validator(closed({ backup: closed(fields) }))
const metadataBody = validator(closed({ backup: closed(withMetadata) }))
const zoneBody = validator(closed({ backup: closed(withZone) }))

export function createBackupBody(minor: number) {
  if (minor >= 51) return zoneBody
  return minor >= 43 ? metadataBody : plainBody
}

/** What the job that makes a backup is told; it must find the source even when the row is gone. */
export interface CreateBackupPayload {
  readonly [key: string]: string | null
  readonly backupId: string
  readonly volumeId: string
  readonly snapshotId: string | null
}

const isSet = (value: Static<typeof LaxBoolean> | null | undefined) =>
  value !== undefined && value !== null && booleanOf(value)

/**
 * Checks a request for a backup and records it with its job, in one transaction.
 * @throws NotFound, Forbidden, Invalid, InvalidState, OverQuota @see block-storage-api specification 4.4, 5.11
 */
export async function createBackup(
  block: Block,
  request: BlockRequest,
  body: CreateBackup,
): Promise<BackupRow> {
  const backup = await block.db.transaction().execute(async (transaction) => {
    const volume = await lockVolume(transaction, request, body.volume_id)
    authorize(request.identity, 'backup:create', volume.project_id)
    const snapshot = body.snapshot_id
      ? await snapshotOf(transaction, request, volume, body.snapshot_id)
      : undefined
    if (snapshot === undefined) checkVolume(volume, isSet(body.force))
    await claimQuota(transaction, block.settings, request.projectId, {
      backups: 1,
      backupGigabytes: volume.size_gib,
      typeName: null,
    })
    const parent = isSet(body.incremental)
      ? await parentOf(transaction, request, volume, snapshot)
      : undefined
    const row = await insertBackup(transaction, await newRow(transaction, { volume, snapshot, parent }))
    const updated_at = block.now().toISOString()
    if (snapshot !== undefined) {
      await updateSnapshot(transaction, snapshot.id, { status: 'backing-up', updated_at })
    } else {
      const previous_status = volume.status
      await updateVolume(transaction, volume.id, { status: 'backing-up', previous_status, updated_at })
    }
    const payload: CreateBackupPayload = {
      backupId: row.id,
      volumeId: volume.id,
      snapshotId: snapshot?.id ?? null,
    }
    const resource = workerOf(block, row.id)
    await enqueue(block, transaction, 'backup.create', { resource, payload, requestId: request.requestId })
    return row
  })
  request.log.info({ backupId: backup.id, volumeId: backup.volume_id }, 'backup requested')
  return backup

  async function newRow(
    transaction: Transaction<Tables>,
    from: { volume: VolumeRow; snapshot: SnapshotRow | undefined; parent: BackupRow | undefined },
  ): Promise<BackupRow> {
    const id = randomUUID()
    const createdAt = block.now().toISOString()
    const name = body.name?.trim() ?? null
    const { volume, snapshot, parent } = from
    const handler = parent?.handler ?? chooseHandler(name, block.backups)
    if (parent !== undefined) checkName(block, name, handler)
    const plan = {
      id,
      name: name ?? undefined,
      description: body.description ?? undefined,
      volumeId: volume.id,
      sizeBytes: volume.size_gib * GiB,
      createdAt,
      container: body.container || undefined,
    }
    const placement = block.backups.find(handler)?.place(plan, parent && storedBackup(parent))
    const zone = body.availability_zone ?? null
    const dispatched = block.backups.dispatching ? block.backups.primary : handler
    return {
      id,
      project_id: request.projectId,
      user_id: request.identity.userId,
      volume_id: volume.id,
      snapshot_id: snapshot?.id ?? null,
      parent_id: parent?.id ?? null,
      name,
      description: body.description?.trim() ?? null,
      size_gib: volume.size_gib,
      status: 'creating',
      fail_reason: null,
      object_count: 0,
      container: placement?.container ?? (body.container || null),
      service: block.backups.serviceName(dispatched) ?? null,
      handler,
      service_metadata: placement?.prefix ?? null,
      metadata_sha256: null,
      encrypted: placement?.encrypted === true ? 1 : 0,
      availability_zone: zone ?? block.settings.storageAvailabilityZone,
      host: (await usableBackupHost(block, transaction, zone)) ?? null,
      encryption_key_id: volume.encryption_key_id,
      metadata: JSON.stringify(body.metadata ?? {}),
      activity: null,
      restore_volume_id: null,
      data_timestamp: snapshot?.created_at ?? createdAt,
      created_at: createdAt,
      updated_at: null,
    }
  }
}

async function snapshotOf(
  transaction: Transaction<Tables>,
  request: BlockRequest,
  volume: VolumeRow,
  id: string,
): Promise<SnapshotRow> {
  const snapshot = await lockSnapshot(transaction, request, id)
  if (snapshot.volume_id !== volume.id) {
    throw new Invalid(
      `Invalid volume: Volume ${volume.id} does not match with snapshot.volume_id ${snapshot.volume_id}.`,
    )
  }
  if (snapshot.status !== 'available') {
    throw new InvalidState(
      `Invalid snapshot: Snapshot to be backed up must be available, but the current status is "${snapshot.status}".`,
    )
  }
  return snapshot
}

function checkVolume(volume: VolumeRow, force: boolean): void {
  if (volume.status !== 'available' && volume.status !== 'in-use') {
    throw new InvalidState(
      `Invalid volume: Volume to be backed up must be available or in-use, but the current status is "${volume.status}".`,
    )
  }
  if (volume.status === 'in-use' && !force) {
    throw new InvalidState('Invalid volume: Backing up an in-use volume must use the force flag.')
  }
}

async function parentOf(
  transaction: Transaction<Tables>,
  request: BlockRequest,
  volume: VolumeRow,
  snapshot: SnapshotRow | undefined,
): Promise<BackupRow> {
  const parent = await newestBackup(transaction, volume.id, request.projectId, snapshot?.created_at)
  if (parent !== undefined) return parent
  throw new InvalidState('Invalid backup: No backups available to do an incremental backup.')
}

/** An increment lies where its parent lies; a name that says otherwise contradicts itself. */
function checkName(block: Block, name: string | null, handler: string): void {
  if (!block.backups.dispatching) return
  const key = keyInName(name, block.backups.enabled)
  if (key === undefined || key === handler) return
  throw new InvalidState(
    `Invalid backup: The parent of the incremental backup is kept by the driver ${handler}; its name '${name}' asks for ${key}.`,
  )
}
