import type { AttachedVolume } from './attached-volume.ts'

interface Shared {
  users: number
  readonly opening: Promise<AttachedVolume>
}

/**
 * Volumes that several readers of this process have open at once share one attachment: the last one who leaves
 * takes it back.
 */
export class SharedVolumes {
  readonly #open = new Map<string, Shared>()
  readonly #closing = new Map<string, Promise<void>>()

  /** Is somebody reading it, or about to? */
  isUsed(volumeId: string): boolean {
    return this.#open.has(volumeId)
  }

  /** Waits until a volume that was left is detached. */
  async settled(volumeId: string): Promise<void> {
    await this.#closing.get(volumeId)
  }

  /** The volume, until the result is disposed. @throws what `attach` throws */
  async use(volumeId: string, attach: () => Promise<AttachedVolume>): Promise<AttachedVolume> {
    await this.settled(volumeId)
    let shared = this.#open.get(volumeId)
    if (shared === undefined) {
      shared = { users: 0, opening: attach() }
      this.#open.set(volumeId, shared)
    }
    const mine = shared
    mine.users += 1
    let left = false
    const leave = async () => {
      if (left) return
      left = true
      await this.#leave(volumeId, mine)
    }
    try {
      const { device, rescan } = await mine.opening
      return { device, rescan, [Symbol.asyncDispose]: leave }
    } catch (error) {
      await leave()
      throw error
    }
  }

  async #leave(volumeId: string, shared: Shared): Promise<void> {
    shared.users -= 1
    if (shared.users > 0) return
    this.#open.delete(volumeId)
    const closing = shared.opening
      .then(
        (volume) => volume[Symbol.asyncDispose](),
        () => {}, // it was never attached; whoever asked has heard why
      )
      .finally(() => this.#closing.delete(volumeId))
    this.#closing.set(volumeId, closing)
    await closing
  }
}
