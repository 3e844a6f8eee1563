import {
  CorruptStoreError,
  EntryExistsError,
  EntryNotFoundError,
  NoSpaceError,
  StoreLockedError,
} from '@emberglass/edf/store'
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

/** The kernel's error for whatever the store or the target threw. */
export function kernelError(error: unknown): StorageError {
  if (error instanceof StorageError) return error
  const cause = { cause: error }
  if (error instanceof EntryNotFoundError) return new NotFound(error.message, cause)
  if (error instanceof EntryExistsError) return new Conflict(error.message, cause)
  if (error instanceof NoSpaceError) return new NoCapacity(error.message, cause)
  if (error instanceof RangeError) return new Invalid(error.message, cause)
  if (error instanceof StoreLockedError) {
    return new Misconfigured(`local_data_directory: ${error.message}.`, cause)
  }
  const left = error instanceof CorruptStoreError ? 'unknown' : 'nothing'
  return new BackendError(messageOf(error), { left, ...cause })
}
