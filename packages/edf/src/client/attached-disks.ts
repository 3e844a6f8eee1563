import type { BlockDevice, Cancel, Done, Extent } from '@emberglass/iscsi/device'
import type { IscsiDisk } from '@emberglass/iscsi/initiator'
import type { AppInstance } from '../schemas/app-instance.ts'
import { onlyVolume } from './app-instances.ts'
import { EdfFailure } from './errors.ts'
import type { EdfCall } from './exchange.ts'
import { type HostAccess, isListed } from './host-access.ts'
import { portalsOf } from './portals.ts'

/** How long closing a disk may take to tell the array. */
const releaseLimitMs = 30_000

/** Who this process is towards the array's targets. */
export interface AttachedDiskOptions {
  /** The name our initiator goes by (iqn.…). */
  readonly initiatorName: string
  /** Where the array's addresses serve iSCSI. */
  readonly iscsiPort: number
  /** What we log in with, where the array asks for it. */
  readonly chap: () => { readonly username: string; readonly password: string } | undefined
  /** Use every portal that the array names, or only the first one. */
  readonly multipath: boolean
  /** Told when a closed disk's host entry could not be taken back. */
  readonly onLeftBehind: (appInstancePath: string, error: unknown) => void
}

/**
 * Opens volumes of the array for this process, by its own initiator. Several openings of one app instance share one
 * entry on its ACL: the last one that closes removes it.
 */
export class AttachedDisks {
  readonly #access: HostAccess
  readonly #options: AttachedDiskOptions
  readonly #users = new Map<string, number>()

  constructor(access: HostAccess, options: AttachedDiskOptions) {
    this.#access = access
    this.#options = options
  }

  /**
   * Lets this process in (access list, online), logs in and opens the volume; the app instance has exactly one.
   * @param prepare as for `HostAccess.admit`
   * @throws EdfError, IscsiError; nothing of it is left on the array then. Whoever opens it closes it
   */
  async open(
    tenant: string | undefined,
    appInstance: AppInstance,
    mode: 'r' | 'rw',
    call: EdfCall,
    prepare?: (appInstance: AppInstance, unused: boolean) => Promise<void>,
  ): Promise<AttachedDisk> {
    const { initiatorName, iscsiPort, multipath } = this.#options
    const chap = this.#options.chap()
    const key = `${tenant ?? ''} ${appInstance.path}`
    this.#users.set(key, (this.#users.get(key) ?? 0) + 1)
    const release = () => this.#release(tenant, appInstance.path, key)
    try {
      const online = await this.#access.admit(tenant, appInstance, initiatorName, call, prepare)
      const { storageInstance } = onlyVolume(online)
      const portals = portalsOf(storageInstance, iscsiPort)
      const targetName = storageInstance.access?.iqn
      if (portals.length === 0 || targetName === undefined) {
        throw new EdfFailure(`${storageInstance.path} has no access address in its pool`)
      }
      const { openIscsiDisk } = await import('@emberglass/iscsi/initiator') // most processes attach nothing for long
      const disk = await openIscsiDisk(
        {
          portals: multipath ? portals : portals.slice(0, 1),
          targetName,
          lun: 0,
          initiatorName,
          readOnly: mode === 'r',
          ...(chap === undefined ? {} : { chap }),
        },
        call,
      )
      return new AttachedDisk(disk, release)
    } catch (error) {
      await release()
      throw error
    }
  }

  /**
   * Takes back the entry that a killed process of the same initiator name has left on an app instance. Leaves it
   * when this process uses the app instance, or a session of that name is alive.
   * @returns whether there was one
   */
  async releaseLeftover(
    tenant: string | undefined,
    appInstance: AppInstance,
    call: EdfCall,
  ): Promise<boolean> {
    const { initiatorName } = this.#options
    if (this.#users.has(`${tenant ?? ''} ${appInstance.path}`)) return false
    const left = appInstance.storage_instances.some(
      (each) => isListed(each, initiatorName) && !(each.active_initiators ?? []).includes(initiatorName),
    )
    if (left) await this.#access.expel(tenant, appInstance.path, initiatorName, false, call)
    return left
  }

  async #release(tenant: string | undefined, path: string, key: string): Promise<void> {
    const left = (this.#users.get(key) ?? 1) - 1
    if (left > 0) {
      this.#users.set(key, left)
      return
    }
    this.#users.delete(key)
    try {
      const call = { signal: AbortSignal.timeout(releaseLimitMs) }
      await this.#access.expel(tenant, path, this.#options.initiatorName, false, call)
    } catch (error) {
      this.#options.onLeftBehind(path, error)
    }
  }
}

/** A volume of the array as a block device. Closing it ends the session and takes our ACL entry back. */
export class AttachedDisk implements BlockDevice {
  /** Present when the array can give space back. */
  readonly unmap?: (offset: number, length: number, cancel: Cancel) => Promise<void>
  /** Present when the array can tell what is allocated. */
  readonly extents?: (offset: number, length: number, cancel: Cancel) => Promise<readonly Extent[]>
  /** Called once, when the disk has been closed. */
  onClosed: (() => void) | undefined
  readonly #disk: IscsiDisk
  readonly #release: () => Promise<void>
  #closed = false

  constructor(disk: IscsiDisk, release: () => Promise<void>) {
    this.#disk = disk
    this.#release = release
    if (disk.unmap !== undefined) this.unmap = disk.unmap
    if (disk.extents !== undefined) this.extents = disk.extents
  }

  get sizeBytes(): number {
    return this.#disk.sizeBytes
  }

  get blockSize(): number {
    return this.#disk.blockSize
  }

  read(offset: number, into: Uint8Array, cancel: Cancel): Done {
    return this.#disk.read(offset, into, cancel)
  }

  write(offset: number, data: Uint8Array, cancel: Cancel): Done {
    return this.#disk.write(offset, data, cancel)
  }

  flush(cancel: Cancel): Promise<void> {
    return this.#disk.flush(cancel)
  }

  writeZeroes(offset: number, length: number, cancel: Cancel): Promise<void> {
    return this.#disk.writeZeroes(offset, length, cancel)
  }

  /** Reads the capacity again, after the volume has grown. @returns bytes */
  rescan(cancel: Cancel): Promise<number> {
    return this.#disk.rescan(cancel)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    try {
      await this.#disk[Symbol.asyncDispose]()
    } finally {
      await this.#release()
      this.onClosed?.()
    }
  }
}
