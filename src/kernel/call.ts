import type { Logger } from './log.ts'
import { silentLogger } from './log.ts'

/** What accompanies every call that can wait. Libraries ask for less: `Cancel` is the signal alone. */
export interface Call {
  readonly signal: AbortSignal
  readonly log: Logger
}

/** A call that nobody cancels, for tests and start-up. */
export function uncancelled(log: Logger = silentLogger()): Call {
  return { signal: new AbortController().signal, log }
}

/**
 * The same call with a time limit of its own.
 * @param what completes the sentence "timed out after N ms waiting for …"
 */
export function withTimeout(call: Call, timeoutMs: number, what: string): Call & Disposable {
  const limit = new AbortController()
  const timer = setTimeout(() => {
    limit.abort(new Error(`timed out after ${timeoutMs} ms waiting for ${what}`))
  }, timeoutMs)
  timer.unref()
  return {
    signal: AbortSignal.any([call.signal, limit.signal]),
    log: call.log,
    [Symbol.dispose]: () => clearTimeout(timer),
  }
}

/** Waits; rejects with the signal's reason when it is aborted first. */
export function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason)
      return
    }
    const abort = () => {
      clearTimeout(timer)
      reject(signal.reason)
    }
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', abort)
      resolve()
    }, milliseconds)
    signal.addEventListener('abort', abort, { once: true })
  })
}
