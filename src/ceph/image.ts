import type { Extent } from '@emberglass/iscsi/device'
import type { Call } from '../kernel/call.ts'
import { Conflict, NotFound } from '../kernel/errors.ts'
import type { CephCluster } from './cluster.ts'
import { isErrno } from './failure.ts'
import type { Handle } from './library.ts'

/** `RBD_SNAP_NAMESPACE_TYPE_USER`: taken by somebody; the other kinds are librbd's own. */
const userNamespace = 0
/** Longest note that is read, in bytes. */
const noteBytes = 4096

/** An open image, or an open snapshot of one. */
export class RbdImage implements AsyncDisposable {
  readonly cluster: CephCluster
  /** `pool/image`, for messages. */
  readonly name: string
  readonly handle: Handle
  readonly readOnly: boolean
  #closing: Promise<number> | undefined

  constructor(cluster: CephCluster, name: string, handle: Handle, readOnly: boolean) {
    this.cluster = cluster
    this.name = name
    this.handle = handle
    this.readOnly = readOnly
  }

  /** Bytes, as librbd knows it now: a resize by somebody else is seen soon after. */
  sizeBytes(): number {
    const out: (number | bigint)[] = [0]
    this.cluster.library.call('rbd_get_size', this.handle, out)
    return Number(out[0])
  }

  /** @param sizeBytes the new size; less than before cuts off */
  async resize(sizeBytes: number, call: Call): Promise<void> {
    await this.cluster.run(call, 'rbd_resize', [this.handle, sizeBytes])
  }

  /** Copies everything that a clone still shares with its parent. Not a clone: fine. */
  async flatten(call: Call): Promise<void> {
    try {
      await this.cluster.run(call, 'rbd_flatten', [this.handle])
    } catch (error) {
      if (!isErrno(error, 'EINVAL')) throw error
    }
  }

  /** Names and sizes in bytes, oldest first. */
  async snapshots(call: Call): Promise<readonly { name: string; sizeBytes: number }[]> {
    const { library } = this.cluster
    for (let capacity = 64; ; capacity *= 4) {
      const memory = library.allocate('rbd_snapshot', capacity)
      try {
        const count = await this.cluster.run(call, 'rbd_snap_list', [this.handle, memory, [capacity]])
        const found = library.structures<{ id: number; size: number; name: string }>(
          memory,
          'rbd_snapshot',
          count,
        )
        library.call('rbd_snap_list_end', memory)
        return found
          .filter(({ id }) => this.#isUsers(id))
          .map(({ name, size }) => ({ name, sizeBytes: Number(size) }))
      } catch (error) {
        if (!isErrno(error, 'ERANGE')) throw error
      } finally {
        library.free(memory)
      }
    }
  }

  #isUsers(snapshotId: number): boolean {
    const type = [0]
    try {
      this.cluster.library.call('rbd_snap_get_namespace_type', this.handle, snapshotId, type)
    } catch (error) {
      if (error instanceof NotFound) return false
      throw error
    }
    return type[0] === userNamespace
  }

  /** There already: fine. */
  async createSnapshot(name: string, call: Call): Promise<void> {
    try {
      await this.cluster.run(call, 'rbd_snap_create', [this.handle, name])
    } catch (error) {
      if (!isErrno(error, 'EEXIST')) throw error
    }
  }

  /** Already gone: fine. Clones of format 2 live on. @throws Conflict when clones of format 1 need it */
  async removeSnapshot(name: string, call: Call): Promise<void> {
    try {
      if (await this.isProtected(name, call)) {
        await this.cluster.run(call, 'rbd_snap_unprotect', [this.handle, name])
      }
      await this.cluster.run(call, 'rbd_snap_remove', [this.handle, name])
    } catch (error) {
      if (error instanceof NotFound) return
      if (error instanceof Conflict)
        throw new Conflict(`Snapshot ${name} of ${this.name} is in use by clones.`, { cause: error })
      throw error
    }
  }

  /** So that clones of format 1 can be made of it. Protected already: fine. @throws NotFound */
  async protectSnapshot(name: string, call: Call): Promise<void> {
    if (await this.isProtected(name, call)) return
    try {
      await this.cluster.run(call, 'rbd_snap_protect', [this.handle, name])
    } catch (error) {
      if (!isErrno(error, 'EBUSY')) throw error // somebody else was faster
    }
  }

  /** @throws NotFound */
  async isProtected(name: string, call: Call): Promise<boolean> {
    const out = [0]
    await this.cluster.run(call, 'rbd_snap_is_protected', [this.handle, name, out])
    return out[0] === 1
  }

  /** @throws NotFound, Conflict */
  async renameSnapshot(from: string, to: string, call: Call): Promise<void> {
    await this.cluster.run(call, 'rbd_snap_rename', [this.handle, from, to])
  }

  /** The image's bytes and size become the snapshot's. Takes time in proportion to what differs. */
  async rollBack(snapshot: string, call: Call): Promise<void> {
    await this.cluster.run(call, 'rbd_snap_rollback', [this.handle, snapshot])
  }

  /** A note that was kept with the image (`rbd image-meta`); undefined when there is none. */
  async note(key: string, call: Call): Promise<string | undefined> {
    const value = Buffer.alloc(noteBytes + 1)
    try {
      await this.cluster.run(call, 'rbd_metadata_get', [this.handle, key, value, [noteBytes]])
    } catch (error) {
      if (error instanceof NotFound) return undefined
      throw error
    }
    return value.toString('utf8', 0, value.indexOf(0))
  }

  /** @param value undefined removes the note; none there: fine */
  async setNote(key: string, value: string | undefined, call: Call): Promise<void> {
    if (value !== undefined) {
      await this.cluster.run(call, 'rbd_metadata_set', [this.handle, key, value])
      return
    }
    try {
      await this.cluster.run(call, 'rbd_metadata_remove', [this.handle, key])
    } catch (error) {
      if (!(error instanceof NotFound)) throw error
    }
  }

  /** The image that this one is a clone of; it may lie in the trash by now. */
  async parent(call: Call): Promise<{ readonly poolName: string; readonly imageId: string } | undefined> {
    const { library } = this.cluster
    const image = library.allocate('rbd_parent', 1)
    const snapshot = library.allocate('rbd_parent_snapshot', 1)
    try {
      await this.cluster.run(call, 'rbd_get_parent', [this.handle, image, snapshot])
      const [parent] = library.structures<{ poolName: string; imageId: string }>(image, 'rbd_parent', 1)
      library.call('rbd_linked_image_spec_cleanup', image)
      library.call('rbd_snap_spec_cleanup', snapshot)
      return parent
    } catch (error) {
      if (error instanceof NotFound) return undefined
      throw error
    } finally {
      library.free(image)
      library.free(snapshot)
    }
  }

  /**
   * What has been written in a range since a snapshot, or ever.
   * @param since a snapshot's name; undefined: all there is, the parent's data included
   * @param granularity `object` is fast and coarse (4 MiB); `exact` asks each object
   * @returns adjacent extents that cover the range; a hole is unwritten, or given back since
   */
  async extents(
    range: { readonly offset: number; readonly length: number },
    options: { readonly since?: string; readonly granularity: 'object' | 'exact' },
    call: { readonly signal: AbortSignal },
  ): Promise<readonly Extent[]> {
    const found: { offset: number; length: number; exists: boolean }[] = []
    const end = range.offset + range.length
    await this.cluster.library.withDiffCallback(
      (offset, length, exists) => {
        found.push({ offset: Number(offset), length: Number(length), exists: exists !== 0 })
        return 0
      },
      (callback) =>
        // not abandoned when the call is aborted: the callback has to stay until the walk has ended
        this.cluster.run({ signal: new AbortController().signal }, 'rbd_diff_iterate2', [
          this.handle,
          options.since ?? null,
          range.offset,
          range.length,
          1,
          options.granularity === 'object' ? 1 : 0,
          callback,
          null,
        ]),
    )
    call.signal.throwIfAborted()
    return covering(found, options.since === undefined, range.offset, end)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.cluster.library.run('rbd_close', this.handle)
    await this.#closing
  }
}

/** Ranges as they were reported, in order, with what lies between them filled in. */
function covering(
  ranges: readonly { offset: number; length: number; exists: boolean }[],
  holesAreUnwritten: boolean,
  start: number,
  end: number,
): readonly Extent[] {
  const extents: { offset: number; length: number; state: Extent['state'] }[] = []
  const add = (from: number, to: number, state: Extent['state']) => {
    if (to <= from) return
    const last = extents.at(-1)
    if (last !== undefined && last.state === state) last.length += to - from
    else extents.push({ offset: from, length: to - from, state })
  }
  let at = start
  for (const range of ranges.toSorted((a, b) => a.offset - b.offset)) {
    const from = Math.max(range.offset, at)
    const to = Math.min(range.offset + range.length, end)
    add(at, from, 'hole')
    // in a difference, a range that no longer exists has changed too: it reads as zeroes now
    add(from, to, range.exists ? 'data' : holesAreUnwritten ? 'hole' : 'zero')
    at = Math.max(at, to)
  }
  add(at, end, 'hole')
  return extents
}
