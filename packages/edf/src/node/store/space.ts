import { statfsSync } from 'node:fs'
import { NoSpaceError } from './errors.ts'
import { BLOCK_BYTES } from './map-page.ts'

/** Bytes that may be handed out before the filesystem is asked again; well inside any sensible reserve. */
const GRANT_BYTES = 64 * 1024 * 1024

/** Bytes of the whole store. */
export interface Usage {
  readonly totalBytes: number
  readonly usedBytes: number
  readonly freeBytes: number
}

/**
 * Counts the blocks that layers hold, and refuses one more when the store is full: at its own `capacityBytes`, or when
 * the filesystem has only `reserveBytes` left. Merging layers may use the reserve, since it gives space back.
 */
export class Space {
  readonly #directory: string
  readonly #reserveBytes: number
  readonly #capacityBytes: number
  #usedBytes = 0
  #grantBytes = 0

  /** @param capacityBytes what the store may hold at most; Infinity leaves it to the filesystem */
  constructor(directory: string, reserveBytes: number, capacityBytes: number) {
    this.#directory = directory
    this.#reserveBytes = reserveBytes
    this.#capacityBytes = capacityBytes
  }

  /**
   * Takes room for new blocks.
   * @throws NoSpaceError when there is none; then nothing was taken
   */
  take(blocks: number, purpose: 'write' | 'merge' = 'write'): void {
    const bytes = blocks * BLOCK_BYTES
    if (purpose === 'write' && this.#usedBytes + bytes > this.#capacityBytes) {
      throw new NoSpaceError(`the store is full: ${this.#usedBytes} of ${this.#capacityBytes} bytes are used`)
    }
    if (bytes > this.#grantBytes) {
      const available = this.#availableBytes() - (purpose === 'write' ? this.#reserveBytes : 0)
      if (available < bytes) {
        throw new NoSpaceError(
          `the filesystem of the store has no more than ${Math.max(0, available)} bytes to give`,
        )
      }
      if (purpose === 'write') this.#grantBytes = Math.min(available, Math.max(GRANT_BYTES, bytes))
    }
    this.#grantBytes = Math.max(0, this.#grantBytes - bytes)
    this.#usedBytes += bytes
  }

  /** Gives blocks back, or what `take` took for a write that failed. */
  give(blocks: number): void {
    this.#usedBytes -= blocks * BLOCK_BYTES
  }

  /** Counts blocks that were there when the store was opened. */
  adopt(blocks: number): void {
    this.#usedBytes += blocks * BLOCK_BYTES
  }

  /** Used bytes are those of mapped blocks; free ones are what writes may still take. */
  usage(): Usage {
    const available = Math.max(0, this.#availableBytes() - this.#reserveBytes)
    const freeBytes = Math.max(0, Math.min(available, this.#capacityBytes - this.#usedBytes))
    return { totalBytes: this.#usedBytes + freeBytes, usedBytes: this.#usedBytes, freeBytes }
  }

  #availableBytes(): number {
    const { bavail, bsize } = statfsSync(this.#directory)
    return bavail * bsize
  }
}
