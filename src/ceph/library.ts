import { createRequire } from 'node:module'
import type koffi from 'koffi'
import type { LibraryHandle } from 'koffi'
import { Misconfigured, messageOf } from '../kernel/errors.ts'
import { failureOf } from './failure.ts'

/** A handle of librados or librbd: to be passed back to them, and to nobody else. */
export type Handle = { readonly ceph: unique symbol }

/** A place for a function to put a handle. */
export const outHandle = (): [Handle | null] => [null]

/** What a function has put behind an output parameter. */
export function handleIn([handle]: readonly [Handle | null]): Handle {
  if (handle === null) throw new Error('a function of Ceph succeeded and returned nothing')
  return handle
}

/** The C functions in use, as their headers declare them. @see rados/librados.h, rbd/librbd.h */
const declarations = {
  rados: {
    rados_create2: 'int f(_Out_ void **cluster, const char *name, const char *user, uint64_t flags)',
    rados_conf_read_file: 'int f(void *cluster, const char *path)',
    rados_conf_set: 'int f(void *cluster, const char *option, const char *value)',
    rados_connect: 'int f(void *cluster)',
    rados_shutdown: 'void f(void *cluster)',
    rados_cluster_fsid: 'int f(void *cluster, void *text, size_t length)',
    rados_mon_command:
      'int f(void *cluster, const char **command, size_t lines, const char *input, size_t inputLength, _Out_ void **output, _Out_ size_t *outputLength, _Out_ void **status, _Out_ size_t *statusLength)',
    rados_buffer_free: 'void f(void *buffer)',
    rados_ioctx_create: 'int f(void *cluster, const char *pool, _Out_ void **io)',
    rados_ioctx_destroy: 'void f(void *io)',
    rados_write_full: 'int f(void *io, const char *object, const void *data, size_t length)',
    rados_write: 'int f(void *io, const char *object, const void *data, size_t length, uint64_t offset)',
    rados_read: 'int f(void *io, const char *object, void *into, size_t length, uint64_t offset)',
    rados_remove: 'int f(void *io, const char *object)',
  },
  rbd: {
    rbd_image_options_create: 'void f(_Out_ void **options)',
    rbd_image_options_destroy: 'void f(void *options)',
    rbd_image_options_set_uint64: 'int f(void *options, int option, uint64_t value)',
    rbd_create4: 'int f(void *io, const char *name, uint64_t size, void *options)',
    rbd_clone3:
      'int f(void *parentIo, const char *parent, const char *snapshot, void *io, const char *name, void *options)',
    rbd_remove: 'int f(void *io, const char *name)',
    rbd_rename: 'int f(void *io, const char *from, const char *to)',
    rbd_list2: 'int f(void *io, void *images, _Inout_ size_t *count)',
    rbd_image_spec_list_cleanup: 'void f(void *images, size_t count)',
    rbd_trash_move: 'int f(void *io, const char *name, uint64_t delaySeconds)',
    rbd_trash_list: 'int f(void *io, void *entries, _Inout_ size_t *count)',
    rbd_trash_list_cleanup: 'void f(void *entries, size_t count)',
    rbd_trash_remove: 'int f(void *io, const char *id, bool force)',
    rbd_open: 'int f(void *io, const char *name, _Out_ void **image, const char *snapshot)',
    rbd_open_read_only: 'int f(void *io, const char *name, _Out_ void **image, const char *snapshot)',
    rbd_close: 'int f(void *image)',
    rbd_get_size: 'int f(void *image, _Out_ uint64_t *size)',
    rbd_resize: 'int f(void *image, uint64_t size)',
    rbd_flatten: 'int f(void *image)',
    rbd_snap_create: 'int f(void *image, const char *name)',
    rbd_snap_remove: 'int f(void *image, const char *name)',
    rbd_snap_protect: 'int f(void *image, const char *name)',
    rbd_snap_unprotect: 'int f(void *image, const char *name)',
    rbd_snap_is_protected: 'int f(void *image, const char *name, _Out_ int *isProtected)',
    rbd_snap_rename: 'int f(void *image, const char *from, const char *to)',
    rbd_snap_rollback: 'int f(void *image, const char *name)',
    rbd_snap_list: 'int f(void *image, void *snapshots, _Inout_ int *count)',
    rbd_snap_list_end: 'void f(void *snapshots)',
    rbd_snap_get_namespace_type: 'int f(void *image, uint64_t id, _Out_ int *type)',
    rbd_metadata_get: 'int f(void *image, const char *key, void *value, _Inout_ size_t *length)',
    rbd_metadata_set: 'int f(void *image, const char *key, const char *value)',
    rbd_metadata_remove: 'int f(void *image, const char *key)',
    rbd_get_parent: 'int f(void *image, void *parent, void *snapshot)',
    rbd_linked_image_spec_cleanup: 'void f(void *parent)',
    rbd_snap_spec_cleanup: 'void f(void *snapshot)',
    rbd_open_by_id: 'int f(void *io, const char *id, _Out_ void **image, const char *snapshot)',
    rbd_open_by_id_read_only: 'int f(void *io, const char *id, _Out_ void **image, const char *snapshot)',
    rbd_diff_iterate2:
      'int f(void *image, const char *from, uint64_t offset, uint64_t length, uint8_t includeParent, uint8_t wholeObjects, RbdDiffCallback *callback, void *argument)',
    rbd_aio_create_completion: 'int f(void *argument, void *callback, _Out_ void **completion)',
    rbd_aio_wait_for_complete: 'int f(void *completion)',
    rbd_aio_is_complete: 'int f(void *completion)',
    rbd_aio_get_return_value: 'int64_t f(void *completion)',
    rbd_aio_release: 'void f(void *completion)',
    rbd_aio_read2:
      'int f(void *image, uint64_t offset, size_t length, void *into, void *completion, int flags)',
    rbd_aio_write2:
      'int f(void *image, uint64_t offset, size_t length, void *data, void *completion, int flags)',
    rbd_aio_write_zeroes:
      'int f(void *image, uint64_t offset, size_t length, void *completion, int zeroFlags, int flags)',
    rbd_aio_flush: 'int f(void *image, void *completion)',
  },
} as const

export type FunctionName = keyof typeof declarations.rados | keyof typeof declarations.rbd

interface NativeFunction {
  (...parameters: readonly unknown[]): unknown
  async(...parameters: readonly unknown[]): void
}

/** Structures that lists are made of. */
const structures = {
  rbd_image_spec: { id: 'const char *', name: 'const char *' },
  rbd_snapshot: { id: 'uint64_t', size: 'uint64_t', name: 'const char *' },
  rbd_trash_entry: {
    id: 'const char *',
    name: 'const char *',
    source: 'int',
    deletedAt: 'int64_t',
    defermentEndsAt: 'int64_t',
  },
  rbd_parent: {
    poolId: 'int64_t',
    poolName: 'const char *',
    namespace: 'const char *',
    imageId: 'const char *',
    imageName: 'const char *',
    trash: 'bool',
  },
  rbd_parent_snapshot: { id: 'uint64_t', namespaceType: 'int', name: 'const char *' },
} as const

export type StructureName = keyof typeof structures

/** Told of one range of a difference: bytes, and whether they hold data. A negative answer ends the walk. */
export type DiffCallback = (offset: number | bigint, length: number | bigint, exists: number) => number

/**
 * librados and librbd in this process. Functions that talk to the cluster run on threads of libuv's pool (`run`);
 * those that only touch memory are called at once (`call`).
 */
export class CephLibrary {
  readonly #koffi: typeof koffi
  readonly #functions: ReadonlyMap<string, NativeFunction>
  readonly #diffCallback

  /** @throws Misconfigured when the libraries are not installed */
  constructor() {
    this.#koffi = createRequire(import.meta.url)('koffi') as typeof koffi // loaded only where Ceph is used
    this.#diffCallback = this.#koffi.proto(
      'int RbdDiffCallback(uint64_t offset, size_t length, int exists, void *argument)',
    )
    for (const [name, members] of Object.entries(structures)) this.#koffi.struct(name, members)
    const functions = new Map<string, NativeFunction>()
    for (const [file, functionsOfFile] of [
      ['librados.so.2', declarations.rados],
      ['librbd.so.1', declarations.rbd],
    ] as const) {
      const library = this.#load(file)
      for (const [name, declaration] of Object.entries(functionsOfFile)) {
        functions.set(name, library.func(declaration.replace(' f(', ` ${name}(`)))
      }
    }
    this.#functions = functions
  }

  #load(file: string): LibraryHandle {
    try {
      return this.#koffi.load(file)
    } catch (error) {
      throw new Misconfigured(
        `Ceph needs ${file} on this machine (Debian: librbd1). It could not be loaded: ${messageOf(error)}`,
        { cause: error },
      )
    }
  }

  #function(name: FunctionName): NativeFunction {
    const found = this.#functions.get(name)
    if (found === undefined) throw new Error(`${name} is not declared`)
    return found
  }

  /** Calls a function that does not wait. @throws what `failureOf` makes of a negative result */
  call(name: FunctionName, ...parameters: readonly unknown[]): number {
    return checked(name, this.#function(name)(...parameters))
  }

  /** Calls a function on another thread. @throws what `failureOf` makes of a negative result */
  async run(name: FunctionName, ...parameters: readonly unknown[]): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>()
    this.#function(name).async(...parameters, (error: unknown, result: unknown) => {
      if (error) reject(error)
      else resolve(result)
    })
    return checked(name, await promise)
  }

  /** Memory for `count` structures, to be filled by a list function. */
  allocate(structure: StructureName, count: number): Handle {
    return this.#koffi.alloc(structure, count) as Handle
  }

  /** The structures that a list function has filled in. */
  structures<Structure>(memory: Handle, structure: StructureName, count: number): readonly Structure[] {
    return this.#koffi.decode(memory, structure, count) as readonly Structure[]
  }

  free(memory: Handle): void {
    this.#koffi.free(memory)
  }

  /** A copy of bytes that the library has handed out. */
  bytes(memory: Handle, length: number): Buffer {
    return Buffer.from(this.#koffi.decode(memory, this.#koffi.array('uint8_t', length)) as Uint8Array)
  }

  /** Runs with a C function that calls `callback` on this thread. */
  async withDiffCallback<Result>(
    callback: DiffCallback,
    body: (pointer: unknown) => Promise<Result>,
  ): Promise<Result> {
    const pointer = this.#koffi.register(callback, this.#koffi.pointer(this.#diffCallback))
    try {
      return await body(pointer)
    } finally {
      this.#koffi.unregister(pointer)
    }
  }
}

function checked(name: string, result: unknown): number {
  const number = typeof result === 'number' || typeof result === 'bigint' ? Number(result) : 0
  if (number < 0) throw failureOf(-number, name)
  return number
}

let shared: CephLibrary | undefined

/** The one instance of this process. @throws Misconfigured when the libraries are not installed */
export function cephLibrary(): CephLibrary {
  shared ??= new CephLibrary()
  return shared
}
