import { randomUUID } from 'node:crypto'
import { Conflict, Invalid, messageOf } from '../../kernel/errors.ts'
import type { Block } from '../context.ts'
import { InvalidState } from '../errors.ts'
import type { BlockRequest } from '../operation.ts'
import { authorize } from '../policy.ts'
import { stringMapOf } from '../types/queries.ts'
import {
  type AttachmentRow,
  findVolume,
  lockVolume,
  updateVolume,
  type VolumeRow,
} from '../volumes/queries.ts'
import { connect, disconnect, isReadOnly, type WireConnector, wireConnectorOf } from './connect.ts'
import { sealConnection } from './connection-info.ts'
import {
  attachmentsOf,
  deleteAttachmentRow,
  followAttachments,
  getAttachment,
  insertAttachment,
  updateAttachment,
} from './queries.ts'

/**
 * Reserves a volume and, with a connector, lets that host in at once.
 * @throws NotFound, Forbidden, InvalidState, Invalid, BackendError @see specification 5.9
 */
export async function createAttachment(
  block: Block,
  request: BlockRequest,
  wanted: {
    volumeId: string
    instanceId: string | null
    connector: WireConnector | null
    mode: string | null
  },
): Promise<AttachmentRow> {
  const reserved = await block.db.transaction().execute(async (transaction) => {
    const volume = await lockVolume(transaction, request, wanted.volumeId)
    authorize(request.identity, 'volume:attachment_create', volume.project_id)
    checkReservable(volume, wanted.instanceId, await attachmentsOf(transaction, volume.id))
    const row = await insertAttachment(transaction, {
      id: randomUUID(),
      volume_id: volume.id,
      project_id: volume.project_id,
      instance_id: wanted.instanceId,
      attached_host: null,
      mountpoint: null,
      attach_mode: wanted.mode ?? 'null',
      attach_status: 'reserved',
      connector: null,
      connection_info: null,
      attached_at: null,
      detached_at: null,
      created_at: block.now().toISOString(),
    })
    await followAttachments(transaction, volume, block.now())
    return row
  })
  if (wanted.connector === null) return reserved
  try {
    return await connectAttachment(block, request, reserved.id, wanted.connector)
  } catch (error) {
    request.log.warn({ attachmentId: reserved.id, error: messageOf(error) }, 'attachment undone')
    await removeAttachment(block, reserved)
    throw error
  }
}

/** Bytes that are being copied must not change. @throws InvalidState */
export function checkNotMigrating(volume: VolumeRow): void {
  if (!['starting', 'migrating', 'completing'].includes(volume.migration_status ?? '')) return
  throw new InvalidState(`Invalid volume: Volume ${volume.id} is being migrated: it cannot be attached.`)
}

function checkReservable(
  volume: VolumeRow,
  instanceId: string | null,
  existing: readonly AttachmentRow[],
): void {
  checkNotMigrating(volume)
  const again =
    instanceId !== null &&
    (volume.status === 'in-use' || volume.status === 'reserved') &&
    existing.length > 0 &&
    existing.every((attachment) => attachment.instance_id === instanceId)
  const allowed = [
    'available',
    'downloading',
    ...(volume.multiattach === 1 ? ['in-use', 'reserved', 'attaching'] : []),
  ]
  if (again || allowed.includes(volume.status)) return
  throw new InvalidState(
    `Invalid volume: Volume ${volume.id} status must be ${allowed.slice(0, volume.multiattach === 1 ? 3 : 2).join(' or ')} to reserve, but the current status is ${volume.status}.`,
  )
}

/**
 * Gives an attachment its connector: the host is let in, and the answer says how to connect.
 * @throws NotFound, Forbidden, Invalid, Conflict, BackendError
 */
export async function updateAttachmentConnector(
  block: Block,
  request: BlockRequest,
  id: string,
  connector: WireConnector,
): Promise<AttachmentRow> {
  const attachment = await getAttachment(block.db, request, id)
  authorize(request.identity, 'volume:attachment_update', attachment.project_id)
  const volume = await findVolume(block.db, attachment.volume_id)
  if (volume?.status.includes('error')) {
    throw new Conflict(`Volume ${volume.id} is in ${volume.status} state: its attachments cannot be updated.`)
  }
  const others = (await attachmentsOf(block.db, attachment.volume_id)).filter((other) => other.id !== id)
  if (volume?.multiattach === 0 && others.some((other) => other.connector !== null)) {
    throw new Conflict(`duplicate connectors detected on volume ${volume.id}`)
  }
  return await connectAttachment(block, request, id, connector)
}

async function connectAttachment(
  block: Block,
  request: BlockRequest,
  id: string,
  wire: WireConnector,
): Promise<AttachmentRow> {
  const { volume, attachment } = await block.db.transaction().execute(async (transaction) => {
    const known = await getAttachment(transaction, request, id)
    const locked = await lockVolume(transaction, request, known.volume_id)
    if (locked.host === null)
      throw new InvalidState(`Invalid volume: Volume ${locked.id} is not on a backend yet.`)
    const wantedMode = known.attach_mode === 'null' ? wire['mode'] : known.attach_mode
    const mode = isReadOnly(locked) ? 'ro' : wantedMode === 'ro' ? 'ro' : 'rw'
    const updated = await updateAttachment(transaction, id, {
      attach_status: known.attach_status === 'attached' ? 'attached' : 'attaching',
      attach_mode: mode,
      connector: JSON.stringify(wire),
      attached_host: textOf(wire['host']),
      mountpoint: textOf(wire['mountpoint']),
    })
    if (updated === undefined) throw new InvalidState(`Attachment ${id} has just been deleted.`)
    await followAttachments(transaction, locked, block.now())
    return { volume: locked, attachment: updated }
  })
  const info = await connect(block, request, volume, wire)
  const flattened = {
    ...info.data,
    driver_volume_type: info.driver_volume_type,
    attachment_id: id,
    access_mode: attachment.attach_mode,
    enforce_multipath: info.enforce_multipath,
  }
  const done = await updateAttachment(block.db, id, {
    connection_info: sealConnection(block.secrets, id, flattened),
  })
  if (done !== undefined) return done
  // deleted while the host was let in: nobody else will shut it out
  const others = await attachmentsOf(block.db, volume.id)
  await disconnect(block, request, volume, wire, others)
  throw new InvalidState(`Attachment ${id} has just been deleted.`)
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' && value.length <= 255 ? value : null
}

/** The host has the volume: the attachment is complete. No state is checked; repeating is harmless. */
export async function completeAttachment(block: Block, request: BlockRequest, id: string): Promise<void> {
  await block.db.transaction().execute(async (transaction) => {
    const attachment = await getAttachment(transaction, request, id)
    authorize(request.identity, 'volume:attachment_complete', attachment.project_id)
    const volume = await lockVolume(transaction, { ...request, isAdmin: true }, attachment.volume_id)
    const now = block.now()
    await updateAttachment(transaction, id, {
      attach_status: 'attached',
      attached_at: attachment.attached_at ?? now.toISOString(),
    })
    await followAttachments(transaction, volume, now)
    const mode = attachment.attach_mode === 'ro' ? 'ro' : 'rw'
    const adminMetadata = { ...stringMapOf(volume.admin_metadata), attached_mode: mode }
    await updateVolume(transaction, volume.id, { admin_metadata: JSON.stringify(adminMetadata) })
  })
}

/**
 * Shuts the host out and removes the attachment.
 * @returns what other attachments the volume has
 */
export async function deleteAttachment(
  block: Block,
  request: BlockRequest,
  id: string,
): Promise<readonly AttachmentRow[]> {
  const attachment = await getAttachment(block.db, request, id)
  authorize(request.identity, 'volume:attachment_delete', attachment.project_id)
  const volume = await findVolume(block.db, attachment.volume_id)
  const others = (await attachmentsOf(block.db, attachment.volume_id)).filter((other) => other.id !== id)
  const wire = wireConnectorOf(attachment)
  if (volume !== undefined && wire !== null) await disconnect(block, request, volume, wire, others)
  await removeAttachment(block, attachment)
  return await attachmentsOf(block.db, attachment.volume_id)
}

/** Removes an attachment's row; the volume's status follows. */
export async function removeAttachment(block: Block, attachment: AttachmentRow): Promise<void> {
  await block.db.transaction().execute(async (transaction) => {
    const viewer = { projectId: attachment.project_id, isAdmin: true }
    const volume = await lockVolume(transaction, viewer, attachment.volume_id)
    await deleteAttachmentRow(transaction, attachment.id)
    await followAttachments(transaction, volume, block.now())
  })
}

/** @throws Invalid unless the mode suits the volume's read-only flag */
export function checkMode(volume: VolumeRow, mode: string): void {
  if (isReadOnly(volume) && mode !== 'ro') {
    throw new Invalid(
      `Invalid input received: Volume ${volume.id} is read-only: it cannot be attached with mode ${mode}.`,
    )
  }
}
