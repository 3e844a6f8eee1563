/**
 * Mutual exclusion per resource, wrapped round drivers from outside: drivers contain none.
 * In-process for one controller on SQLite, advisory locks for several on PostgreSQL.
 */
export interface Locks {
  /**
   * Runs `work` while holding the lock.
   * @param key names the resource, for instance `volume:8f2c…`
   * @throws the signal's reason when it is aborted before the lock is had
   */
  withLock<Result>(key: string, signal: AbortSignal, work: () => Promise<Result>): Promise<Result>
}

/** Locks that all users of one process share. First come, first served. */
export function processLocks(): Locks {
  const tails = new Map<string, Promise<void>>()
  return {
    async withLock(key, signal, work) {
      const previous = tails.get(key)
      const { promise: released, resolve: release } = Promise.withResolvers<void>()
      const tail = (previous ?? Promise.resolve()).then(() => released)
      tails.set(key, tail)
      try {
        if (previous !== undefined) await orAborted(previous, signal)
        signal.throwIfAborted()
        return await work()
      } finally {
        release()
        if (tails.get(key) === tail) tails.delete(key)
      }
    },
  }
}

function orAborted(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason)
    if (signal.aborted) {
      abort()
      return
    }
    signal.addEventListener('abort', abort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}
