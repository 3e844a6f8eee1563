/**
 * Decides whether reads may block the event loop. Those from the page cache are faster so than through the thread
 * pool; those from a disk are not. A mean of recent inline reads above the limit sends the next ones to the pool,
 * after which one inline read probes again.
 */
export class InlineGuard {
  readonly #limitMs: number
  readonly #pause: number
  #meanMs = 0
  #left = 0

  /** @param pause reads that go through the pool before the next probe */
  constructor(limitMs = 0.2, pause = 64) {
    this.#limitMs = limitMs
    this.#pause = pause
  }

  /** Whether the next read may be inline. */
  allows(): boolean {
    if (this.#left === 0) return true
    this.#left--
    return false
  }

  /** Learns how long an inline read took. */
  took(ms: number): void {
    this.#meanMs += (ms - this.#meanMs) / 8
    if (this.#meanMs <= this.#limitMs) return
    this.#meanMs = 0
    this.#left = this.#pause
  }
}
