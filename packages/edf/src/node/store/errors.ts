/** What the thin store throws. `code` is stable; match on it or on the class, never on the message. */
export abstract class ThinStoreError extends Error {
  abstract readonly code: string

  constructor(message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = new.target.name
  }
}

/** There is no room for a write. Nothing that was acknowledged has changed; a target answers 7/27/07. */
export class NoSpaceError extends ThinStoreError {
  readonly code = 'no-space'
}

/** No volume or snapshot has this id, or it was deleted while it was open. */
export class EntryNotFoundError extends ThinStoreError {
  readonly code = 'entry-not-found'
}

/** The id is taken by something else. */
export class EntryExistsError extends ThinStoreError {
  readonly code = 'entry-exists'
}

/** Snapshots are read-only. */
export class ReadOnlyError extends ThinStoreError {
  readonly code = 'read-only'
}

/** Another process, or another store of this process, has the directory. */
export class StoreLockedError extends ThinStoreError {
  readonly code = 'store-locked'
}

/** What lies on the disk is not what was written there. */
export class CorruptStoreError extends ThinStoreError {
  readonly code = 'corrupt-store'
}

/** A block is not what was written there: its checksum says so. Nothing of it was returned. */
export class BadBlockError extends ThinStoreError {
  readonly code = 'bad-block'
  readonly id: string
  /** Where the block begins, in bytes of the volume or snapshot. */
  readonly offset: number

  constructor(id: string, offset: number) {
    super(`the block at byte ${offset} of ${id} does not have its checksum`)
    this.id = id
    this.offset = offset
  }
}

/** The disk refused to make data durable; from then on the volume accepts no write and no flush until it is reopened. */
export class VolumeFailedError extends ThinStoreError {
  readonly code = 'volume-failed'
}

/** The store, or the last user's hold on the volume, is gone. */
export class StoreClosedError extends ThinStoreError {
  readonly code = 'store-closed'
}

/** @returns the code of a system error such as `'ENOENT'`, or undefined */
export function systemCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}
