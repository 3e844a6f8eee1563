import type { BlockDevice } from '@emberglass/iscsi'
import type { ByteRange, Bytes } from '../kernel/bytes.ts'
import type { Call } from '../kernel/call.ts'
import type { OptionSet } from '../kernel/config/options.ts'

/** What a store has kept. */
export interface StoredImage {
  /** Where it lies, `file:///…` or `datera://…`: the store's own, and all it needs to find the data again. */
  readonly location: string
  readonly sizeBytes: number
}

/**
 * Keeps image data. Stores store: digests, size limits and format checks are done once by the service while the
 * bytes pass. Only kernel errors escape.
 */
export interface ImageStore extends AsyncDisposable {
  /** Checks the configuration and that the store answers. @throws Misconfigured, BackendError */
  start(call: Call): Promise<void>
  /**
   * Keeps the data, durably when it resolves. When it rejects, or the data's iteration throws, nothing is left;
   * what the iteration threw comes out unchanged. The chunks belong to the store: it may hold on to them, and
   * give their memory back, so no chunk is yielded twice.
   * @param sizeBytes when it is known beforehand
   * @throws NoCapacity; Conflict when the image is there already
   */
  put(imageId: string, data: Bytes, sizeBytes: number | undefined, call: Call): Promise<StoredImage>
  /**
   * The bytes, or a range of them that ends at the size at most. A chunk is valid until the next one is pulled:
   * the store may read into the same memory again.
   * @throws NotFound on the first pull
   */
  get(location: string, range: ByteRange | undefined, call: Call): Bytes
  /** Bytes. @throws NotFound */
  size(location: string, call: Call): Promise<number>
  /** Already gone: fine. */
  delete(location: string, call: Call): Promise<void>
  /** Random access, where the store is made of block devices. Read-only. */
  readonly blocks?: { open(location: string, call: Call): Promise<BlockDevice> }
  /** Free and total bytes, where the store can tell. */
  capacity?(call: Call): Promise<{ totalBytes: number; freeBytes: number }>
  /** What administrators are shown of the store in `stores/detail`: wire names, nothing secret. */
  readonly properties?: Readonly<Record<string, string | number | boolean | null>>
  /** Removes what crashed uploads left: everything of ours that `isKnown` denies. */
  sweep?(isKnown: (imageId: string) => Promise<boolean>, call: Call): Promise<void>
}

/** A store's default export: its type in `enabled_backends = name:type`, its options, its factory. */
export interface ImageStoreDefinition<Settings> {
  readonly type: string
  /** URI schemes of the locations it makes. */
  readonly schemes: readonly string[]
  /** Nothing can be uploaded to it: it serves what lies elsewhere. */
  readonly readOnly?: boolean
  readonly options: OptionSet<Settings>
  create(
    settings: Settings,
    store: { name: string; initiatorName: string; stateDirectory: string },
  ): ImageStore
}

/** A definition of whatever settings, as lists of definitions have it. */
export type AnyImageStoreDefinition = ImageStoreDefinition<object>

export function defineImageStore<Settings>(
  definition: ImageStoreDefinition<Settings>,
): ImageStoreDefinition<Settings> {
  return definition
}
