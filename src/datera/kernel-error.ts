import {
  EdfAuth,
  EdfConflict,
  EdfError,
  EdfForbidden,
  EdfInvalid,
  EdfNotFound,
  EdfTls,
  EdfUnavailable,
  EdfVersion,
} from '@emberglass/edf/client'
import { IscsiError, ScsiError } from '@emberglass/iscsi/device'
import {
  BackendError,
  Conflict,
  Invalid,
  Misconfigured,
  messageOf,
  NoCapacity,
  NotFound,
  StorageError,
} from '../kernel/errors.ts'

/** Sense of a thin array that is full: DATA PROTECT, space allocation failed. (SPC-5, table of ASC/ASCQ.) */
const isFull = (error: ScsiError) => error.senseKey === 0x07 && error.asc === 0x27 && error.ascq === 0x07

/** Failures of a connection to the array that trying again may mend. */
const passing: readonly string[] = ['closed', 'timeout', 'login']
const retryAfterMs = 5_000

/**
 * The kernel's error for whatever an operation on the array threw: one translation for the volume driver and for
 * the image store.
 * @param credentials the options that hold login and password, for the sentence that tells to check them
 */
export function kernelErrorOf(error: unknown, credentials: string): StorageError {
  if (error instanceof StorageError) return error
  if (error instanceof EdfError) return ofArray(error, credentials)
  if (error instanceof ScsiError && isFull(error)) {
    return new NoCapacity('The array has no room left.', { cause: error })
  }
  if (error instanceof IscsiError && passing.includes(error.code)) {
    return new BackendError(error.message, { left: 'unknown', retryAfterMs, cause: error })
  }
  return new BackendError(messageOf(error), { left: 'unknown', cause: error })
}

function ofArray(error: EdfError, credentials: string): StorageError {
  const details = { status: error.status, apiName: error.apiName, traceId: error.traceId }
  const options = { details, cause: error }
  if (error instanceof EdfNotFound) return new NotFound(error.message, options)
  if (error instanceof EdfConflict) return new Conflict(error.message, options)
  if (error instanceof EdfInvalid) return new Invalid(error.message, options)
  if (error instanceof EdfAuth) {
    return new Misconfigured(`${error.message}: check ${credentials}.`, options)
  }
  if (error instanceof EdfTls || error instanceof EdfVersion) return new Misconfigured(error.message, options)
  if (error instanceof EdfUnavailable) {
    const left = error.outcome === 'none' ? 'nothing' : 'unknown'
    return new BackendError(error.message, { ...options, left, retryAfterMs })
  }
  if (error instanceof EdfForbidden) return new BackendError(error.message, { ...options, left: 'nothing' })
  return new BackendError(`Bad response from the array: ${error.message}`, { ...options, left: 'unknown' })
}
