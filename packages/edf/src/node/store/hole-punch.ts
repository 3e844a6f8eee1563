import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { systemCode } from './errors.ts'
import { BLOCK_BYTES } from './map-page.ts'

const run = promisify(execFile)

/** Blocks (1 MiB) below which a range is not worth a process; it is used again when something is written there. */
export const MIN_HOLE_BLOCKS = 256
/** Blocks (256 MiB) that are punched in one go: operations on them wait so long. */
export const MAX_HOLE_BLOCKS = 65536
const MAX_RANGES = 4096
const TIMEOUT_MS = 60_000

/** Blocks from `first` to `last`. */
export interface BlockRange {
  readonly first: number
  readonly last: number
}

/** Ranges of blocks that a file no longer needs, joined where they touch. Beyond a bound, new ones are forgotten. */
export class FreedRanges {
  #ranges: BlockRange[] = []

  get empty(): boolean {
    return this.#ranges.length === 0
  }

  add(first: number, last: number): void {
    const before = this.#ranges.at(-1)
    if (before !== undefined && first <= before.last + 1 && last + 1 >= before.first) {
      const joined = { first: Math.min(before.first, first), last: Math.max(before.last, last) }
      this.#ranges[this.#ranges.length - 1] = joined
    } else if (this.#ranges.length < MAX_RANGES) this.#ranges.push({ first, last })
  }

  /** Takes out all, in pieces of at most `MAX_HOLE_BLOCKS`; those below `MIN_HOLE_BLOCKS` are dropped. */
  take(): BlockRange[] {
    const pieces: BlockRange[] = []
    for (const range of this.#ranges) {
      for (let first = range.first; first <= range.last; first += MAX_HOLE_BLOCKS) {
        const last = Math.min(range.last, first + MAX_HOLE_BLOCKS - 1)
        if (last - first + 1 >= MIN_HOLE_BLOCKS) pieces.push({ first, last })
      }
    }
    this.#ranges = []
    return pieces
  }

  clear(): void {
    this.#ranges = []
  }
}

/**
 * Gives the space of blocks back to the filesystem with `fallocate` of util-linux, since Node has no such call.
 * @returns false when this machine or filesystem cannot do it, so that there is no point in trying again
 * @throws when the program failed otherwise
 */
export async function punchHole(path: string, { first, last }: BlockRange): Promise<boolean> {
  const offset = String(first * BLOCK_BYTES)
  const length = String((last - first + 1) * BLOCK_BYTES)
  try {
    await run('fallocate', ['--punch-hole', '--offset', offset, '--length', length, path], {
      timeout: TIMEOUT_MS,
      env: { ...process.env, LC_ALL: 'C' },
    })
    return true
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false
    if (error instanceof Error && /not supported/i.test(error.message)) return false
    throw error
  }
}
