import { kernelErrorOf } from '../../../datera/kernel-error.ts'
import type { StorageError } from '../../../kernel/errors.ts'

/** The kernel's error for whatever an operation on the array threw. */
export function kernelError(error: unknown): StorageError {
  return kernelErrorOf(error, 'san_login and san_password')
}
