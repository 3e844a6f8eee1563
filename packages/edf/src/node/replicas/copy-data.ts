import { setTimeout as sleep } from 'node:timers/promises'
import { BLOCK_BYTES, BLOCKS_PER_PAGE } from '../store/map-page.ts'
import type { ThinVolume } from '../store/thin-volume.ts'
import type { ReplicatedVolume } from './replicated-volume.ts'

/** Bytes of a volume that one page of a map describes: what a mark after a crash stands for. */
export const REGION_BYTES = BLOCKS_PER_PAGE * BLOCK_BYTES
const CHUNK_BYTES = 1024 * 1024
const NEVER = { signal: new AbortController().signal }

/** How to make one copy like the others. */
export interface CopyJob {
  /** What it should be like; a damaged block of one copy comes from another. */
  readonly source: ReplicatedVolume
  readonly target: ThinVolume
  /** Pages of 63 MiB to look at; undefined: all. */
  readonly regions?: readonly number[]
  /** Whether the target gets every write to the source meanwhile. */
  readonly live: boolean
  readonly bytesPerSecond: number
  /** Told how far it is. */
  progress(doneBytes: number, totalBytes: number): void
  /** @throws when the job should end here */
  check(): void
}

/**
 * Makes a copy hold what its source does, byte by byte: what differs is written, and holes are made. Takes its time,
 * and leaves the source to others in between.
 */
export async function copyData(job: CopyJob): Promise<void> {
  const { source } = job
  const all = Math.ceil(source.sizeBytes / REGION_BYTES)
  const regions = job.regions ?? Array.from({ length: all }, (_, region) => region)
  const started = performance.now()
  let moved = 0
  for (const [at, region] of regions.entries()) {
    const start = region * REGION_BYTES
    const end = Math.min(source.sizeBytes, start + REGION_BYTES)
    for (let offset = start; offset < end; ) {
      job.check()
      const stop = Math.min(end, offset + CHUNK_BYTES)
      const copy = async () => {
        moved += await copyChunk(job, offset, stop - offset)
      }
      if (job.live) await source.claiming(offset, stop - offset, copy)
      else await copy()
      offset = stop
      job.progress(at * REGION_BYTES + offset - start, regions.length * REGION_BYTES)
      const aheadMs = (moved / job.bytesPerSecond) * 1000 - (performance.now() - started)
      if (aheadMs > 5) await sleep(Math.min(aheadMs, 1000))
    }
    await new Promise(setImmediate)
  }
  await job.target.flush(NEVER)
}

/** @returns bytes that were read */
async function copyChunk({ source, target }: CopyJob, offset: number, length: number): Promise<number> {
  let moved = 0
  for (const extent of await source.extents(offset, length, NEVER)) {
    if (extent.state !== 'data') {
      await target.unmap(extent.offset, extent.length, NEVER)
      continue
    }
    const wanted = Buffer.allocUnsafe(extent.length)
    await source.readInside(extent.offset, wanted, NEVER)
    moved += extent.length
    if (!(await holds(target, extent.offset, wanted))) await target.write(extent.offset, wanted, NEVER)
  }
  return moved
}

/** Whether a copy has these bytes already. What it cannot read it does not have. */
async function holds(target: ThinVolume, offset: number, wanted: Buffer): Promise<boolean> {
  const found = Buffer.allocUnsafe(wanted.byteLength)
  try {
    await target.read(offset, found, NEVER)
    return found.equals(wanted)
  } catch {
    return false
  }
}
