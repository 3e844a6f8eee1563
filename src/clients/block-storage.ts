import {
  BackendError,
  Conflict,
  Forbidden,
  Invalid,
  messageOf,
  NoCapacity,
  NotFound,
  StorageError,
  Unauthenticated,
} from '../kernel/errors.ts'
import type { KeystoneSession } from './keystone.ts'

/** How long one answer may take, in milliseconds. */
const answerTimeoutMs = 60_000
/** With `mode` of attachments, and extending a volume that is attached. */
const microversion = 'volume 3.54'

/** What other services have to know of a volume. */
export interface VolumeFacts {
  readonly id: string
  readonly name: string
  /** `available`, `in-use`, `error`… */
  readonly status: string
  readonly sizeGib: number
  readonly metadata: Readonly<Record<string, string>>
  readonly bootable: boolean
  readonly encrypted: boolean
  readonly attachments: readonly { readonly id: string; readonly hostName: string | undefined }[]
}

/** A volume that is let in to a host: what the host's initiator needs. */
export interface VolumeConnection {
  readonly attachmentId: string
  /** `iscsi`, `rbd`, `nfs`… */
  readonly protocol: string
  /** As the driver says it; `target_iqn` and so on. May hold a password. */
  readonly data: Readonly<Record<string, unknown>>
}

export interface NewVolume {
  readonly name: string
  readonly sizeGib: number
  readonly type: string | undefined
  readonly metadata: Readonly<Record<string, string>>
}

/** A client of the public Block Storage API v3: ours, or any other Cinder. Works in one project. */
export interface BlockStorageClient {
  create(volume: NewVolume, signal: AbortSignal): Promise<VolumeFacts>
  /** @throws NotFound */
  show(volumeId: string, signal: AbortSignal): Promise<VolumeFacts>
  /** The project's volumes whose name begins so: reads all of its volumes. */
  list(namePrefix: string, signal: AbortSignal): Promise<readonly VolumeFacts[]>
  /** The project's volumes of exactly that name: the service looks them up. */
  named(name: string, signal: AbortSignal): Promise<readonly VolumeFacts[]>
  /** Asks for it; already gone: fine. @throws Conflict while it is attached, or has snapshots */
  delete(volumeId: string, signal: AbortSignal): Promise<void>
  /** Asks for it. @throws NoCapacity */
  extend(volumeId: string, sizeGib: number, signal: AbortSignal): Promise<void>
  /** Adds to the metadata. */
  addMetadata(volumeId: string, pairs: Readonly<Record<string, string>>, signal: AbortSignal): Promise<void>
  setReadOnly(volumeId: string, readOnly: boolean, signal: AbortSignal): Promise<void>
  setBootable(volumeId: string, bootable: boolean, signal: AbortSignal): Promise<void>
  /** Lets a host in. @throws Conflict when the volume cannot be attached now */
  attach(
    volumeId: string,
    connector: Readonly<Record<string, unknown>>,
    mode: 'ro' | 'rw',
    signal: AbortSignal,
  ): Promise<VolumeConnection>
  /** The host has connected. */
  completeAttachment(attachmentId: string, signal: AbortSignal): Promise<void>
  /** Already gone: fine. */
  detach(attachmentId: string, signal: AbortSignal): Promise<void>
}

export interface BlockStorageOptions {
  readonly session: KeystoneSession
  /** Where the service is, with its project: asked for each time, as the session's token may be for another. */
  endpoint(signal: AbortSignal): Promise<string>
  /** How often a call that failed on the way is repeated, 3 by default. */
  readonly retries?: number
}

type Body = Readonly<Record<string, unknown>>

export function createBlockStorageClient(options: BlockStorageOptions): BlockStorageClient {
  const { session, retries = 3 } = options

  async function ask(method: string, path: string, signal: AbortSignal, body?: Body): Promise<unknown> {
    const endpoint = (await options.endpoint(signal)).replace(/\/+$/, '')
    const mayRepeat = method === 'GET' || method === 'DELETE'
    for (let attempt = 0; ; attempt += 1) {
      try {
        const response = await session.fetch(`${endpoint}${path}`, {
          method,
          headers: { 'content-type': 'application/json', 'openstack-api-version': microversion },
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
          signal: AbortSignal.any([signal, AbortSignal.timeout(answerTimeoutMs)]),
        })
        const text = await response.text()
        if (response.status >= 300) throw faultOf(response.status, text)
        return text === '' ? {} : JSON.parse(text)
      } catch (error) {
        signal.throwIfAborted()
        const fault = asKernelError(error)
        const mayPass = fault instanceof BackendError && fault.retryAfterMs !== undefined
        if (!mayRepeat || !mayPass || attempt >= retries) throw fault
      }
    }
  }

  const act = async (volumeId: string, name: string, argument: Body, signal: AbortSignal) => {
    await ask('POST', `/volumes/${volumeId}/action`, signal, { [name]: argument })
  }

  return {
    async create({ name, sizeGib, type, metadata }, signal) {
      const volume = { name, size: sizeGib, metadata, ...(type === undefined ? {} : { volume_type: type }) }
      return volumeIn(await ask('POST', '/volumes', signal, { volume }))
    },
    show: async (volumeId, signal) => volumeIn(await ask('GET', `/volumes/${volumeId}`, signal)),
    async named(name, signal) {
      const query = new URLSearchParams({ name })
      const volumes = volumesIn(await ask('GET', `/volumes/detail?${query}`, signal))
      return volumes.filter((volume) => volume.name === name) // a service may be told to search by parts
    },
    async list(namePrefix, signal) {
      const found: VolumeFacts[] = []
      for (let marker = ''; ; ) {
        const query = `limit=500${marker === '' ? '' : `&marker=${marker}`}`
        const page = volumesIn(await ask('GET', `/volumes/detail?${query}`, signal))
        found.push(...page.filter(({ name }) => name.startsWith(namePrefix)))
        const last = page.at(-1)
        if (last === undefined) return found
        marker = last.id
      }
    },
    async delete(volumeId, signal) {
      try {
        await ask('DELETE', `/volumes/${volumeId}`, signal)
      } catch (error) {
        if (error instanceof NotFound) return
        if (error instanceof Invalid) throw new Conflict(error.message, { cause: error })
        throw error
      }
    },
    extend: (volumeId, sizeGib, signal) => act(volumeId, 'os-extend', { new_size: sizeGib }, signal),
    async addMetadata(volumeId, metadata, signal) {
      await ask('POST', `/volumes/${volumeId}/metadata`, signal, { metadata })
    },
    setReadOnly: (volumeId, readonly, signal) =>
      act(volumeId, 'os-update_readonly_flag', { readonly }, signal),
    setBootable: (volumeId, bootable, signal) => act(volumeId, 'os-set_bootable', { bootable }, signal),
    async attach(volumeId, connector, mode, signal) {
      try {
        const attachment = { volume_uuid: volumeId, connector, mode }
        return connectionIn(await ask('POST', '/attachments', signal, { attachment }))
      } catch (error) {
        if (error instanceof Invalid) throw new Conflict(error.message, { cause: error })
        throw error
      }
    },
    async completeAttachment(attachmentId, signal) {
      await ask('POST', `/attachments/${attachmentId}/action`, signal, { 'os-complete': {} })
    },
    async detach(attachmentId, signal) {
      try {
        await ask('DELETE', `/attachments/${attachmentId}`, signal)
      } catch (error) {
        if (!(error instanceof NotFound)) throw error
      }
    },
  }
}

function volumeIn(answer: unknown): VolumeFacts {
  if (isRecord(answer)) return factsOf(answer['volume'])
  throw notCinder()
}

function volumesIn(answer: unknown): readonly VolumeFacts[] {
  const volumes = isRecord(answer) ? answer['volumes'] : undefined
  if (Array.isArray(volumes)) return volumes.map(factsOf)
  throw notCinder()
}

function factsOf(volume: unknown): VolumeFacts {
  if (!isRecord(volume) || typeof volume['id'] !== 'string' || typeof volume['status'] !== 'string') {
    throw notCinder()
  }
  const metadata = isRecord(volume['metadata']) ? volume['metadata'] : {}
  const attachments = Array.isArray(volume['attachments']) ? volume['attachments'].filter(isRecord) : []
  return {
    id: volume['id'],
    name: String(volume['name'] ?? ''),
    status: volume['status'],
    sizeGib: Number(volume['size'] ?? 0),
    metadata: Object.fromEntries(Object.entries(metadata).map(([name, value]) => [name, String(value)])),
    bootable: String(volume['bootable']).toLowerCase() === 'true',
    encrypted: volume['encrypted'] === true,
    attachments: attachments.map((each) => ({
      id: String(each['attachment_id']),
      hostName: typeof each['host_name'] === 'string' ? each['host_name'] : undefined,
    })),
  }
}

function connectionIn(answer: unknown): VolumeConnection {
  const attachment = isRecord(answer) ? answer['attachment'] : undefined
  const info = isRecord(attachment) ? attachment['connection_info'] : undefined
  if (!isRecord(attachment) || typeof attachment['id'] !== 'string' || !isRecord(info)) throw notCinder()
  return {
    attachmentId: attachment['id'],
    protocol: String(info['driver_volume_type'] ?? ''),
    data: isRecord(info['data']) ? info['data'] : info,
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function notCinder(): BackendError {
  return new BackendError('The block storage service sent something that is none of its answers.', {
    left: 'unknown',
  })
}

/** `{"badRequest": {"code": 400, "message": "…"}}`. @see Block Storage API v3, Faults */
function faultOf(status: number, text: string): StorageError {
  let message = text.slice(0, 500)
  try {
    const [fault] = Object.values(JSON.parse(text) as Record<string, unknown>)
    if (isRecord(fault) && typeof fault['message'] === 'string') message = fault['message']
  } catch {
    // not JSON
  }
  switch (status) {
    case 400:
      return new Invalid(message)
    case 401:
      return new Unauthenticated(message)
    case 403:
      return new Forbidden(message)
    case 404:
      return new NotFound(message)
    case 409:
      return new Conflict(message)
    case 413:
      return new NoCapacity(message)
    default:
      return new BackendError(`The block storage service answered ${status}: ${message}`, {
        left: 'unknown',
        ...(status >= 500 ? { retryAfterMs: 1_000 } : {}),
      })
  }
}

function asKernelError(error: unknown): StorageError {
  if (error instanceof StorageError) return error
  return new BackendError(`The block storage service could not be reached: ${messageOf(error)}`, {
    left: 'unknown',
    retryAfterMs: 1_000,
    cause: error,
  })
}
