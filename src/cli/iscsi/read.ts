import { open } from 'node:fs/promises'
import { isZero, readStream } from '@emberglass/iscsi/device'
import type { IscsiDisk } from '@emberglass/iscsi/initiator'
import { Invalid } from '../../kernel/errors.ts'
import { type ConnectOptions, withDisk } from './connect.ts'
import { transferLine, withProgress } from './progress.ts'

export interface ReadOptions extends ConnectOptions {
  /** Bytes, anywhere on the disk. */
  readonly offset: number
  /** Bytes; to the end of the disk when left out. */
  readonly length?: number
}

/**
 * Copies a disk, or a part of it, into a file, or to standard output for `-`. Zeroes become holes of a file.
 * A file that is there already is written over, from its start.
 */
export async function read(url: string, file: string, options: ReadOptions): Promise<void> {
  await withDisk(url, { ...options, readOnly: true }, async (disk, signal) => {
    const { offset, length = disk.sizeBytes - offset } = options
    if (offset > disk.sizeBytes || offset + length > disk.sizeBytes) {
      throw new Invalid(`the disk has ${disk.sizeBytes} bytes; ${length} from ${offset} on are more`)
    }
    const start = performance.now()
    await withProgress(length, async (onBytes) => {
      const bytes = counted(readStream(disk, offset, length, {}, { signal }), onBytes)
      if (file === '-') await toStandardOutput(bytes)
      else await toFile(bytes, file, length)
    })
    process.stderr.write(`${transferLine(length, performance.now() - start)}${reconnections(disk)}\n`)
  })
}

async function* counted(
  source: AsyncIterable<Uint8Array>,
  onBytes: (done: number) => void,
): AsyncGenerator<Uint8Array> {
  let done = 0
  for await (const chunk of source) {
    yield chunk
    done += chunk.byteLength
    onBytes(done)
  }
}

async function toStandardOutput(bytes: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const chunk of bytes) {
    // The chunk's buffer is used again for the next: it has to be gone first.
    await new Promise<void>((resolve, reject) => {
      process.stdout.write(chunk, (error) => (error ? reject(error) : resolve()))
    })
  }
}

async function toFile(bytes: AsyncIterable<Uint8Array>, path: string, length: number): Promise<void> {
  await using file = await open(path, 'w')
  let at = 0
  for await (const chunk of bytes) {
    if (!isZero(chunk)) {
      for (let done = 0; done < chunk.byteLength; ) {
        const { bytesWritten } = await file.write(chunk, done, chunk.byteLength - done, at + done)
        done += bytesWritten
      }
    }
    at += chunk.byteLength
  }
  await file.truncate(length)
  await file.sync()
}

/** Tells that a connection was lost on the way, and had back. */
export function reconnections(disk: IscsiDisk): string {
  return disk.reconnects === 0 ? '' : `, connection lost and had back ${disk.reconnects} times`
}
