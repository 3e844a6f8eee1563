import { unlessAborted } from './retry.ts'

/** Runs functions of the same key one after the other, within this process. */
export class Exclusive {
  readonly #last = new Map<string, Promise<unknown>>()

  /** @throws what the function throws; the signal's reason when it is aborted while waiting */
  async run<Value>(key: string, signal: AbortSignal, work: () => Promise<Value>): Promise<Value> {
    const before = this.#last.get(key) ?? Promise.resolve()
    const turn = Promise.withResolvers<void>()
    const mine = before.then(() => turn.promise)
    this.#last.set(key, mine)
    try {
      await unlessAborted(before, signal)
      return await work()
    } finally {
      turn.resolve()
      if (this.#last.get(key) === mine) this.#last.delete(key)
    }
  }
}
