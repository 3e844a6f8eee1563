/** How long busy answers (503, "still initializing") and lost connections are retried. */
export interface RetryPolicy {
  /** From the first attempt to the start of the last one. 0: never retry. */
  readonly budgetMs: number
  /** Longest pause between attempts; the first ones are shorter. */
  readonly intervalMs: number
}

/**
 * Pauses of one request: 100 ms, doubled up to the policy's interval, each ±20 % so that clients that were refused
 * together do not come back together.
 */
export class Retries {
  readonly #policy: RetryPolicy
  readonly #deadline: number
  #pauseMs = 100

  constructor(policy: RetryPolicy, now: number = Date.now()) {
    this.#policy = policy
    this.#deadline = now + policy.budgetMs
  }

  /** Milliseconds to wait before the next attempt, or `undefined` when the budget is used up. */
  next(now: number = Date.now(), random: number = Math.random()): number | undefined {
    const pause = Math.min(this.#pauseMs, this.#policy.intervalMs) * (0.8 + 0.4 * random)
    this.#pauseMs *= 2
    return now + pause > this.#deadline ? undefined : pause
  }
}

/** Waits; rejects with the signal's reason when it is aborted first. */
export function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
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

/** The promise's result, unless the signal is aborted first. The promise itself goes on. */
export function unlessAborted<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason)
      return
    }
    const abort = () => reject(signal.reason)
    signal.addEventListener('abort', abort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}

/** Whether an answer asks to come back later. */
export function isBusy(status: number, body: unknown): boolean {
  if (status === 503) return true
  if (status !== 500 || typeof body !== 'object' || body === null) return false
  const message: unknown = Reflect.get(body, 'message')
  return typeof message === 'string' && message.includes('still initializing')
}
