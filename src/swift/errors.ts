import type { Dispatcher } from 'undici'
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

/** Bytes of an error's text that are kept. */
const maxTextBytes = 500

/** Statuses after which the same request may succeed. */
const passing: ReadonlySet<number> = new Set([408, 429, 498, 500, 502, 503, 504])

export function isPassing(status: number): boolean {
  return passing.has(status)
}

/**
 * The kernel's error for an answer that is none of those hoped for. Reads the answer to its end.
 * @param what completes the sentence "Swift refused to …"
 */
export async function swiftFault(response: Dispatcher.ResponseData, what: string): Promise<StorageError> {
  const { statusCode } = response
  const text = (await response.body.text().catch(() => ''))
    .replaceAll(/<[^>]*>/g, ' ')
    .replaceAll(/\s+/g, ' ')
    .trim()
    .slice(0, maxTextBytes)
  const message = `Swift refused to ${what}: ${statusCode}${text === '' ? '' : ` ${text}`}`
  const options = { details: { status: statusCode } }
  switch (statusCode) {
    case 401:
      return new Unauthenticated(message, options)
    case 403:
      return new Forbidden(message, options)
    case 404:
      return new NotFound(message, options)
    case 409:
      return new Conflict(message, options)
    case 413:
    case 507:
      return new NoCapacity(message, options)
    case 400:
    case 411:
    case 412:
    case 416:
      return new Invalid(message, options)
    default:
      return new BackendError(message, {
        ...options,
        left: 'unknown',
        ...(isPassing(statusCode) ? { retryAfterMs: 1_000 } : {}),
      })
  }
}

/** The kernel's error for a connection that failed. */
export function unreachable(cause: unknown): StorageError {
  if (cause instanceof StorageError) return cause
  return new BackendError(`Swift could not be reached: ${messageOf(cause)}`, {
    left: 'unknown',
    retryAfterMs: 1_000,
    cause,
  })
}
