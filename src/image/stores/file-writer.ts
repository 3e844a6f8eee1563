import type { FileHandle } from 'node:fs/promises'
import { type Bytes, giveBack, MiB, regrouped } from '../../kernel/bytes.ts'
import type { Call } from '../../kernel/call.ts'

/** Bytes that are handed to the kernel in one call. */
const batchBytes = 2 * MiB
/** Bytes after which what was written is sent to the disk, so that the last sync finds little to do. */
const syncEveryBytes = 64 * MiB

/**
 * Writes a stream to a file while the next chunks arrive: one write is in flight, and one sync behind it.
 * @param options.zeroChunkBytes stretches of that many bytes that are all zero are left out of the file
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
  const source = zeroes === undefined ? data : regrouped(data, zeroes.byteLength)
  let batch: Uint8Array[] = []
  let batchLength = 0
  let position = 0
  let unsynced = 0
  let writing: Promise<void> | undefined
  let syncing: Promise<void> | undefined
  const quietly = (promise: Promise<void>) => {
    promise.catch(() => {}) // it is awaited later, or another error is on its way already
    return promise
  }

  const writeBatch = async (): Promise<void> => {
    await writing
    if (batch.length > 0) writing = quietly(writeAll(file, batch, position - batchLength))
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
    for await (const chunk of source) {
      call.signal.throwIfAborted()
      const isZero =
        zeroes !== undefined && zeroes.compare(chunk, 0, chunk.byteLength, 0, chunk.byteLength) === 0
      if (isZero) {
        await writeBatch()
        position += chunk.byteLength
        continue
      }
      batch.push(chunk)
      batchLength += chunk.byteLength
      position += chunk.byteLength
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
