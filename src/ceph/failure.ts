import { constants } from 'node:os'
import { getSystemErrorName } from 'node:util'
import { BackendError, Conflict, NoCapacity, NotFound, type StorageError } from '../kernel/errors.ts'

const { ENOENT, EEXIST, EBUSY, ENOTEMPTY, ENOSPC, EDQUOT, ETIMEDOUT } = constants.errno

/** Milliseconds after which a cluster that did not answer may be asked again. */
const retryAfterMs = 5_000

/**
 * A failure of librados or librbd as a kernel error; `details.errno` is the number.
 * @param errno positive, as the functions return it negated
 * @param doing the function that failed
 */
export function failureOf(errno: number, doing: string): StorageError {
  const name = getSystemErrorName(-errno)
  const details = { errno, doing }
  const text = `Ceph answered ${name} to ${doing}.`
  switch (errno) {
    case ENOENT:
      return new NotFound(text, { details })
    case EEXIST:
    case EBUSY:
    case ENOTEMPTY:
      return new Conflict(text, { details })
    case ENOSPC:
    case EDQUOT:
      return new NoCapacity(text, { details })
    case ETIMEDOUT:
      return new BackendError(`The Ceph cluster did not answer in time (${doing}).`, {
        left: 'unknown',
        retryAfterMs,
        details,
      })
    default:
      return new BackendError(text, { left: 'unknown', details })
  }
}

/** Whether a kernel error of this room stands for one of these errors of Ceph, named as in `errno.h`. */
export function isErrno(
  error: unknown,
  ...names: readonly ('ENOENT' | 'EEXIST' | 'EBUSY' | 'ENOTEMPTY' | 'ERANGE' | 'EINVAL' | 'EPERM')[]
): boolean {
  const errno = (error as Partial<StorageError> | undefined)?.details?.['errno']
  return names.some((name) => constants.errno[name as keyof typeof constants.errno] === errno)
}
