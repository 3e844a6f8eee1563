/** What became of copies, for RECEIVE COPY RESULTS: SPC-4 section 6.20. Kept in memory for each initiator port. */
import type { NexusId } from './nexus.ts'

export interface CopyResult {
  /** 0 under way, 1 completed, 2 completed with errors. */
  status: 0 | 1 | 2
  segmentsDone: number
  bytesDone: number
}

/** Results kept for one nexus, and nexuses they are kept for. */
const MAX_RESULTS = 16
const MAX_NEXUSES = 64

export class CopyResults {
  readonly #held = new Map<NexusId, Map<number, CopyResult>>()

  /** Begins a copy; an older result under the same identifier is forgotten. */
  begin(nexus: NexusId, listId: number): CopyResult {
    const results = this.#held.get(nexus) ?? new Map<number, CopyResult>()
    this.#held.delete(nexus)
    this.#held.set(nexus, results)
    results.delete(listId)
    const result: CopyResult = { status: 0, segmentsDone: 0, bytesDone: 0 }
    results.set(listId, result)
    dropOldest(results, MAX_RESULTS)
    dropOldest(this.#held, MAX_NEXUSES)
    return result
  }

  get(nexus: NexusId, listId: number): CopyResult | undefined {
    return this.#held.get(nexus)?.get(listId)
  }
}

function dropOldest<Key>(map: Map<Key, unknown>, most: number): void {
  for (const key of map.keys()) {
    if (map.size <= most) return
    map.delete(key)
  }
}
