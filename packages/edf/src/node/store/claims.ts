/** Blocks that an unfinished operation is about to change. */
interface Claim {
  readonly first: number
  readonly last: number
  readonly done: Promise<void>
}

/** Which blocks unfinished operations are changing, so that others wait for them. */
export class Claims {
  readonly #claims = new Set<Claim>()

  /** @returns a promise for the end of an unfinished operation on these blocks; undefined when there is none */
  on(first: number, last: number): Promise<void> | undefined {
    for (const claim of this.#claims) if (claim.first <= last && first <= claim.last) return claim.done
    return undefined
  }

  /** Resolves when nobody is changing these blocks. */
  async free(first: number, last: number): Promise<void> {
    for (let wait = this.on(first, last); wait !== undefined; wait = this.on(first, last)) await wait
  }

  /** Claims blocks that are free. @returns ends it */
  take(first: number, last: number): () => void {
    let resolve = (): void => {}
    const claim: Claim = { first, last, done: new Promise((done) => (resolve = done)) }
    this.#claims.add(claim)
    return () => {
      this.#claims.delete(claim)
      resolve()
    }
  }
}
