import type { Present } from './replicated-store.ts'

/** Bytes of the media that are there. A filesystem that several of them share counts once. */
export interface ReplicatedUsage {
  readonly totalBytes: number
  readonly freeBytes: number
  /** Of flash alone. */
  readonly flashTotalBytes: number
  readonly flashFreeBytes: number
}

/** Adds up what media have. */
export function usageOf(media: readonly Present[]): ReplicatedUsage {
  const all = sum(media)
  const flash = sum(media.filter(({ medium }) => medium.kind === 'flash'))
  return { ...all, flashTotalBytes: flash.totalBytes, flashFreeBytes: flash.freeBytes }
}

function sum(media: readonly Present[]): { totalBytes: number; freeBytes: number } {
  const freeOf = new Map<number, number>()
  let usedBytes = 0
  for (const { medium, store } of media) {
    const usage = store.usage()
    usedBytes += usage.usedBytes
    freeOf.set(medium.filesystem, Math.max(usage.freeBytes, freeOf.get(medium.filesystem) ?? 0))
  }
  const freeBytes = [...freeOf.values()].reduce((total, bytes) => total + bytes, 0)
  return { totalBytes: usedBytes + freeBytes, freeBytes }
}
