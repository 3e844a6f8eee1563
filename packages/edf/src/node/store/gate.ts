/**
 * Many may be inside at once, or one alone. Operations that finish without waiting need not enter: JavaScript runs
 * them whole. They only look at `open` first.
 */
export class Gate {
  #inside = 0
  #closed: Promise<void> | undefined
  #drained: (() => void) | undefined

  /** Whether an operation may go ahead now. */
  get open(): boolean {
    return this.#closed === undefined
  }

  /** Resolves when the gate may be open: look again, for somebody else may have been faster. */
  async whenOpen(): Promise<void> {
    await this.#closed
  }

  /** Counts one in; only while `open`. */
  enter(): void {
    this.#inside++
  }

  /** Counts one out; once for each `enter`. */
  leave(): void {
    this.#inside--
    if (this.#inside === 0) this.#drained?.()
  }

  /** Runs `operation` inside, waiting for the gate first. */
  async shared<T>(operation: () => Promise<T>): Promise<T> {
    while (this.#closed !== undefined) await this.#closed
    this.enter()
    try {
      return await operation()
    } finally {
      this.leave()
    }
  }

  /** Closes the gate, waits until everybody has left, and runs `operation` alone. Not to be nested. */
  async exclusive<T>(operation: () => T | Promise<T>): Promise<T> {
    while (this.#closed !== undefined) await this.#closed
    let reopen = (): void => {}
    this.#closed = new Promise<void>((resolve) => {
      reopen = resolve
    })
    try {
      if (this.#inside > 0) {
        await new Promise<void>((resolve) => {
          this.#drained = resolve
        })
      }
      return await operation()
    } finally {
      this.#drained = undefined
      this.#closed = undefined
      reopen()
    }
  }
}
