import type { BlockDevice } from '@emberglass/iscsi/device'
import type { ByteRange, Bytes } from '../kernel/bytes.ts'
import type { Call } from '../kernel/call.ts'
import type { OptionSet } from '../kernel/config/options.ts'
import type { Logger } from '../kernel/log.ts'
import type { Secret } from '../kernel/secret.ts'

/** On whose behalf a store is called, for stores that keep images in the requester's own project. */
export interface Requester {
  readonly projectId: string
  readonly userId: string
  /** The requester's own, for calls to other services. */
  readonly token: Secret
}

/** A call of a store. */
export interface StoreCall extends Call {
  /** Absent when the service acts by itself. */
  readonly requester?: Requester | undefined
}

/** A call that keeps an image: what a store may want to know of it. */
export interface PutCall extends StoreCall {
  /** `raw`, `qcow2`… */
  readonly diskFormat?: string | undefined
  /** MD5 of all the data, hexadecimal. Ask when the data has been pulled to its end. */
  readonly checksum?: (() => Promise<string>) | undefined
}

/** What a store has kept. */
export interface StoredImage {
  /** Where it lies, `file:///…` or `datera://…`: the store's own, and all it needs to find the data again. */
  readonly location: string
  readonly sizeBytes: number
  /** MD5 of what the storage has, hexadecimal, where it tells: the service compares it with what it sent. */
  readonly md5?: string | undefined
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
   * @throws NoCapacity; Conflict when the image is there already; Unsupported by a store that is read-only
   */
  put(imageId: string, data: Bytes, sizeBytes: number | undefined, call: PutCall): Promise<StoredImage>
  /**
   * The bytes, or a range of them that ends at the size at most. A chunk is valid until the next one is pulled:
   * the store may read into the same memory again.
   * @throws NotFound on the first pull
   */
  get(location: string, range: ByteRange | undefined, call: StoreCall): Bytes
  /** Bytes. @throws NotFound */
  size(location: string, call: StoreCall): Promise<number>
  /** Already gone: fine. @throws Conflict while the data is in use */
  delete(location: string, call: StoreCall): Promise<void>
  /** Random access, where the store is made of block devices. Read-only. */
  readonly blocks?: { open(location: string, call: StoreCall): Promise<BlockDevice> }
  /** Who else may read the data, for stores that keep it in the requester's project and can give access. */
  readonly access?: {
    grant(
      location: string,
      readers: { readonly everybody: boolean; readonly projectIds: readonly string[] },
      call: StoreCall,
    ): Promise<void>
  }
  /** Is it a location of this store, rather than of another one of its type? Looked at when it has started. */
  owns?(location: string): boolean
  /** Free and total bytes, where the store can tell. */
  capacity?(call: Call): Promise<{ totalBytes: number; freeBytes: number }>
  /** What administrators are shown of the store in `stores/detail`: wire names, nothing secret. */
  readonly properties?: Readonly<Record<string, string | number | boolean | null>>
  /** Removes what crashed uploads left: everything of ours that `isKnown` denies. */
  sweep?(isKnown: (imageId: string) => Promise<boolean>, call: Call): Promise<void>
}

/** What a store is told of the place where it runs. */
export interface StorePlace {
  /** Its name in `enabled_backends`, or its type where stores have no names. */
  readonly name: string
  /** Stores have names: they stand in locations where the scheme has room for them. */
  readonly multiStore: boolean
  /** Our own, for stores that are block devices. */
  readonly initiatorName: string
  readonly stateDirectory: string
  /** The Identity API that tokens of requesters are from, `http://host:5000/v3`; absent when there is none. */
  readonly identityUrl?: string | undefined
  /** What the operator should hear before anything is stored. */
  readonly log: Logger
}

/** A store's default export: its type in `enabled_backends = name:type`, its options, its factory. */
export interface ImageStoreDefinition<Settings> {
  readonly type: string
  /** URI schemes of the locations it makes. */
  readonly schemes: readonly string[]
  readonly options: OptionSet<Settings>
  /** Serves images that lie elsewhere, and keeps none. There can be one such store only. */
  readonly readOnly?: boolean
  /**
   * A promise where the store is loaded only when it is configured.
   * @throws Misconfigured that names section and option
   */
  create(settings: Settings, place: StorePlace): ImageStore | Promise<ImageStore>
  /**
   * Names the storage that the settings choose. Two stores of a type must not choose the same: objects are named
   * by image, and deleting one copy would destroy the other. Absent: the type has checks of its own.
   */
  occupies?(settings: Settings): string
}

/** A definition of whatever settings, as lists of definitions have it. */
export type AnyImageStoreDefinition = ImageStoreDefinition<object>

export function defineImageStore<Settings>(
  definition: ImageStoreDefinition<Settings>,
): ImageStoreDefinition<Settings> {
  return definition
}
