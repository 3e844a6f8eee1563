import { Invalid } from '../../../kernel/errors.ts'
import type { BlockDigests } from './block-digests.ts'

/** So many digests are kept in memory at most, 32 bytes each: a larger volume gets larger blocks. */
const mostBlocks = 1024 * 1024

/** How a volume is cut: objects of `chunkBytes`, hashed in blocks of `blockBytes`. */
export interface Geometry {
  readonly chunkBytes: number
  /** Divides `chunkBytes`. */
  readonly blockBytes: number
}

/** Of a full backup. */
export function geometryOf(store: Geometry, volumeBytes: number): Geometry {
  let { blockBytes } = store
  while (Math.ceil(volumeBytes / blockBytes) > mostBlocks && blockBytes * 2 <= store.chunkBytes)
    blockBytes *= 2
  return { blockBytes, chunkBytes: store.chunkBytes - (store.chunkBytes % blockBytes) }
}

/**
 * Of an increment: blocks as its parent has them, so that they can be compared.
 * @throws Invalid when that is not possible
 */
export function geometryOfIncrement(store: Geometry, volumeBytes: number, parent: BlockDigests): Geometry {
  const { blockBytes } = parent
  if (blockBytes > store.chunkBytes) {
    throw new Invalid(
      `Hash block size has changed since the last backup. New hash block size: ${store.blockBytes}. ` +
        `Old hash block size: ${blockBytes}. Do a full backup.`,
    )
  }
  if (Math.ceil(volumeBytes / blockBytes) > parent.count) {
    throw new Invalid('Volume size increased since the last backup. Do a full backup.')
  }
  return { blockBytes, chunkBytes: store.chunkBytes - (store.chunkBytes % blockBytes) }
}

/** A part of a volume that becomes one object, or is compared as one. */
export interface Chunk {
  readonly offset: number
  readonly length: number
}

export function* chunksOf(volumeBytes: number, { chunkBytes }: Geometry): Generator<Chunk> {
  for (let offset = 0; offset < volumeBytes; offset += chunkBytes) {
    yield { offset, length: Math.min(chunkBytes, volumeBytes - offset) }
  }
}
