import { randomUUID } from 'node:crypto'
import type { Transaction } from 'kysely'
import { Invalid } from '../../kernel/errors.ts'
import { type BackupRow, getBackup, lockBackup } from '../backups/queries.ts'
import { type Block, enqueue } from '../context.ts'
import type { Tables } from '../db/tables.ts'
import { InvalidState } from '../errors.ts'
import { lockGroup, volumeTypesOf } from '../groups/queries.ts'
import type { ImageFacts } from '../image-service.ts'
import type { BlockRequest } from '../operation.ts'
import { authorize } from '../policy.ts'
import { claimQuota } from '../quotas/limits.ts'
import type { WireHints } from '../scheduler/hints.ts'
import { sizeLimitProblem } from '../scheduler/pools.ts'
import { lockSnapshot, type SnapshotRow } from '../snapshots/queries.ts'
import { defaultType } from '../types/default.ts'
import { getType, getTypeByIdOrName, stringMapOf, type TypeRow } from '../types/queries.ts'
import { booleanOf } from '../validation.ts'
import { chooseZone } from '../zones.ts'
import { emptyVolume } from './empty-volume.ts'
import { keyOfNewVolume, type SourceBytes } from './encryption-key.ts'
import { checkImage, showImage } from './image-source.ts'
import { getVolume, insertVolume, lockVolume, type VolumeRow, type VolumeWithType } from './queries.ts'
import type { CreateVolume } from './schemas.ts'

/** What the job that makes a volume is told; everything else is in the row. */
export interface CreateVolumePayload {
  readonly [key: string]: string | null | undefined
  readonly volumeId: string
  readonly imageId: string | null
  /** JSON of the request's scheduler hints, if it had any. */
  readonly hints?: string
  /** The backup that the volume is then filled with. */
  readonly backupId?: string | undefined
}

/** Where the bytes of a new volume come from. */
type Source =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'snapshot'; readonly id: string }
  | { readonly kind: 'volume'; readonly id: string }
  | { readonly kind: 'image'; readonly image: ImageFacts }
  | { readonly kind: 'backup'; readonly backup: BackupRow }

/**
 * Checks a request for a volume and records it with the job that makes it, in one transaction.
 * @param more.restoring called in the transaction when the volume is for a backup's data; answers the backup's id
 * @throws Invalid, NotFound, OverQuota as upstream @see block-storage-api specification 5.7
 */
export async function createVolume(
  block: Block,
  request: BlockRequest,
  body: CreateVolume,
  more: {
    hints?: WireHints | null | undefined
    restoring?: (transaction: Transaction<Tables>, volumeId: string) => Promise<string>
  } = {},
): Promise<VolumeWithType> {
  authorize(request.identity, 'volume:create')
  if (body.multiattach !== undefined && body.multiattach !== null && booleanOf(body.multiattach)) {
    throw new Invalid(
      'multiattach parameter has been removed. The default behavior is to use multiattach enabled volume types.',
    )
  }
  const source = await sourceOf(block, request, body)
  const id = randomUUID()
  const row = await block.db.transaction().execute(async (transaction) => {
    const origin = await lockSource(transaction, request, source)
    const sizeGib = sizeOf(body, origin)
    if (source.kind === 'image') checkImage(source.image, sizeGib)
    const type = await typeOf()
    const keyId = await keyOfNewVolume(block, transaction, type, bytesOf(origin))
    await checkSourceType(block, transaction, origin, type)
    const extraSpecs = stringMapOf(type.extra_specs)
    const problem = sizeLimitProblem(sizeGib, extraSpecs)
    if (problem !== undefined) throw new Invalid(problem)
    const zone = chooseZone(block, {
      asked: body.availability_zone ?? undefined,
      ofSource: origin?.zone ?? undefined,
      extraSpecs,
    })
    await claimQuota(transaction, block.settings, request.projectId, {
      volumes: 1,
      gigabytes: sizeGib,
      volumeSizeGib: sizeGib,
      typeName: type.name,
    })
    const inserted = await insertVolume(transaction, {
      ...emptyVolume,
      id,
      project_id: request.projectId,
      user_id: request.identity.userId,
      name: trimmed(body.name ?? body.display_name),
      description: trimmed(body.description ?? body.display_description),
      size_gib: sizeGib,
      availability_zone: zone,
      volume_type_id: type.id,
      snapshot_id: source.kind === 'snapshot' ? source.id : null,
      source_volume_id: source.kind === 'volume' ? source.id : null,
      group_id: await groupOf(transaction, request, body, type.id),
      bootable: origin?.bootable ?? 0,
      multiattach: /^<is>\s+true$/i.test(extraSpecs['multiattach'] ?? '') ? 1 : 0,
      metadata: JSON.stringify(body.metadata ?? {}),
      image_metadata: origin?.imageMetadata ?? null,
      encryption_key_id: keyId,
      created_at: block.now().toISOString(),
    })
    const payload: CreateVolumePayload = {
      volumeId: id,
      imageId: source.kind === 'image' ? source.image.id : null,
      ...(more.hints ? { hints: JSON.stringify(more.hints) } : {}),
      backupId: source.kind === 'backup' ? source.backup.id : await more.restoring?.(transaction, id),
    }
    await enqueue(block, transaction, 'volume.create', {
      resource: `volume:${origin?.volumeId ?? id}`, // in turn with whatever happens to the source
      payload,
      requestId: request.requestId,
    })
    const isConsistencyGroup = Boolean(body.consistencygroup_id)
    return {
      ...inserted,
      volume_type_name: type.name,
      consistency_group_id: isConsistencyGroup ? inserted.group_id : null,
    }

    function bytesOf(from: Origin | undefined): SourceBytes {
      if (from !== undefined) return { kind: 'copy', what: from.what, keyId: from.encryptionKeyId }
      if (source.kind === 'image') return { kind: 'image', image: source.image }
      // a restore writes what a backup holds, which may be of any kind
      return more.restoring === undefined ? { kind: 'none' } : { kind: 'copy', what: 'backup', keyId: null }
    }

    async function typeOf(): Promise<TypeRow> {
      if (body.volume_type) return await getTypeByIdOrName(transaction, request, body.volume_type)
      if (origin?.typeId) return await getType(transaction, { ...request, isAdmin: true }, origin.typeId)
      const named = source.kind === 'image' ? source.image.properties['cinder_img_volume_type'] : undefined
      if (named) return await getTypeByIdOrName(transaction, request, named)
      return await defaultType(block, transaction, request.projectId)
    }
  })
  request.log.info({ volumeId: id, sizeGib: row.size_gib, requestId: request.requestId }, 'volume requested')
  return row
}

/** Blanks around names do not count; without a name there is none. */
function trimmed(text: string | null | undefined): string | null {
  return text?.trim() ?? null
}

/** The group that a new volume joins. @throws NotFound, Invalid @see block-storage-api specification 5.7 */
async function groupOf(
  transaction: Transaction<Tables>,
  request: BlockRequest,
  body: CreateVolume,
  typeId: string,
): Promise<string | null> {
  const api = body.consistencygroup_id ? 'consistencygroup' : 'group'
  const groupId = body.consistencygroup_id || (request.minor >= 13 ? body.group_id : undefined)
  if (!groupId) return null
  const group = await lockGroup(transaction, ownOnly(request), api, groupId)
  if (!body.volume_type && !body.snapshot_id && !body.source_volid) {
    throw new Invalid(
      'Invalid input received: volume_type must be provided when creating a volume in a group.',
    )
  }
  const types = (await volumeTypesOf(transaction, [groupId])).get(groupId) ?? []
  if (!types.includes(typeId)) {
    throw new Invalid(
      `Invalid input received: Invalid volume_type ${typeId} requested. It is not of group ${groupId}.`,
    )
  }
  if (group.status !== 'available' && group.status !== 'creating') {
    throw new InvalidState(`Invalid group: Group ${groupId} status is ${group.status}, not available.`)
  }
  return groupId
}

async function sourceOf(block: Block, request: BlockRequest, body: CreateVolume): Promise<Source> {
  const image = body.imageRef || body.image_id || undefined
  const backupId = request.minor >= 47 ? body.backup_id : undefined
  const given = [body.snapshot_id, image, body.source_volid, backupId].filter((one) => one)
  if (given.length > 1) {
    const more =
      request.minor >= 47
        ? 'snapshot, imageRef, source volume or backup'
        : 'snapshot, imageRef or source volume'
    throw new Invalid(`May specify only one of ${more}`)
  }
  if (body.snapshot_id) return { kind: 'snapshot', id: body.snapshot_id }
  if (body.source_volid) {
    const { id } = await getVolume(block.db, ownOnly(request), body.source_volid)
    return { kind: 'volume', id }
  }
  if (backupId) return { kind: 'backup', backup: await getBackup(block.db, ownOnly(request), backupId) }
  if (image === undefined) return { kind: 'nothing' }
  return { kind: 'image', image: await showImage(block, request, image) }
}

/**
 * A copy is made where its source is: it may have another type only if that names the same backend.
 * @throws Invalid @see block-storage-api specification 5.7
 */
async function checkSourceType(
  block: Block,
  transaction: Transaction<Tables>,
  origin: Origin | undefined,
  type: TypeRow,
): Promise<void> {
  if (!origin?.typeId || origin.typeId === type.id || block.backends.all.length === 1) return
  const source = await getType(transaction, { projectId: '', isAdmin: true }, origin.typeId)
  const backendName = (row: TypeRow) => stringMapOf(row.extra_specs)['volume_backend_name']
  if (backendName(source) === backendName(type)) return
  throw new Invalid(
    `Invalid input received: Invalid volume_type provided: ${type.name} (requested type is not compatible; recommend omitting the type argument).`,
  )
}

/** Sources are looked up in the caller's own project, also for admins' own requests. */
function ownOnly(request: BlockRequest): { projectId: string; isAdmin: boolean } {
  return { projectId: request.projectId, isAdmin: request.isAdmin }
}

/** What a new volume takes over from a snapshot or a volume. */
interface Origin {
  readonly what: 'snapshot' | 'volume' | 'backup'
  /** The volume in turn with whose jobs the new one is made. */
  readonly volumeId?: string
  readonly sizeGib: number
  readonly typeId: string | null
  readonly zone: string | null
  readonly bootable: number
  readonly imageMetadata: string | null
  readonly encryptionKeyId: string | null
}

async function lockSource(
  transaction: Parameters<typeof lockVolume>[0],
  request: BlockRequest,
  source: Source,
): Promise<Origin | undefined> {
  if (source.kind === 'nothing' || source.kind === 'image') return undefined
  if (source.kind === 'backup') return await lockBackupSource(transaction, request, source.backup.id)
  let snapshot: SnapshotRow | undefined
  let volume: VolumeRow
  if (source.kind === 'snapshot') {
    snapshot = await lockSnapshot(transaction, ownOnly(request), source.id)
    if (snapshot.status !== 'available') {
      throw new InvalidState(
        `Invalid snapshot: Originating snapshot status must be one of 'available' values, it is ${snapshot.status}.`,
      )
    }
    volume = await lockVolume(transaction, { ...request, isAdmin: true }, snapshot.volume_id)
  } else {
    volume = await lockVolume(transaction, ownOnly(request), source.id)
    if (volume.status !== 'available' && volume.status !== 'in-use') {
      throw new InvalidState(
        `Invalid volume: Originating volume status must be one of 'available', 'in-use' values, it is ${volume.status}.`,
      )
    }
  }
  return {
    what: snapshot === undefined ? 'volume' : 'snapshot',
    volumeId: volume.id,
    sizeGib: snapshot?.size_gib ?? volume.size_gib,
    typeId: snapshot === undefined ? volume.volume_type_id : snapshot.volume_type_id,
    zone: volume.availability_zone,
    bootable: volume.bootable,
    imageMetadata: volume.image_metadata,
    encryptionKeyId: (snapshot ?? volume).encryption_key_id,
  }
}

async function lockBackupSource(
  transaction: Transaction<Tables>,
  request: BlockRequest,
  backupId: string,
): Promise<Origin> {
  const backup = await lockBackup(transaction, ownOnly(request), backupId)
  if (backup.status !== 'available') {
    throw new InvalidState(
      `Invalid backup: Originating backup status must be one of 'available' values, it is ${backup.status}.`,
    )
  }
  const nothing = {
    typeId: null,
    zone: null,
    bootable: 0,
    imageMetadata: null,
    encryptionKeyId: backup.encryption_key_id,
  }
  return { what: 'backup', sizeGib: backup.size_gib, ...nothing }
}

function sizeOf(body: CreateVolume, origin: Origin | undefined): number {
  const asked = body.size === null || body.size === undefined ? undefined : Number(body.size)
  if (asked === undefined && origin === undefined) {
    throw new Invalid("Invalid input received: Volume size 'None' must be an integer and greater than 0")
  }
  const sizeGib = asked ?? origin?.sizeGib ?? 0
  if (origin !== undefined && sizeGib < origin.sizeGib) {
    throw new Invalid(
      `Invalid input received: Volume size '${sizeGib}'GB cannot be smaller than the ${origin.what} size ${origin.sizeGib}GB. They must be >= original ${origin.what} size.`,
    )
  }
  return sizeGib
}
