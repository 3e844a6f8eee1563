import { createHash } from 'node:crypto'
import {
  type AppInstance,
  ArrayAccess,
  type AttachedDisk,
  type EdfCall,
  removeAppInstance,
} from '@emberglass/edf'
import { type BlockDevice, readStream } from '@emberglass/iscsi/device'
import { type ByteRange, type Bytes, MiB, watchBytes } from '../../../kernel/bytes.ts'
import type { Call } from '../../../kernel/call.ts'
import { BackendError, Conflict } from '../../../kernel/errors.ts'
import { type Logger, silentLogger } from '../../../kernel/log.ts'
import type { ImageStore, PutCall, StoredImage } from '../../image-store.ts'
import { kernelError } from './errors.ts'
import { formatLocation, imageIdOf, imageName, parseLocation } from './location.ts'
import { findImage, requireImage, type StoreOperation } from './operation.ts'
import type { DateraStoreSettings } from './options.ts'
import { putImage } from './put.ts'
import { type CheckedSettings, checkSettings, clientOptions } from './settings.ts'

/** Bytes of one read, and reads ahead of the consumer. */
const chunkBytes = MiB
const depth = 4

/** Images on a Datera array: one app instance, one volume each, raw bytes from its first block. */
export class DateraStore implements ImageStore {
  readonly blocks = {
    open: (location: string, call: Call): Promise<BlockDevice> =>
      this.#run(call, async (at) => {
        const { imageId } = parseLocation(location)
        const { appInstance } = await requireImage(at, imageId)
        return await this.#openForReading(at, imageId, appInstance)
      }),
  }
  readonly #settings: DateraStoreSettings
  readonly #access: ArrayAccess
  #checked: CheckedSettings | undefined
  /** Images that are being put by this process. */
  readonly #arriving = new Set<string>()
  /** How many read an image, in this process. */
  readonly #readers = new Map<string, number>()
  /** Of the latest call, for what happens after calls have ended. */
  #log: Logger = silentLogger()

  constructor(settings: DateraStoreSettings, initiatorName: string) {
    this.#settings = settings
    this.#access = new ArrayAccess({
      client: () => clientOptions(settings),
      disks: {
        initiatorName,
        iscsiPort: settings.iscsiPort,
        chap: () => this.#checked?.chap,
        multipath: settings.multipath,
        onLeftBehind: (path, error) =>
          this.#log.warn({ path, error }, 'our access to an image could not be taken back'),
      },
      onTenantRefused: (tenant, error) =>
        this.#log.error({ tenant, error: error.message }, `create tenant ${tenant} on the array manually`),
    })
  }

  async start(call: Call): Promise<void> {
    this.#checked = checkSettings(this.#settings)
    await this.#run(call, async ({ array, tenant, edf }) => {
      await array.tenants.ensure(tenant, edf)
    })
  }

  async put(
    imageId: string,
    data: Bytes,
    sizeBytes: number | undefined,
    call: PutCall,
  ): Promise<StoredImage> {
    call.signal.throwIfAborted()
    if (this.#arriving.has(imageId)) throw alreadyThere(imageId)
    this.#arriving.add(imageId)
    const source = watchBytes(data)
    try {
      const { host, apiPort } = this.#settings
      const location = formatLocation(host, apiPort, imageId)
      parseLocation(location)
      return await this.#run(
        call,
        async (at) => ({
          location,
          sizeBytes: await putImage(at, imageId, source.bytes, sizeBytes, call.checksum),
        }),
        source.threw,
      )
    } finally {
      this.#arriving.delete(imageId)
    }
  }

  async *get(location: string, range: ByteRange | undefined, call: Call): Bytes {
    const opened = await this.#run(call, async (at) => {
      const { imageId } = parseLocation(location)
      const { appInstance, length, checksum } = await requireImage(at, imageId)
      const start = Math.min(range?.start ?? 0, length)
      const end = Math.min(range?.end ?? length, length)
      if (start >= end) return undefined
      const device = await this.#openForReading(at, imageId, appInstance)
      return { device, start, end, checksum: start === 0 && end === length ? checksum : undefined }
    })
    if (opened === undefined) return
    await using device = opened.device
    const { start, end, checksum } = opened
    const stream = readStream(device, start, end - start, { chunkBytes, depth }, call)
    try {
      yield* checksum === undefined ? stream : verified(stream, checksum)
    } catch (error) {
      if (call.signal.aborted) throw call.signal.reason
      throw kernelError(error)
    }
  }

  async size(location: string, call: Call): Promise<number> {
    return await this.#run(call, async (at) => {
      return (await requireImage(at, parseLocation(location).imageId)).length
    })
  }

  async delete(location: string, call: Call): Promise<void> {
    await this.#run(call, async (at) => {
      const { imageId } = parseLocation(location)
      if (this.#arriving.has(imageId) || this.#readers.has(imageId)) throw inUse(imageId)
      const found = await findImage(at, imageId)
      if (found !== undefined)
        await removeAppInstance(at.array.client.in(at.tenant), found.appInstance, at.edf)
    })
  }

  async capacity(call: Call): Promise<{ totalBytes: number; freeBytes: number }> {
    return await this.#run(call, async ({ array, edf }) => {
      const { total_capacity: totalBytes, available_capacity: available } = await array.client.system(edf)
      return { totalBytes, freeBytes: Math.max(0, Math.min(available, totalBytes)) }
    })
  }

  async sweep(isKnown: (imageId: string) => Promise<boolean>, call: Call): Promise<void> {
    await this.#run(call, async (at) => {
      const scope = at.array.client.in(at.tenant)
      const filter = `match(name,${imageName('')}.*)`
      for (const appInstance of await scope.appInstances.list({ filter }, at.edf)) {
        const imageId = imageIdOf(appInstance.name)
        if (imageId === undefined || this.#arriving.has(imageId) || hasSession(appInstance)) continue
        if (await isKnown(imageId)) {
          await at.array.disks.releaseLeftover(at.tenant, appInstance, at.edf)
          continue
        }
        at.log.info({ imageId }, 'removing an image that nobody knows')
        await removeAppInstance(scope, appInstance, at.edf)
      }
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#access[Symbol.asyncDispose]()
  }

  /** A disk that counts as a reader until it is closed. */
  async #openForReading(
    { array, tenant, prepare, edf }: StoreOperation,
    imageId: string,
    appInstance: AppInstance,
  ): Promise<AttachedDisk> {
    this.#readers.set(imageId, (this.#readers.get(imageId) ?? 0) + 1)
    const leave = () => {
      const left = (this.#readers.get(imageId) ?? 1) - 1
      if (left > 0) this.#readers.set(imageId, left)
      else this.#readers.delete(imageId)
    }
    try {
      const disk = await array.disks.open(tenant, appInstance, 'r', edf, prepare)
      disk.onClosed = leave
      return disk
    } catch (error) {
      leave()
      throw error
    }
  }

  /** One verb: connected, its errors turned into the kernel's. @param keep errors that pass as they are */
  async #run<Result>(
    call: Call,
    work: (operation: StoreOperation) => Promise<Result>,
    keep: (error: unknown) => boolean = () => false,
  ): Promise<Result> {
    this.#log = call.log
    try {
      call.signal.throwIfAborted()
      const checked = this.#checked ?? checkSettings(this.#settings)
      this.#checked = checked
      const edf: EdfCall = { signal: call.signal }
      const array = await this.#access.connect(edf)
      const { tenant, chap } = checked
      const prepare = async (appInstance: AppInstance) => {
        if (chap === undefined) return
        const auth = { type: 'chap', target_user_name: chap.username, target_pswd: chap.password } as const
        for (const storageInstance of appInstance.storage_instances) {
          await array.client.in(tenant).setAuth(storageInstance, auth, edf)
        }
      }
      return await work({ settings: this.#settings, array, tenant, prepare, edf, log: call.log })
    } catch (error) {
      if (keep(error)) throw error
      if (call.signal.aborted) throw call.signal.reason
      throw kernelError(error)
    }
  }
}

function hasSession(appInstance: AppInstance): boolean {
  return appInstance.storage_instances.some(({ active_initiators }) => (active_initiators ?? []).length > 0)
}

function alreadyThere(imageId: string): Conflict {
  return new Conflict(`Image ${imageId} is in the store already.`, { details: { imageId } })
}

function inUse(imageId: string): Conflict {
  return new Conflict(`Image ${imageId} is being read or written.`, { details: { imageId } })
}

/**
 * Passes a whole image through. Its end comes only when it has the checksum.
 * @throws BackendError when it has not
 */
async function* verified(image: Bytes, checksum: string): Bytes {
  const digest = createHash('md5')
  for await (const chunk of image) {
    digest.update(chunk)
    yield chunk
  }
  if (digest.digest('hex') === checksum) return
  throw new BackendError('The image on the array is not what was written to it.', { left: 'nothing' })
}
