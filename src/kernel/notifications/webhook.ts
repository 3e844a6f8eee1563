import { setTimeout as sleep } from 'node:timers/promises'
import { request } from 'undici'
import { messageOf } from '../errors.ts'
import type { Logger } from '../log.ts'

/** Notifications that wait at most; of more, the newest are lost. */
const longestQueue = 1_000
const attempts = 5
const patienceMs = 10_000

/**
 * POSTs notifications as JSON to a URL, one after the other. Nobody waits for it: a receiver that is slow or away costs
 * at most the memory of a full queue, and what it misses is said in the log.
 */
export class Webhook implements AsyncDisposable {
  readonly #url: string
  readonly #log: Logger
  readonly #firstPauseMs: number
  readonly #waiting: object[] = []
  readonly #stopping = new AbortController()
  #sending: Promise<void> | undefined
  #lost = 0

  /** @param firstPauseMs between the first attempt and the second; it doubles with each */
  constructor(url: string, log: Logger, firstPauseMs = 500) {
    this.#url = url
    this.#log = log
    this.#firstPauseMs = firstPauseMs
  }

  /** Never throws. */
  enqueue(notification: object): void {
    if (this.#waiting.length >= longestQueue) {
      // not a line for each: a receiver that is away would fill the log
      if (this.#lost++ === 0) this.#log.warn('the queue of notifications is full: some are not sent')
      return
    }
    this.#waiting.push(notification)
    this.#sending ??= this.#sendAll().finally(() => {
      this.#sending = undefined
    })
  }

  async #sendAll(): Promise<void> {
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      if (this.#stopping.signal.aborted) return
      await this.#send(JSON.stringify(next))
      if (this.#lost === 0) continue
      this.#log.warn({ lost: this.#lost }, 'notifications were not sent, because too many waited')
      this.#lost = 0
    }
  }

  async #send(body: string): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        const answer = await request(this.#url, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body,
          signal: AbortSignal.any([this.#stopping.signal, AbortSignal.timeout(patienceMs)]),
        })
        await answer.body.dump()
        if (answer.statusCode < 300) return
        throw new Error(`the receiver answered ${answer.statusCode}`)
      } catch (error) {
        if (this.#stopping.signal.aborted) return
        if (attempt === attempts) {
          this.#log.warn({ error: messageOf(error), attempts }, 'a notification could not be sent')
          return
        }
      }
      const pauseMs = this.#firstPauseMs * 2 ** (attempt - 1)
      await sleep(pauseMs, undefined, { signal: this.#stopping.signal }).catch(() => {}) // stopping: the loop sees it
    }
  }

  /** Gives up what has not been sent. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort()
    await this.#sending
  }
}
