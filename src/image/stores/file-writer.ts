import type { FileHandle } from 'node:fs/promises'
import { type Bytes, giveBack, MiB } from '../../kernel/bytes.ts'
import type { Call } from '../../kernel/call.ts'

/** Bytes that are handed to the kernel in one call. */
const batchBytes = 2 * MiB
/** Bytes after which what was written is sent to the disk, so that the last sync finds little to do. */
const syncEveryBytes = 64 * MiB

/**
 * Writes a stream to a file while the next chunks arrive: one write is in flight, and one sync behind it.
 * @param options.zeroChunkBytes stretches between multiples of that many bytes that are all zero are left out of the file
 * @returns the file's length in bytes; it is not synced yet
 * @throws what the data's iteration throws, the signal's reason, or the file system's error
 */
export async function writeFile(
  file: FileHandle,
  data: Bytes,
  call: Call,
  options: { zeroChunkBytes: number | undefined },
): Promise<number> {
  const zeroes = options.zeroChunkBytes === undefined ? undefined : Buffer.alloc(options.zeroChunkBytes)
  let batch: Uint8Array[] = []
  let batchLength = 0
  let batchStart = 0
  let position = 0
  let unsynced = 0
  let writing: Promise<void> | undefined
  let syncing: Promise<void> | undefined
  const quietly = (promise: Promise<void>) => {
    promise.catch(() => {}) // it is awaited later, or another error is on its way already
    return promise
  }

  const writeBatch = async (): Promise<void> => {
    if (batchLength === 0) return
    await writing
    writing = quietly(writeAll(file, batch, batchStart))
    unsynced += batchLength
    batch = []
    batchLength = 0
    if (unsynced >= syncEveryBytes) {
      await writing
      await syncing
      syncing = quietly(file.datasync())
      unsynced = 0
    }
  }

  try {
    call.signal.throwIfAborted()
    for await (const chunk of data) {
      call.signal.throwIfAborted()
      const { byteLength } = chunk
      const parts = zeroes === undefined ? [{ offset: 0, bytes: chunk }] : dataIn(chunk, position, zeroes)
      for (const { offset, bytes } of parts) {
        if (position + offset !== batchStart + batchLength) await writeBatch() // behind a hole
        if (batchLength === 0) batchStart = position + offset
        batch.push(bytes)
        batchLength += bytes.byteLength
      }
      position += byteLength
      if (batchLength >= batchBytes) await writeBatch()
    }
    await writeBatch()
    await writing
    await syncing
    if (zeroes !== undefined) await file.truncate(position) // a file that ends with a hole
    return position
  } finally {
    await Promise.allSettled([writing, syncing]) // the caller closes the file
  }
}

/** The parts of a chunk that are not stretches of zeroes; the chunk itself when it has none. */
function dataIn(
  chunk: Uint8Array,
  position: number,
  zeroes: Buffer,
): readonly { readonly offset: number; readonly bytes: Uint8Array }[] {
  const parts: { offset: number; bytes: Uint8Array }[] = []
  let start = 0
  const endPart = (end: number) => {
    if (end > start) parts.push({ offset: start, bytes: chunk.subarray(start, end) })
  }
  for (let at = 0; at < chunk.byteLength; ) {
    const untilNext = zeroes.byteLength - ((position + at) % zeroes.byteLength)
    const end = Math.min(chunk.byteLength, at + untilNext)
    if (zeroes.compare(chunk, at, end, 0, end - at) === 0) {
      endPart(at)
      start = end
    }
    at = end
  }
  if (start === 0) return [{ offset: 0, bytes: chunk }]
  endPart(chunk.byteLength)
  if (parts.length === 0) giveBack(chunk)
  return parts
}

async function writeAll(file: FileHandle, chunks: readonly Uint8Array[], position: number): Promise<void> {
  let pending = chunks
  let offset = position
  while (pending.length > 0) {
    const { bytesWritten } = await file.writev([...pending], offset)
    offset += bytesWritten
    let left = bytesWritten
    let whole = 0
    while (whole < pending.length) {
      const length = pending[whole]?.byteLength ?? 0
      if (length > left) break
      left -= length
      whole += 1
    }
    const partial = pending[whole]
    pending = partial === undefined ? [] : [partial.subarray(left), ...pending.slice(whole + 1)]
  }
  for (const chunk of chunks) giveBack(chunk) // ours, once they are written
}
