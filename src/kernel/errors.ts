/**
 * The ten kinds of failure, named for what the caller can do about them. A domain error knows nothing of HTTP:
 * each API's `faults.ts` says how a kind looks there.
 */
export abstract class StorageError extends Error {
  /** Stable, machine-readable; match on this or on the class, never on the message. */
  abstract readonly code: string
  /** Structured facts for logs and for those who match on more than the code. Never secrets. */
  readonly details: Readonly<Record<string, unknown>>

  /** @param message a clear sentence for the user, who may be shown it */
  constructor(
    message: string,
    options: { details?: Readonly<Record<string, unknown>>; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = new.target.name
    this.details = options.details ?? {}
  }
}

/** The resource does not exist, or is not visible to the caller. */
export class NotFound extends StorageError {
  readonly code = 'not-found'
}

/** The resource is in a state that forbids the request, or somebody else was faster. */
export class Conflict extends StorageError {
  readonly code = 'conflict'
}

/** The request itself is wrong, and would be wrong again. */
export class Invalid extends StorageError {
  readonly code = 'invalid'
}

/** No credentials, or ones that are not valid any more. */
export class Unauthenticated extends StorageError {
  readonly code = 'unauthenticated'
}

/** Known, but not allowed. */
export class Forbidden extends StorageError {
  readonly code = 'forbidden'
}

/** The project's quota would be exceeded. */
export class OverQuota extends StorageError {
  readonly code = 'over-quota'
}

/** The backend has no room for it. */
export class NoCapacity extends StorageError {
  readonly code = 'no-capacity'
}

/** A feature that this driver, store or version does not have. */
export class Unsupported extends StorageError {
  readonly code = 'unsupported'
}

/** The operator's configuration cannot work; names the option. */
export class Misconfigured extends StorageError {
  readonly code = 'misconfigured'
}

/** A backend (array, store, database, network) failed. */
export class BackendError extends StorageError {
  readonly code = 'backend'
  /** What the failed operation left on the backend. */
  readonly left: 'nothing' | 'partial' | 'unknown'
  /** Milliseconds after which trying again makes sense; absent when it does not. */
  readonly retryAfterMs: number | undefined

  constructor(
    message: string,
    options: {
      left: 'nothing' | 'partial' | 'unknown'
      retryAfterMs?: number
      details?: Readonly<Record<string, unknown>>
      cause?: unknown
    },
  ) {
    super(message, options)
    this.left = options.left
    this.retryAfterMs = options.retryAfterMs
  }
}

/** The text of whatever was thrown, for logs and user messages. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
