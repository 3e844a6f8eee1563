import {
  EdfAuth,
  EdfConflict,
  EdfError,
  EdfInvalid,
  EdfNotFound,
  EdfTls,
  EdfUnavailable,
  EdfVersion,
} from '@emberglass/edf/client'
import { ScsiError } from '@emberglass/iscsi'
import {
  BackendError,
  Conflict,
  Invalid,
  Misconfigured,
  messageOf,
  NoCapacity,
  NotFound,
  StorageError,
} from '../../../kernel/errors.ts'

/** Sense of a thin array that is full: DATA PROTECT, space allocation failed. (SPC-5, table of ASC/ASCQ.) */
const isFull = (error: ScsiError) => error.senseKey === 0x07 && error.asc === 0x27 && error.ascq === 0x07

/** The kernel's error for whatever the array or the way to it threw. */
export function kernelError(error: unknown): StorageError {
  if (error instanceof StorageError) return error
  if (error instanceof ScsiError && isFull(error)) {
    return new NoCapacity('The array has no room for the image.', { cause: error })
  }
  if (!(error instanceof EdfError)) {
    return new BackendError(messageOf(error), { left: 'unknown', cause: error })
  }
  const options = { details: { status: error.status, apiName: error.apiName }, cause: error }
  if (error instanceof EdfNotFound) return new NotFound(error.message, options)
  if (error instanceof EdfConflict) return new Conflict(error.message, options)
  if (error instanceof EdfInvalid) return new Invalid(error.message, options)
  if (error instanceof EdfAuth) {
    return new Misconfigured(`${error.message}: check datera_san_login and datera_san_password.`, options)
  }
  if (error instanceof EdfTls || error instanceof EdfVersion) return new Misconfigured(error.message, options)
  if (error instanceof EdfUnavailable) {
    const left = error.outcome === 'none' ? 'nothing' : 'unknown'
    return new BackendError(error.message, { ...options, left, retryAfterMs: 5000 })
  }
  return new BackendError(`Bad response from the array: ${error.message}`, { ...options, left: 'unknown' })
}
