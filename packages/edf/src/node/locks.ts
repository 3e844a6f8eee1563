/** One holder at a time per key, in order of asking; keys that nobody holds cost nothing. */
export class KeyedLocks {
  readonly #tails = new Map<string, Promise<unknown>>()

  async run<Result>(key: string, work: () => Promise<Result> | Result): Promise<Result> {
    const before = this.#tails.get(key)
    const mine = before === undefined ? Promise.resolve().then(work) : before.then(work, work)
    const tail = mine.catch(() => undefined)
    this.#tails.set(key, tail)
    try {
      return await mine
    } finally {
      if (this.#tails.get(key) === tail) this.#tails.delete(key)
    }
  }

  /** Resolves when everything that was asked for before has ended. */
  async idle(): Promise<void> {
    while (this.#tails.size > 0) await Promise.all(this.#tails.values())
  }
}
