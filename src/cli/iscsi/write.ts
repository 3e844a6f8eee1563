import { open } from 'node:fs/promises'
import { writeStream } from '@emberglass/iscsi/device'
import { MiB } from '../../kernel/bytes.ts'
import { Invalid } from '../../kernel/errors.ts'
import { type ConnectOptions, withDisk } from './connect.ts'
import { transferLine, withProgress } from './progress.ts'
import { reconnections } from './read.ts'

export interface WriteOptions extends ConnectOptions {
  /** Bytes, on a block boundary of the disk. */
  readonly offset: number
  /** Zeroes are not sent as data, where the disk has a shorter way to make them. */
  readonly skipZeroes: boolean
}

/** Copies a file, or standard input for `-`, onto a disk and flushes it. The last block is filled up with zeroes. */
export async function write(file: string, url: string, options: WriteOptions): Promise<void> {
  await withDisk(url, { ...options, readOnly: false }, async (disk, signal) => {
    if (disk.writeProtected) throw new Invalid('the disk is write protected')
    if (options.offset % disk.blockSize !== 0) {
      throw new Invalid(`the offset is not a multiple of the disk's blocks of ${disk.blockSize} bytes`)
    }
    const { bytes, sizeBytes } = await source(file)
    if (sizeBytes !== undefined && options.offset + sizeBytes > disk.sizeBytes) {
      throw new Invalid(
        `the disk has ${disk.sizeBytes} bytes; ${sizeBytes} from ${options.offset} on are more`,
      )
    }
    const start = performance.now()
    const written = await withProgress(sizeBytes, (onProgress) => {
      const { offset, skipZeroes } = options
      return writeStream(bytes, disk, { offset, skipZeroes, onProgress }, { signal })
    })
    const skipped =
      written.skippedBytes === 0 ? '' : `, ${written.skippedBytes} of them zeroes that were not sent`
    const line = transferLine(written.totalBytes, performance.now() - start)
    process.stderr.write(`${line}${skipped}${reconnections(disk)}\n`)
  })
}

async function source(
  path: string,
): Promise<{ bytes: AsyncIterable<Uint8Array>; sizeBytes: number | undefined }> {
  if (path === '-') return { bytes: process.stdin, sizeBytes: undefined }
  const file = await open(path, 'r')
  const { size } = await file.stat()
  const bytes = file.createReadStream({ highWaterMark: MiB })
  // A block device of this machine says 0.
  return { bytes, sizeBytes: size === 0 ? undefined : size }
}
