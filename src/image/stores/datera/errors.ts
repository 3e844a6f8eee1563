import { kernelErrorOf } from '../../../datera/kernel-error.ts'
import type { StorageError } from '../../../kernel/errors.ts'

/** The kernel's error for whatever the array or the way to it threw. */
export function kernelError(error: unknown): StorageError {
  return kernelErrorOf(error, 'datera_san_login and datera_san_password')
}
