import { BackendError, Invalid, messageOf } from '../../kernel/errors.ts'
import type { Block } from '../context.ts'
import { actions, details, writeMessage } from '../messages/queries.ts'
import type { BlockRequest } from '../operation.ts'
import { getType, qosSpecsFor, stringMapOf } from '../types/queries.ts'
import type { Connection, Connector } from '../volume-driver.ts'
import { backendVolume } from '../volumes/backend-facts.ts'
import type { AttachmentRow, VolumeRow } from '../volumes/queries.ts'

/** What a client sends as its connector: any object. */
export type WireConnector = Readonly<Record<string, unknown>>

/** The parts that drivers read must have the type they expect. @throws Invalid */
export function connectorOf(wire: WireConnector): Connector {
  for (const key of ['initiator', 'host', 'ip']) {
    const value = wire[key]
    if (value !== undefined && value !== null && typeof value !== 'string') {
      throw new Invalid(`Invalid input received: The connector's ${key} is not text.`)
    }
  }
  const { initiator, host, ip, multipath, ...rest } = wire
  return {
    ...rest,
    initiator: typeof initiator === 'string' ? initiator : undefined,
    host: typeof host === 'string' ? host : undefined,
    ip: typeof ip === 'string' ? ip : undefined,
    multipath: multipath === true,
  }
}

/** Is the volume's read-only flag set? */
export function isReadOnly(volume: VolumeRow): boolean {
  return stringMapOf(volume.admin_metadata)['readonly']?.toLowerCase() === 'true'
}

/**
 * Lets a host in, on the backend.
 * @returns the nested form that `os-initialize_connection` answers
 * @throws Invalid when the connector lacks something; BackendError
 */
export async function connect(
  block: Block,
  request: BlockRequest,
  volume: VolumeRow,
  wire: WireConnector,
): Promise<{ driver_volume_type: string; data: Record<string, unknown>; enforce_multipath: boolean }> {
  const connector = connectorOf(wire)
  let connection: Connection
  try {
    const { driver } = await block.backends.ready(volume.host, request.signal)
    const facts = await backendVolume(block.db, block.settings, volume)
    connection = await driver.attach(facts, connector, { signal: request.signal, log: request.log })
  } catch (error) {
    if (error instanceof BackendError) {
      await writeMessage(block, block.db, {
        projectId: volume.project_id,
        requestId: request.requestId,
        resourceType: 'VOLUME',
        resourceId: volume.id,
        action: actions.attachVolume,
        detail: details.attachFailed,
        sentence: messageOf(error),
      })
    }
    throw error
  }
  const qosSpecs = await frontEndQosSpecs(block, volume)
  const enforceMultipath = wire['enforce_multipath'] === true
  return {
    driver_volume_type: connection.driverVolumeType,
    data: {
      ...connection.data,
      volume_id: volume.id,
      qos_specs: Object.keys(qosSpecs).length > 0 ? qosSpecs : null,
      access_mode: isReadOnly(volume) ? 'ro' : 'rw',
      encrypted: volume.encryption_key_id !== null,
      cacheable: false,
      enforce_multipath: enforceMultipath,
    },
    enforce_multipath: enforceMultipath,
  }
}

/** What the hypervisor is to enforce. */
async function frontEndQosSpecs(
  block: Pick<Block, 'db'>,
  volume: VolumeRow,
): Promise<Readonly<Record<string, string>>> {
  if (volume.volume_type_id === null) return {}
  const type = await getType(block.db, { projectId: volume.project_id, isAdmin: true }, volume.volume_type_id)
  return await qosSpecsFor(block.db, type, 'front-end')
}

/**
 * Shuts a host out, unless another attachment of the volume is of the same host.
 * @param wire null shuts everybody out
 */
export async function disconnect(
  block: Block,
  request: Pick<BlockRequest, 'signal' | 'log'>,
  volume: VolumeRow,
  wire: WireConnector | null,
  others: readonly AttachmentRow[],
): Promise<void> {
  if (volume.host === null) return
  const from = wire === null || Object.keys(wire).length === 0 ? 'everyone' : connectorOf(wire)
  if (from !== 'everyone' && others.some((other) => sameHost(other, from))) return
  const { driver } = await block.backends.ready(volume.host, request.signal)
  const facts = await backendVolume(block.db, block.settings, volume)
  await driver.detach(facts, from, { signal: request.signal, log: request.log })
}

function sameHost(other: AttachmentRow, connector: Connector): boolean {
  const theirs = wireConnectorOf(other)
  if (theirs === null) return false
  if (connector.initiator !== undefined) return theirs['initiator'] === connector.initiator
  return connector.host !== undefined && theirs['host'] === connector.host
}

/** The connector that an attachment was made with. */
export function wireConnectorOf(attachment: AttachmentRow): WireConnector | null {
  return attachment.connector === null ? null : (JSON.parse(attachment.connector) as WireConnector) // as it was sent
}
