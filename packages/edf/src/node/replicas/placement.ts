import type { MediaKind } from './medium.ts'

/** Where the copies of a volume belong. */
export type PlacementMode = 'hybrid' | 'single_flash' | 'all_flash'

/** How many copies a volume should have, and where. */
export interface Wanted {
  readonly replicaCount: number
  readonly mode: PlacementMode
}

/** A medium that can take a copy. */
export interface Candidate {
  readonly id: string
  readonly kind: MediaKind
  readonly freeBytes: number
  /** Whether the volume has a copy there now. */
  readonly holds: boolean
}

/**
 * Chooses the media of a volume's copies: no two on one medium; `all_flash` on flash, `single_flash` one on flash and the
 * others on hdd, `hybrid` the first on hdd and the others anywhere. Where there is not enough of a kind, the other kind
 * serves (the array keeps the data, and says so in the volume's `storage_state`). A copy stays where it is if that is as
 * good; otherwise the medium with most room is taken.
 * @returns fewer than wanted when there are not so many media
 */
export function choosePlaces(wanted: Wanted, candidates: readonly Candidate[]): string[] {
  const left = [...candidates].sort(
    (a, b) => Number(b.holds) - Number(a.holds) || b.freeBytes - a.freeBytes || (a.id < b.id ? -1 : 1),
  )
  const chosen: string[] = []
  while (chosen.length < wanted.replicaCount && left.length > 0) {
    const kind = preferredKind(wanted.mode, chosen.length)
    const at = Math.max(
      0,
      left.findIndex((candidate) => candidate.kind === kind),
    )
    chosen.push(...left.splice(at, 1).map(({ id }) => id))
  }
  return chosen
}

/** Which kind of medium the copy with this number should be on; undefined: any. */
function preferredKind(mode: PlacementMode, copy: number): MediaKind | undefined {
  if (mode === 'all_flash') return 'flash'
  if (mode === 'single_flash') return copy === 0 ? 'flash' : 'hdd'
  return copy === 0 ? 'hdd' : undefined
}

/** Whether copies on media of these kinds have less flash than the mode promises. */
export function lacksFlash(mode: PlacementMode, kinds: readonly MediaKind[]): boolean {
  if (mode === 'all_flash') return kinds.some((kind) => kind !== 'flash')
  return mode === 'single_flash' && !kinds.includes('flash')
}
