import type { Call } from '../kernel/call.ts'
import { Conflict, NotFound } from '../kernel/errors.ts'
import type { CephCluster } from './cluster.ts'
import { isErrno } from './failure.ts'
import { RbdImage } from './image.ts'
import { type Handle, handleIn, outHandle, type StructureName } from './library.ts'

/** `RBD_IMAGE_OPTION_*` of `rbd/librbd.h`. */
const imageOption = { order: 2, stripeUnit: 3, stripeCount: 4, featuresSet: 8, cloneFormat: 12 } as const
/** `RBD_FEATURE_EXCLUSIVE_LOCK` and `RBD_FEATURE_JOURNALING`, which needs the other. */
const journaling = 4 | 64

/** The note of an image that lies in the trash because we put it there. */
const discardedNote = 'emberglass.discarded'

/** How an image is laid out. */
export interface ImageLayout {
  /** Bytes of one object, a power of two; the cluster's default (4 MiB) when absent. */
  readonly objectBytes?: number
  /** 2: the parent's snapshot can go before the clone. 1: the snapshot has to be protected. Default: Ceph's choice. */
  readonly cloneFormat?: 1 | 2
  /** Bytes and objects over which data is spread; Ceph's choice when absent. */
  readonly stripes?: { readonly unitBytes: number; readonly count: number }
  /** Keeps a journal of writes, so that the image can be mirrored. */
  readonly journal?: boolean
}

/** The images of one RADOS pool. Each method can be repeated. */
export class RbdPool {
  readonly cluster: CephCluster
  readonly name: string
  readonly io: Handle

  constructor(cluster: CephCluster, name: string, io: Handle) {
    this.cluster = cluster
    this.name = name
    this.io = io
  }

  /** @throws Conflict when an image of that name exists; NoCapacity */
  async create(name: string, sizeBytes: number, layout: ImageLayout, call: Call): Promise<void> {
    using options = this.#options(layout)
    await this.cluster.run(call, 'rbd_create4', [this.io, name, sizeBytes, options.handle])
  }

  /** A copy-on-write child of a snapshot, in constant time. @throws NotFound, Conflict */
  async clone(
    parent: { readonly pool: RbdPool; readonly image: string; readonly snapshot: string },
    name: string,
    layout: ImageLayout,
    call: Call,
  ): Promise<void> {
    using options = this.#options(layout)
    const from = [parent.pool.io, parent.image, parent.snapshot]
    await this.cluster.run(call, 'rbd_clone3', [...from, this.io, name, options.handle])
  }

  /**
   * Already gone: fine. Ends a removal that was cut short, after which the image is still listed and cannot be opened.
   * @throws Conflict when somebody has it open, or snapshots or clones are left
   */
  async remove(name: string, call: Call): Promise<void> {
    await this.#unlessGone(this.cluster.run(call, 'rbd_remove', [this.io, name]))
  }

  /**
   * Out of sight, while clones still need it: `sweepTrash` removes it for good when none does any more. Already
   * gone: fine. @throws Conflict when somebody has it open
   */
  async discard(name: string, call: Call): Promise<void> {
    const note = (image: RbdImage) => image.setNote(discardedNote, 'true', call)
    try {
      await this.withImage(name, { readOnly: false }, note, call)
      await this.cluster.run(call, 'rbd_trash_move', [this.io, name, 0])
    } catch (error) {
      if (!(error instanceof NotFound)) throw error
    }
  }

  /** Removes for good what was discarded and nothing needs any more. What others put into the trash stays. */
  async sweepTrash(call: Call): Promise<void> {
    const entries = await this.#list<{ id: string }>(
      'rbd_trash_list',
      'rbd_trash_list_cleanup',
      'rbd_trash_entry',
      call,
    )
    for (const { id } of entries) {
      try {
        if (!(await this.#emptyIfDiscarded(id, call))) continue
        await this.cluster.run(call, 'rbd_trash_remove', [this.io, id, false])
      } catch (error) {
        if (!(error instanceof NotFound) && !(error instanceof Conflict)) throw error
      }
    }
  }

  /** @throws Conflict when clones need a snapshot */
  async #emptyIfDiscarded(id: string, call: Call): Promise<boolean> {
    await using image = await this.#openById(id, false, call)
    if ((await image.note(discardedNote, call)) === undefined) return false
    for (const { name } of await image.snapshots(call)) await image.removeSnapshot(name, call)
    return true
  }

  /** Renamed already: fine. @throws NotFound, Conflict */
  async rename(from: string, to: string, call: Call): Promise<void> {
    try {
      await this.cluster.run(call, 'rbd_rename', [this.io, from, to])
    } catch (error) {
      if (!(error instanceof NotFound) || !(await this.exists(to, call))) throw error
    }
  }

  async exists(name: string, call: Call): Promise<boolean> {
    try {
      await this.withImage(name, { readOnly: true }, async () => {}, call)
      return true
    } catch (error) {
      if (error instanceof NotFound) return false
      throw error
    }
  }

  /** Names of every image, without those in the trash. */
  async names(call: Call): Promise<readonly string[]> {
    const images = await this.#list<{ name: string }>(
      'rbd_list2',
      'rbd_image_spec_list_cleanup',
      'rbd_image_spec',
      call,
    )
    return images.map(({ name }) => name)
  }

  /** Whoever opens an image closes it. @throws NotFound */
  async open(
    name: string,
    how: { readonly readOnly: boolean; readonly snapshot?: string },
    call: Call,
  ): Promise<RbdImage> {
    const out = outHandle()
    const open = how.readOnly ? 'rbd_open_read_only' : 'rbd_open'
    await this.cluster.run(call, open, [this.io, name, out, how.snapshot ?? null], async () => {
      await this.cluster.library.run('rbd_close', handleIn(out))
    })
    return new RbdImage(this.cluster, `${this.name}/${name}`, handleIn(out), how.readOnly)
  }

  /**
   * How many images lie under an image: 0 for one that is no clone.
   * @param atMost where counting ends
   */
  async cloneDepth(image: RbdImage, atMost: number, call: Call): Promise<number> {
    const parent = await image.parent(call)
    if (parent === undefined || atMost === 0) return 0
    const pool = await this.cluster.pool(parent.poolName, call)
    await using opened = await pool.#openById(parent.imageId, true, call)
    return 1 + (await this.cloneDepth(opened, atMost - 1, call))
  }

  /** Also what lies in the trash. */
  async #openById(id: string, readOnly: boolean, call: Call): Promise<RbdImage> {
    const out = outHandle()
    const open = readOnly ? 'rbd_open_by_id_read_only' : 'rbd_open_by_id'
    await this.cluster.run(call, open, [this.io, id, out, null], async () => {
      await this.cluster.library.run('rbd_close', handleIn(out))
    })
    return new RbdImage(this.cluster, `${this.name}/${id}`, handleIn(out), readOnly)
  }

  /** Opens an image for the time of a function. @throws NotFound, what the function throws */
  async withImage<Result>(
    name: string,
    how: { readonly readOnly: boolean; readonly snapshot?: string },
    body: (image: RbdImage) => Promise<Result>,
    call: Call,
  ): Promise<Result> {
    await using image = await this.open(name, how, call)
    return await body(image)
  }

  async #unlessGone(removing: Promise<number>): Promise<void> {
    try {
      await removing
    } catch (error) {
      if (!(error instanceof NotFound)) throw error
    }
  }

  #options(layout: ImageLayout): { readonly handle: Handle } & Disposable {
    const { library } = this.cluster
    const out = outHandle()
    library.call('rbd_image_options_create', out)
    const handle = handleIn(out)
    const set = (option: number, value: number) =>
      library.call('rbd_image_options_set_uint64', handle, option, value)
    if (layout.objectBytes !== undefined) set(imageOption.order, Math.log2(layout.objectBytes))
    if (layout.cloneFormat !== undefined) set(imageOption.cloneFormat, layout.cloneFormat)
    if (layout.stripes !== undefined) {
      set(imageOption.stripeUnit, layout.stripes.unitBytes)
      set(imageOption.stripeCount, layout.stripes.count)
    }
    if (layout.journal === true) set(imageOption.featuresSet, journaling)
    return { handle, [Symbol.dispose]: () => library.call('rbd_image_options_destroy', handle) }
  }

  async #list<Entry>(
    list: 'rbd_list2' | 'rbd_trash_list',
    cleanUp: 'rbd_image_spec_list_cleanup' | 'rbd_trash_list_cleanup',
    structure: StructureName,
    call: Call,
  ): Promise<readonly Entry[]> {
    const { library } = this.cluster
    for (let capacity = 128; ; capacity *= 4) {
      const memory = library.allocate(structure, capacity)
      const count: (number | bigint)[] = [capacity]
      try {
        await this.cluster.run(call, list, [this.io, memory, count])
        const found = Number(count[0])
        const entries = library.structures<Entry>(memory, structure, found)
        library.call(cleanUp, memory, found)
        return entries
      } catch (error) {
        if (!isErrno(error, 'ERANGE')) throw error
      } finally {
        library.free(memory)
      }
    }
  }
}
