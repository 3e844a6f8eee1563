/**
 * Removals that failed half-way, as on a disk that is full. Nobody sees any more what they were to remove; they are tried
 * again until they succeed, and a start would finish them as well.
 */
export class UnfinishedRemovals {
  readonly #left = new Set<() => Promise<void>>()
  #retrying: Promise<void> | undefined

  /** Removes something; what fails is repeated later. @throws why it failed now */
  async run(remove: () => Promise<void>): Promise<void> {
    try {
      await remove()
    } catch (error) {
      this.#left.add(remove)
      throw error
    }
  }

  /** Tries again what has failed before. */
  async retry(): Promise<void> {
    if (this.#left.size === 0) return
    this.#retrying ??= this.#retryAll().finally(() => {
      this.#retrying = undefined
    })
    await this.#retrying
  }

  async #retryAll(): Promise<void> {
    for (const remove of [...this.#left]) {
      try {
        await remove()
        this.#left.delete(remove)
      } catch {
        // The reason was told when it first failed, and may still hold.
      }
    }
  }
}
