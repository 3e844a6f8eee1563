/**
 * Keeps read-modify-write commands (COMPARE AND WRITE, ORWRITE) apart from every other writer of the same bytes.
 * Plain writes cost nothing while no such command runs; writes that finish at once are not even recorded.
 */

interface Held {
  readonly start: number
  readonly end: number
  readonly exclusive: boolean
}

export class RangeLock {
  readonly #held = new Set<Held>()
  readonly #waiting: (() => void)[] = []
  #exclusive = 0

  /** Whether a plain write to the range has to wait. */
  blocks(offset: number, length: number): boolean {
    if (this.#exclusive === 0) return false
    for (const held of this.#held) {
      if (held.exclusive && held.start < offset + length && offset < held.end) return true
    }
    return false
  }

  /** Records a plain write that is under way. Call `release` with the result. */
  hold(offset: number, length: number): Held {
    const held = { start: offset, end: offset + length, exclusive: false }
    this.#held.add(held)
    return held
  }

  /** Resolves when something was released: look again then. */
  changed(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  /** Waits until nobody writes to the range, then keeps writers away from it. */
  async acquire(offset: number, length: number): Promise<Held> {
    const end = offset + length
    while ([...this.#held].some((held) => held.start < end && offset < held.end)) await this.changed()
    const held = { start: offset, end, exclusive: true }
    this.#held.add(held)
    this.#exclusive += 1
    return held
  }

  release(held: Held): void {
    if (!this.#held.delete(held)) return
    if (held.exclusive) this.#exclusive -= 1
    for (const wake of this.#waiting.splice(0)) wake()
  }
}
