import type { Bytes } from '../../../kernel/bytes.ts'
import type { Call } from '../../../kernel/call.ts'
import type { BackupPlan, StoredBackup } from '../../backup-driver.ts'

/** Which backup's objects are meant. */
export type BlobPlace = Pick<StoredBackup, 'id' | 'container' | 'prefix'>

/**
 * A place for named blobs; `chunkedBackupDriver` makes a backup driver of it. Names begin with the backup's prefix:
 * `<prefix>-00001`…, `<prefix>_sha256file` and `<prefix>_metadata`, written in this order.
 */
export interface BlobStore extends AsyncDisposable {
  /** Most bytes of a volume in one blob, and the bytes that changes are tracked by: it divides the other. */
  readonly chunkBytes: number
  readonly blockBytes: number
  /** Blobs of one backup that can be moved beside each other. */
  readonly lanes: number
  /**
   * How often a blob is written when the failure may pass, and the pause before the second time; it doubles with each.
   * Absent for stores that try again themselves.
   */
  readonly retries?: { readonly attempts: number; readonly pauseMs: number }
  /** @throws Misconfigured, BackendError */
  start(call: Call): Promise<void>
  /** @throws Invalid for a container that cannot be */
  place(plan: BackupPlan): Omit<BlobPlace, 'id'>
  /** @param mode `write` makes the container when it is missing; `read` @throws NotFound when it is missing */
  open(place: BlobPlace, mode: 'read' | 'write', call: Call): Promise<BlobContainer>
  /** Removes every blob of a backup, finished or not. Nothing there: fine. */
  remove(place: BlobPlace, call: Call): Promise<void>
}

/** The blobs of one backup. Whoever opens it closes it. */
export interface BlobContainer extends AsyncDisposable {
  /**
   * The blob is there whole, and durable, when this resolves; on failure it is not there.
   * @param data every piece has memory of its own, which may be taken
   */
  put(name: string, data: Bytes, call: Call): Promise<void>
  /** @throws NotFound on the first pull */
  get(name: string, call: Call): Bytes
  /** Names of the backup's blobs, in any order. */
  list(call: Call): Promise<readonly string[]>
}

/** A blob does not hold what was written. Reading it again may help once. */
export class DamagedBlob extends Error {}
