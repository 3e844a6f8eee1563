import type { ReplicatedStore } from '../replicas/replicated-store.ts'

/** Listing the store takes at most this share of the time. */
const share = 0.05

/**
 * What each volume occupies. The store tells it of all at once only, so that a listing is kept for a time that is in
 * proportion to what it cost: a small store is asked anew each time, a large one a few times a second.
 */
export class StoreUsage {
  readonly #store: Pick<ReplicatedStore, 'list'>
  #bytes: ReadonlyMap<string, number> = new Map()
  #validUntil = 0

  constructor(store: Pick<ReplicatedStore, 'list'>) {
    this.#store = store
  }

  /** Bytes; 0 for what the store does not have. */
  of(storeId: string): number {
    const started = performance.now()
    if (started >= this.#validUntil) {
      this.#bytes = new Map(this.#store.list().map(({ id, usedBytes }) => [id, usedBytes]))
      const ended = performance.now()
      this.#validUntil = ended + (ended - started) / share
    }
    return this.#bytes.get(storeId) ?? 0
  }
}
