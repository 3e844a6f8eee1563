/** What a cache can throw out and read again. */
export interface CachedPage {
  /** Set by whoever uses the page. */
  recent: boolean
  /** Has to stay: it holds what is not on the disk yet. */
  readonly pinned: boolean
  /** Forget yourself. */
  evict(): void
}

/**
 * Bounds the map pages in memory over all volumes of a store: the clock algorithm, so that using a page costs one
 * assignment. Pinned pages may exceed the limit until their flush.
 */
export class PageCache {
  readonly #limit: number
  readonly #pages: CachedPage[] = []
  #hand = 0

  /** @param limit pages that are kept */
  constructor(limit: number) {
    this.#limit = limit
  }

  /** Counts a page in, and throws out others as needed; never the new one. */
  add(page: CachedPage): void {
    page.recent = true
    this.#pages.push(page)
    let steps = this.#pages.length * 2
    while (this.#pages.length > this.#limit && steps-- > 0) {
      if (this.#hand >= this.#pages.length) this.#hand = 0
      const candidate = this.#pages[this.#hand]
      if (candidate === undefined || candidate === page || candidate.pinned || candidate.recent) {
        if (candidate !== undefined && candidate !== page) candidate.recent = false
        this.#hand++
      } else {
        candidate.evict()
        this.#removeAt(this.#hand)
      }
    }
  }

  /** Counts pages out whose owner drops them. */
  remove(gone: ReadonlySet<CachedPage>): void {
    for (let at = this.#pages.length - 1; at >= 0; at--) {
      const page = this.#pages[at]
      if (page !== undefined && gone.has(page)) this.#removeAt(at)
    }
  }

  get size(): number {
    return this.#pages.length
  }

  #removeAt(at: number): void {
    const last = this.#pages.pop()
    if (last !== undefined && at < this.#pages.length) this.#pages[at] = last
  }
}
