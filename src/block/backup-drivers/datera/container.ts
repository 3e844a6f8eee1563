import { randomBytes } from 'node:crypto'
import {
  type AppInstance,
  type AttachedDisk,
  type ConnectedArray,
  type CreateAppInstance,
  type EdfCall,
  EdfError,
  findAppInstances,
  onlyVolume,
  removeAppInstance,
  type Snapshot,
  untilSnapshotReady,
} from '@emberglass/edf'
import { IscsiError, readBytes, readStream, writeStream } from '@emberglass/iscsi/device'
import { edfCallOf } from '../../../datera/edf-call.ts'
import { kernelErrorOf } from '../../../datera/kernel-error.ts'
import { type Bytes, MiB, regrouped } from '../../../kernel/bytes.ts'
import type { Call } from '../../../kernel/call.ts'
import { derivedUuid } from '../../../kernel/crypto/derived-uuid.ts'
import { messageOf, NotFound } from '../../../kernel/errors.ts'
import { type BlobContainer, type BlobPlace, DamagedBlob } from '../chunked/blob-store.ts'
import { metadataName, objectName, sha256Name } from '../chunked/documents.ts'
import { hashThreads, wholeMd5 } from '../chunked/hash-threads.ts'
import { decodeHeader, encodeHeader, headerBytes, numberOf } from './header.ts'

/** How long the array may take to complete a snapshot, and cleaning up after a failure. */
const readyLimitMs = 60_000
const cleaningLimitMs = 60_000
const transfers = { chunkBytes: MiB, depth: 8 }

/** The array's or the data path's error, as the kernel names it; others pass. */
export function kernelError(error: unknown): unknown {
  if (!(error instanceof EdfError) && !(error instanceof IscsiError)) return error
  return kernelErrorOf(error, 'backup_datera_san_login and backup_datera_san_password')
}

export const containerName = (backupId: string) => `BACKUP-${backupId}`
/** Names of the copies from which objects are read; `owner` tells whose they are. */
export const copyPrefix = (backupId: string, owner: string) => `${containerName(backupId)}-R-${owner}`

/** What a container works with. */
export interface ArrayPlace {
  readonly array: ConnectedArray
  readonly tenant: string | undefined
  /** Eight hexadecimal digits of our initiator's name. */
  readonly owner: string
  /** Requests to the array are worth a line in the log. */
  readonly debug: boolean
}

/**
 * The objects of one backup: snapshots of one volume, which takes one object after the other from its first byte.
 * Reading works on copies of the snapshots, so that any number may read and nothing is rolled back.
 */
export class DateraContainer implements BlobContainer {
  readonly #at: ArrayPlace
  readonly #place: BlobPlace
  readonly #appInstance: AppInstance
  #disk: AttachedDisk | undefined

  constructor(at: ArrayPlace, place: BlobPlace, appInstance: AppInstance) {
    this.#at = at
    this.#place = place
    this.#appInstance = appInstance
  }

  async put(name: string, data: Bytes, outer: Call): Promise<void> {
    const { array, tenant, debug } = this.#at
    const call = edfCallOf(outer, debug)
    try {
      this.#disk ??= await array.disks.open(tenant, this.#appInstance, 'rw', call)
      const disk = this.#disk
      let md5 = ''
      let payloadBytes = 0
      const ofAll = wholeMd5((hex) => {
        md5 = hex
      })
      const hashed = hashThreads.hashed(regrouped(data, MiB), ofAll)
      async function* behindHeader(): Bytes {
        yield new Uint8Array(headerBytes)
        for await (const part of hashed) {
          payloadBytes += part.byteLength
          yield part
        }
      }
      await writeStream(behindHeader(), disk, { ...transfers, skipZeroes: true }, call)
      // the header is written last: without it the object is none
      const first = await readBytes(disk, 0, disk.blockSize, call)
      first.set(encodeHeader({ number: numberOf(name), payloadBytes, md5 }))
      await disk.write(0, first, call)
      await disk.flush(call)
      const { volume } = onlyVolume(this.#appInstance)
      const scope = array.client.in(tenant)
      const taken = await scope.snapshots(volume).create({ uuid: this.#uuidOf(name) }, call)
      await untilSnapshotReady(scope, volume, taken, readyLimitMs, call)
    } catch (error) {
      call.signal.throwIfAborted()
      throw kernelError(error)
    }
  }

  async *get(name: string, outer: Call): Bytes {
    const call = edfCallOf(outer, this.#at.debug)
    try {
      const snapshot = await this.#snapshotOf(name, call)
      await using copy = await this.#copyOf(snapshot, call)
      const header = decodeHeader(await readBytes(copy.disk, 0, copy.disk.blockSize, call))
      const number = numberOf(name)
      if (header.number !== number) throw new DamagedBlob(`it is number ${header.number}, not ${number}`)
      if (headerBytes + header.payloadBytes > copy.disk.sizeBytes) {
        throw new DamagedBlob(`its header speaks of ${header.payloadBytes} bytes`)
      }
      let md5 = ''
      const payload = readStream(copy.disk, headerBytes, header.payloadBytes, transfers, call)
      const ofAll = wholeMd5((hex) => {
        md5 = hex
      })
      yield* hashThreads.hashed(payload, ofAll)
      if (md5 !== header.md5) throw new DamagedBlob(`the MD5 of what is stored is ${md5}, not ${header.md5}`)
    } catch (error) {
      call.signal.throwIfAborted()
      throw kernelError(error)
    }
  }

  async list(call: Call): Promise<readonly string[]> {
    const { prefix } = this.#place
    const { length } = await this.#snapshots(edfCallOf(call, this.#at.debug))
    if (length < 2) return []
    const objects = Array.from({ length: length - 2 }, (_, index) => objectName(prefix, index + 1))
    return [...objects, sha256Name(prefix), metadataName(prefix)]
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#disk?.[Symbol.asyncDispose]()
  }

  #uuidOf(name: string): string {
    return derivedUuid(this.#place.id, name)
  }

  /** The oldest first. */
  async #snapshots(call: EdfCall): Promise<readonly Snapshot[]> {
    const { volume } = onlyVolume(this.#appInstance)
    const all = await this.#at.array.client.in(this.#at.tenant).snapshots(volume).list({}, call)
    return all.toSorted((one, other) => Number.parseFloat(one.utc_ts) - Number.parseFloat(other.utc_ts))
  }

  /** By its uuid; those of the older drivers by their place. @throws NotFound */
  async #snapshotOf(name: string, call: EdfCall): Promise<Snapshot> {
    const all = await this.#snapshots(call)
    const number = numberOf(name)
    const byPlace = number > 0 ? all.slice(0, -2)[number - 1] : all.at(number)
    const found = all.find(({ uuid }) => uuid === this.#uuidOf(name)) ?? byPlace
    if (found === undefined) throw new NotFound(`There is no ${name} in ${this.#appInstance.name}.`)
    return found
  }

  async #copyOf(
    snapshot: Snapshot,
    call: EdfCall,
  ): Promise<AsyncDisposable & { readonly disk: AttachedDisk }> {
    const { array, tenant, owner } = this.#at
    const scope = array.client.in(tenant)
    const body: CreateAppInstance = {
      create_mode: 'openstack',
      name: `${copyPrefix(this.#place.id, owner)}${randomBytes(2).toString('hex')}`,
      clone_snapshot_src: { path: snapshot.path },
    }
    const copy = await scope.appInstances.create(body, call)
    const remove = () =>
      removeAppInstance(scope, copy, { ...call, signal: AbortSignal.timeout(cleaningLimitMs) })
    try {
      const disk = await array.disks.open(tenant, copy, 'r', call)
      return {
        disk,
        async [Symbol.asyncDispose]() {
          await disk[Symbol.asyncDispose]()
          await remove()
        },
      }
    } catch (error) {
      await remove().catch((second: unknown) => {
        throw new AggregateError([error, second], `${messageOf(error)}; ${copy.name} is left`)
      })
      throw error
    }
  }
}

/** The app instance of a backup, and the copies of it that `isMeant` accepts. */
export async function backupInstances(
  { array, tenant }: Pick<ArrayPlace, 'array' | 'tenant'>,
  text: string,
  isMeant: (name: string) => boolean,
  call: EdfCall,
): Promise<readonly AppInstance[]> {
  return await findAppInstances(array.client.in(tenant), text, ({ name }) => isMeant(name), call)
}
