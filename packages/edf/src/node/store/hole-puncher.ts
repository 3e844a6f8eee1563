import type { BlockIndex } from './block-index.ts'
import type { Claims } from './claims.ts'
import type { Gate } from './gate.ts'
import { type BlockRange, FreedRanges, MIN_HOLE_BLOCKS, punchHole } from './hole-punch.ts'

/** What a puncher needs of its volume and store. */
export interface PuncherHost {
  readonly index: BlockIndex
  readonly claims: Claims
  readonly gate: Gate
  /** Whether the volume may still be used. */
  usable(): boolean
  /** Whether freed space is worth a try to give back, and that it is not. */
  readonly punches: boolean
  stopPunching(): void
  failed(error: unknown): void
}

/** Gives the space of a volume's unmapped blocks back to the filesystem, in the background, after a flush. */
export class HolePuncher {
  readonly #host: PuncherHost
  readonly #freed = new FreedRanges()
  #punching: Promise<void> | undefined

  constructor(host: PuncherHost) {
    this.#host = host
  }

  /** Notes blocks that the map no longer needs. */
  add(first: number, last: number): void {
    this.#freed.add(first, last)
  }

  /** Forgets all: there is another top layer. */
  clear(): void {
    this.#freed.clear()
  }

  /** What was noted is durably unmapped now. */
  start(): void {
    if (this.#freed.empty || this.#punching !== undefined || !this.#host.punches) return
    this.#punching = this.#punch()
      .catch((error: unknown) => this.#host.failed(error))
      .finally(() => {
        this.#punching = undefined
      })
  }

  /** Resolves when the space of what was noted before the last `start` is the filesystem's again. */
  async idle(): Promise<void> {
    await this.#punching
  }

  /** Punches holes where blocks were unmapped. Whoever wants to write there waits, as for another write. */
  async #punch(): Promise<void> {
    const { index, claims, gate } = this.#host
    const top = index.top
    for (const range of this.#freed.take()) {
      for (let first = range.first; first <= range.last; ) {
        while (!gate.open) await gate.whenOpen()
        if (!this.#host.usable() || index.top !== top) return
        const hole = unusedRun(index, first, range.last)
        first = hole.last + 1
        const wait = claims.on(hole.first, hole.last)
        // Somebody is writing there: it is in use again.
        if (wait !== undefined || hole.last - hole.first + 1 < MIN_HOLE_BLOCKS) continue
        const release = claims.take(hole.first, hole.last)
        gate.enter()
        try {
          if (!(await punchHole(top.files.dataPath, hole))) return this.#host.stopPunching()
        } finally {
          gate.leave()
          release()
        }
      }
    }
  }
}

/** Finds the first run of blocks from `first` to `last` that the top layer's file does not need. */
function unusedRun(index: BlockIndex, first: number, last: number): BlockRange {
  let start = first
  while (start < last && index.inTop(start)) start++
  let stop = start
  while (stop < last && !index.inTop(stop + 1)) stop++
  return index.inTop(start) ? { first: start + 1, last: start } : { first: start, last: stop }
}
