import {
  BackendError,
  Conflict,
  Forbidden,
  Invalid,
  messageOf,
  NoCapacity,
  NotFound,
  StorageError,
  Unauthenticated,
} from '../kernel/errors.ts'

/** Error codes that say more than their status. @see Amazon S3 API reference, Error responses */
const kinds: Readonly<Record<string, typeof Unauthenticated | typeof NoCapacity>> = {
  InvalidAccessKeyId: Unauthenticated,
  SignatureDoesNotMatch: Unauthenticated,
  AuthorizationHeaderMalformed: Unauthenticated,
  EntityTooLarge: NoCapacity,
  QuotaExceeded: NoCapacity,
  InsufficientCapacity: NoCapacity,
  XMinioStorageFull: NoCapacity,
}

function statusOf(error: unknown): number | undefined {
  if (!(error instanceof Error) || !('$metadata' in error)) return undefined
  const metadata = error.$metadata
  if (typeof metadata !== 'object' || metadata === null || !('httpStatusCode' in metadata)) return undefined
  return typeof metadata.httpStatusCode === 'number' ? metadata.httpStatusCode : undefined
}

/**
 * The kernel's error for whatever the S3 library threw.
 * @param what completes the sentence "S3 refused to …"
 */
export function s3Fault(error: unknown, what: string): StorageError {
  if (error instanceof StorageError) return error
  const status = statusOf(error)
  if (status === undefined) {
    return new BackendError(`S3 could not be reached to ${what}: ${messageOf(error)}`, {
      left: 'unknown',
      retryAfterMs: 1_000,
      cause: error,
    })
  }
  const code = error instanceof Error ? error.name : ''
  const message = `S3 refused to ${what}: ${status} ${code}`
  const options = { details: { status, code }, cause: error }
  const Kind = kinds[code]
  if (Kind !== undefined) return new Kind(message, options)
  switch (status) {
    case 401:
      return new Unauthenticated(message, options)
    case 403:
      return new Forbidden(message, options)
    case 404:
      return new NotFound(message, options)
    case 409:
    case 412:
      return new Conflict(message, options)
    case 413:
    case 507:
      return new NoCapacity(message, options)
    case 400:
    case 416:
      return new Invalid(message, options)
    default:
      return new BackendError(message, {
        ...options,
        left: 'unknown',
        ...(status >= 500 || status === 429 ? { retryAfterMs: 1_000 } : {}),
      })
  }
}
