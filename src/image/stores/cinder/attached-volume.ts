import { createHash } from 'node:crypto'
import { hostname } from 'node:os'
import type { BlockDevice } from '@emberglass/iscsi/device'
import { openIscsiDisk, parsePortal } from '@emberglass/iscsi/initiator'
import type { BlockStorageClient, VolumeConnection } from '../../../clients/block-storage.ts'
import { type Call, sleep } from '../../../kernel/call.ts'
import { BackendError, Conflict, messageOf, StorageError, Unsupported } from '../../../kernel/errors.ts'

/** How long detaching may take, in milliseconds. */
const detachLimitMs = 60_000
/** Most seconds between two tries to attach a busy volume. */
const mostPauseSeconds = 10

/** Who this process is towards the block storage service, and how it attaches. */
export interface AttachOptions {
  readonly initiatorName: string
  readonly multipath: boolean
  readonly attempts: number
}

/** A volume that this process has attached, as a block device. */
export interface AttachedVolume extends AsyncDisposable {
  readonly device: BlockDevice
  /** Reads the capacity again. @returns bytes */
  rescan(call: Call): Promise<number>
}

/** The name under which attachments of this process are recorded. */
export function hostNameOf(initiatorName: string): string {
  const mark = createHash('sha256').update(initiatorName).digest('hex').slice(0, 8)
  return `${hostname()}@images-${mark}`
}

/**
 * Attaches a volume and opens it with our own initiator. Disposing closes it and takes the attachment back.
 * @throws Conflict when it stays busy; Unsupported for a protocol other than iSCSI. No attachment is left then
 */
export async function attachVolume(
  client: BlockStorageClient,
  volumeId: string,
  mode: 'ro' | 'rw',
  options: AttachOptions,
  call: Call,
): Promise<AttachedVolume> {
  const connection = await attachPatiently(client, volumeId, mode, options, call)
  const release = async () => {
    try {
      await client.detach(connection.attachmentId, AbortSignal.timeout(detachLimitMs))
    } catch (error) {
      call.log.error({ volumeId, error: messageOf(error) }, 'an image volume could not be detached')
    }
  }
  try {
    const disk = await openDisk(connection, mode, options, call)
    try {
      await client.completeAttachment(connection.attachmentId, call.signal)
    } catch (error) {
      await disk[Symbol.asyncDispose]()
      throw error
    }
    return {
      device: disk,
      rescan: (rescanCall) => disk.rescan(rescanCall),
      async [Symbol.asyncDispose]() {
        try {
          await disk[Symbol.asyncDispose]()
        } finally {
          await release()
        }
      },
    }
  } catch (error) {
    await release()
    throw error
  }
}

async function attachPatiently(
  client: BlockStorageClient,
  volumeId: string,
  mode: 'ro' | 'rw',
  { initiatorName, multipath, attempts }: AttachOptions,
  call: Call,
): Promise<VolumeConnection> {
  const connector = {
    initiator: initiatorName,
    host: hostNameOf(initiatorName),
    ip: '127.0.0.1',
    platform: 'x86_64',
    os_type: process.platform,
    multipath,
    mountpoint: 'glance_store',
  }
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await client.attach(volumeId, connector, mode, call.signal)
    } catch (error) {
      if (!(error instanceof Conflict) || attempt >= attempts) throw error
      call.log.warn({ volumeId, attempt, error: error.message }, 'the image volume is busy')
      await sleep(Math.min(mostPauseSeconds, 2 * attempt) * 1000, call.signal)
    }
  }
}

async function openDisk(
  { protocol, data }: VolumeConnection,
  mode: 'ro' | 'rw',
  options: AttachOptions,
  call: Call,
) {
  if (protocol !== 'iscsi') {
    throw new Unsupported(`Image volumes are attached by iSCSI only, and this one is offered by ${protocol}.`)
  }
  const text = (name: string) => (typeof data[name] === 'string' ? data[name] : undefined)
  const texts = (name: string) =>
    Array.isArray(data[name]) ? data[name].filter((each) => typeof each === 'string') : []
  const names = texts('target_iqns')
  const targetName = text('target_iqn') ?? names[0]
  const single = text('target_portal')
  const sameTarget = texts('target_portals').filter((_, index) => (names[index] ?? targetName) === targetName)
  const named = options.multipath && sameTarget.length > 0 ? sameTarget : [single ?? sameTarget[0] ?? '']
  const portals = named.map(parsePortal).filter((portal) => portal !== undefined)
  const lun = Number(data['target_lun'] ?? (Array.isArray(data['target_luns']) ? data['target_luns'][0] : 0))
  if (targetName === undefined || portals.length === 0) {
    throw new BackendError('The block storage service named no iSCSI target.', { left: 'unknown' })
  }
  const username = text('auth_username')
  const password = text('auth_password')
  try {
    return await openIscsiDisk(
      {
        portals,
        targetName,
        lun,
        initiatorName: options.initiatorName,
        readOnly: mode === 'ro',
        ...(username !== undefined && password !== undefined ? { chap: { username, password } } : {}),
      },
      call,
    )
  } catch (error) {
    throw asKernelError(error, call.signal)
  }
}

/** The kernel's error for whatever reading and writing a volume threw. */
export function asKernelError(error: unknown, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason
  if (error instanceof StorageError) return error
  return new BackendError(`The image volume could not be reached: ${messageOf(error)}`, {
    left: 'unknown',
    retryAfterMs: 1_000,
    cause: error,
  })
}
