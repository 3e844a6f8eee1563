import { createHash } from 'node:crypto'
import type { BlockDevice } from '@emberglass/iscsi/device'
import { type Bytes, MiB } from '../../../kernel/bytes.ts'
import type { Call } from '../../../kernel/call.ts'
import type { BlockDigests } from '../chunked/block-digests.ts'
import { type Chunk, type Geometry, geometryOf } from '../chunked/geometry.ts'
import { hashThreads, sha256ByBlock } from '../chunked/hash-threads.ts'

/** What is moved at once, and how many of it beside each other. */
export const unitBytes = 4 * MiB
export const lanes = 3
/** Bytes of one read. */
const readBytes = MiB

/** How a volume is cut and hashed: like a chunked backup with objects of one unit. */
export function unitsOf(volumeBytes: number): Geometry {
  return geometryOf({ chunkBytes: unitBytes, blockBytes: MiB / 16 }, volumeBytes)
}

/** Bytes of a part of a volume, and the SHA-256 of each of its blocks, one behind the other. */
export interface HashedPart {
  readonly data: Uint8Array
  readonly digests: Uint8Array
}

/** Reads a part of at most one unit that begins where a block begins. */
export async function readHashed(
  device: BlockDevice,
  { offset, length }: Chunk,
  blockBytes: number,
  call: Call,
): Promise<HashedPart> {
  const buffer = new Uint8Array(length)
  const reads: Promise<void>[] = []
  for (let at = 0; at < length; at += readBytes) {
    const into = buffer.subarray(at, Math.min(length, at + readBytes))
    reads.push(Promise.resolve(device.read(offset + at, into, call)))
  }
  await settled(reads)
  let digests: Uint8Array = new Uint8Array(0)
  let data: Uint8Array = buffer
  const byBlock = sha256ByBlock(blockBytes, (all) => {
    digests = all
  })
  const hashed = hashThreads.hashed(once(buffer), byBlock)
  for await (const piece of hashed) data = piece
  call.signal.throwIfAborted()
  return { data, digests }
}

/** Waits until all have ended, whatever becomes of them: their buffers are free then. @throws the first failure */
export async function settled(work: readonly Promise<unknown>[]): Promise<void> {
  await Promise.allSettled(work)
  await Promise.all(work)
}

async function* once(bytes: Uint8Array): Bytes {
  yield bytes
}

/** Whether a part of a volume has the digests that are listed. */
export function isAsListed(digests: BlockDigests, part: Chunk, found: Uint8Array): boolean {
  const blocks = Math.ceil(part.length / digests.blockBytes)
  return Buffer.compare(found, digests.of(part.offset / digests.blockBytes, blocks)) === 0
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
