import { randomUUID } from 'node:crypto'
import { Conflict, Invalid, NotFound } from '../../../kernel/errors.ts'
import { connect, disconnect, type WireConnector, wireConnectorOf } from '../../attachments/connect.ts'
import { checkMode, checkNotMigrating, removeAttachment } from '../../attachments/create.ts'
import { attachmentsOf, followAttachments, insertAttachment } from '../../attachments/queries.ts'
import type { Block } from '../../context.ts'
import { InvalidState } from '../../errors.ts'
import type { BlockRequest } from '../../operation.ts'
import { authorize, type Rule } from '../../policy.ts'
import { stringMapOf } from '../../types/queries.ts'
import { type AttachmentRow, getVolume, lockVolume, updateVolume, type VolumeRow } from '../queries.ts'

/**
 * Moves a volume from one status to another.
 * @param decide the new status, or undefined to leave it; may throw
 */
async function move(
  block: Block,
  request: BlockRequest,
  id: string,
  rule: Rule,
  decide: (volume: VolumeRow, attachments: readonly AttachmentRow[]) => string | undefined,
): Promise<void> {
  await block.db.transaction().execute(async (transaction) => {
    const volume = await lockVolume(transaction, request, id)
    authorize(request.identity, rule, volume.project_id)
    const status = decide(volume, await attachmentsOf(transaction, id))
    if (status === undefined) return
    await updateVolume(transaction, id, { status, updated_at: block.now().toISOString() })
  })
}

/** `os-reserve`: nobody else attaches it from now on. */
export async function reserveVolume(block: Block, request: BlockRequest, id: string): Promise<void> {
  await move(block, request, id, 'volume_extension:volume_actions:reserve', (volume) => {
    checkNotMigrating(volume)
    const allowed = volume.multiattach === 1 ? ['available', 'in-use'] : ['available']
    if (allowed.includes(volume.status)) return 'attaching'
    throw new InvalidState(
      `Invalid volume: Volume status must be ${allowed.join(' or ')} to reserve, but the current status is ${volume.status}.`,
    )
  })
}

/** `os-unreserve`: in any other state than attaching, silently nothing. */
export async function unreserveVolume(block: Block, request: BlockRequest, id: string): Promise<void> {
  const rule = 'volume_extension:volume_actions:unreserve'
  await move(block, request, id, rule, (volume, attachments) => {
    if (volume.status !== 'attaching') return undefined
    return attachments.length > 0 ? 'in-use' : 'available'
  })
}

export async function beginDetaching(block: Block, request: BlockRequest, id: string): Promise<void> {
  await move(block, request, id, 'volume_extension:volume_actions:begin_detaching', (volume) => {
    if (volume.status === 'in-use' && volume.attach_status === 'attached') return 'detaching'
    throw new InvalidState(
      `Invalid volume: Unable to detach volume. Volume status must be 'in-use' and attach_status must be 'attached' to detach. It is ${volume.status}.`,
    )
  })
}

/** `os-roll_detaching`: in any other state than detaching, silently nothing. */
export async function rollDetaching(block: Block, request: BlockRequest, id: string): Promise<void> {
  await move(block, request, id, 'volume_extension:volume_actions:roll_detaching', (volume) =>
    volume.status === 'detaching' ? 'in-use' : undefined,
  )
}

/** `os-attach`: records that a server or a host has the volume. @see specification 4.1, 5.9 */
export async function attachVolume(
  block: Block,
  request: BlockRequest,
  id: string,
  to: { instanceId: string | null; host: string | null; mountpoint: string; mode: string },
): Promise<void> {
  if (to.instanceId === null && to.host === null) {
    throw new Invalid('Invalid request to attach volume to an invalid target')
  }
  if (to.instanceId !== null && to.host !== null) {
    throw new Invalid('Invalid request to attach volume to an instance and a host simultaneously')
  }
  await block.db.transaction().execute(async (transaction) => {
    const volume = await lockVolume(transaction, request, id)
    authorize(request.identity, 'volume_extension:volume_actions:attach', volume.project_id)
    if (!['available', 'attaching', 'in-use'].includes(volume.status)) {
      throw new InvalidState(
        `Invalid volume: Volume ${id} status must be available, attaching or in-use to attach, it is ${volume.status}.`,
      )
    }
    checkMode(volume, to.mode)
    checkNotMigrating(volume)
    const attached = (await attachmentsOf(transaction, id)).filter(
      (attachment) => attachment.attach_status === 'attached',
    )
    const same = attached.some((attachment) =>
      to.instanceId === null
        ? attachment.attached_host === to.host
        : attachment.instance_id === to.instanceId,
    )
    if (!same) {
      if (attached.length > 0 && volume.multiattach === 0) {
        throw new InvalidState(`Invalid volume: Volume ${id} is already attached.`)
      }
      const now = block.now().toISOString()
      await insertAttachment(transaction, {
        id: randomUUID(),
        volume_id: id,
        project_id: volume.project_id,
        instance_id: to.instanceId,
        attached_host: to.host,
        mountpoint: to.mountpoint,
        attach_mode: to.mode,
        attach_status: 'attached',
        connector: null,
        connection_info: null,
        attached_at: now,
        detached_at: null,
        created_at: now,
      })
    }
    await followAttachments(transaction, volume, block.now())
    const adminMetadata = { ...stringMapOf(volume.admin_metadata), attached_mode: to.mode }
    await updateVolume(transaction, id, { admin_metadata: JSON.stringify(adminMetadata) })
  })
}

/**
 * `os-detach` and, with `force`, `os-force_detach`.
 * @param force.connector whom to shut out on the backend too; null is everybody
 */
export async function detachVolume(
  block: Block,
  request: BlockRequest,
  id: string,
  attachmentId: string | null,
  force?: { connector: WireConnector | null },
): Promise<void> {
  const volume = await getVolume(block.db, request, id)
  authorize(
    request.identity,
    force === undefined
      ? 'volume_extension:volume_actions:detach'
      : 'volume_extension:volume_admin_actions:force_detach',
    volume.project_id,
  )
  if (volume.status === 'maintenance')
    throw new InvalidState(`Invalid volume: Volume ${id} is in maintenance.`)
  const attachments = await attachmentsOf(block.db, id)
  const chosen = attachmentId === null ? undefined : attachments.find((one) => one.id === attachmentId)
  if (attachmentId !== null && chosen === undefined) {
    throw new NotFound(`Volume attachment could not be found with filter: attachment_id = ${attachmentId}.`)
  }
  const [only] = attachments
  if (attachmentId === null && attachments.length > 1) {
    throw new Conflict(
      `Volume ${id} has ${attachments.length} attachments: say which one to detach with attachment_id.`,
    )
  }
  const attachment = chosen ?? only
  if (attachment === undefined) {
    await block.db.transaction().execute(async (transaction) => {
      const locked = await lockVolume(transaction, request, id)
      await followAttachments(transaction, locked, block.now())
    })
    return
  }
  const others = attachments.filter((one) => one.id !== attachment.id)
  const wire = wireConnectorOf(attachment)
  if (force !== undefined) await disconnect(block, request, volume, force.connector, others)
  else if (wire !== null) await disconnect(block, request, volume, wire, others)
  await removeAttachment(block, attachment)
}

/** `os-initialize_connection`: lets a host in. @returns the nested connection info */
export async function initializeConnection(
  block: Block,
  request: BlockRequest,
  id: string,
  connector: WireConnector,
): Promise<object> {
  const volume = await getVolume(block.db, request, id)
  authorize(request.identity, 'volume_extension:volume_actions:initialize_connection', volume.project_id)
  if (volume.host === null) throw new InvalidState(`Invalid volume: Volume ${id} is not on a backend yet.`)
  checkNotMigrating(volume)
  return await connect(block, request, volume, connector)
}

/** `os-terminate_connection`: shuts a host out; null shuts everybody out. Not connected: fine. */
export async function terminateConnection(
  block: Block,
  request: BlockRequest,
  id: string,
  connector: WireConnector | null,
): Promise<void> {
  const volume = await getVolume(block.db, request, id)
  authorize(request.identity, 'volume_extension:volume_actions:terminate_connection', volume.project_id)
  await disconnect(block, request, volume, connector, await attachmentsOf(block.db, id))
}
