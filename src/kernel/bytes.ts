import { Invalid } from './errors.ts'

/** A stream of bytes: pulling is the back-pressure, leaving the loop closes the source. */
export type Bytes = AsyncIterable<Uint8Array>

export const KiB = 1024
export const MiB = 1024 * KiB
export const GiB = 1024 * MiB

/** An inclusive start and an exclusive end, in bytes. */
export interface ByteRange {
  readonly start: number
  readonly end: number
}

/** Passes chunks through, telling how long each was. */
export async function* counted(source: Bytes, onChunk: (bytes: number) => void): Bytes {
  for await (const chunk of source) {
    onChunk(chunk.byteLength)
    yield chunk
  }
}

/**
 * Passes at most `limit` bytes through.
 * @throws what `overflow` makes, when the source has more
 */
export async function* limitBytes(
  source: Bytes,
  limit: number,
  overflow: () => Error = () => new Invalid(`The data is longer than the ${limit} bytes allowed.`),
): Bytes {
  let total = 0
  for await (const chunk of source) {
    total += chunk.byteLength
    if (total > limit) throw overflow()
    yield chunk
  }
}

/** Joins small chunks and cuts big ones, so that every chunk but the last has exactly `chunkBytes` bytes. */
export async function* regrouped(source: Bytes, chunkBytes: number): Bytes {
  let pending = new Uint8Array(chunkBytes)
  let filled = 0
  for await (const chunk of source) {
    let taken = 0
    while (taken < chunk.byteLength) {
      const part = chunk.subarray(taken, taken + chunkBytes - filled)
      pending.set(part, filled)
      filled += part.byteLength
      taken += part.byteLength
      if (filled === chunkBytes) {
        yield pending
        pending = new Uint8Array(chunkBytes)
        filled = 0
      }
    }
  }
  if (filled > 0) yield pending.subarray(0, filled)
}

/**
 * Passes exactly the bytes that were announced.
 * @throws Invalid when there are more of them, or fewer
 */
export async function* exactBytes(source: Bytes, sizeBytes: number): Bytes {
  let total = 0
  for await (const chunk of source) {
    total += chunk.byteLength
    if (total > sizeBytes) throw new Invalid(`The data is longer than the ${sizeBytes} bytes declared.`)
    yield chunk
  }
  if (total < sizeBytes) throw new Invalid(`The data ended after ${total} of ${sizeBytes} bytes.`)
}

/** A source, and whether an error came out of it or of whoever consumed it. */
export interface WatchedBytes {
  readonly bytes: Bytes
  /** Is it what the source's own iteration threw? */
  threw(error: unknown): boolean
}

/** Watches a source, so that its errors can be told from those of its consumer. */
export function watchBytes(source: Bytes): WatchedBytes {
  let failure: { readonly error: unknown } | undefined
  const watched = async function* (): Bytes {
    try {
      yield* source
    } catch (error) {
      failure = { error }
      throw error
    }
  }
  return { bytes: watched(), threw: (error) => failure !== undefined && failure.error === error }
}

/** Bytes below which it is not worth the trouble to give memory back. */
const worthGivingBackBytes = 16 * KiB

/**
 * Gives the memory of a chunk back at once, unless the chunk shares it with others. Left to the collector, new
 * memory would have to be mapped for each chunk, and the collector would be called for every few of them. The chunk
 * is empty afterwards.
 */
export function giveBack({ buffer, byteLength }: Uint8Array): void {
  if (!(buffer instanceof ArrayBuffer) || buffer.byteLength !== byteLength) return
  if (byteLength >= worthGivingBackBytes) buffer.transfer(0)
}

/** Passes chunks through and gives each back when the next is pulled: for a consumer that copies what it is handed. */
export async function* givingBack(source: Bytes): Bytes {
  for await (const chunk of source) {
    yield chunk
    giveBack(chunk)
  }
}
