import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable, Writable } from 'node:stream'
import { promisify } from 'node:util'
import zlib from 'node:zlib'
import { type BlockDevice, isZero, readBytes } from '@emberglass/iscsi/device'
import { type Bytes, KiB } from '../../../kernel/bytes.ts'
import type { Call } from '../../../kernel/call.ts'
import { BackendError, Invalid, Misconfigured } from '../../../kernel/errors.ts'
import { DamagedBlob } from './blob-store.ts'

/** How a blob's bytes are compressed. */
export type Compression = 'none' | 'zlib' | 'bz2' | 'zstd'

/** Every name that `backup_compression_algorithm`, or the metadata of a backup, may give it. */
const names: Readonly<Record<string, Compression>> = {
  none: 'none',
  off: 'none',
  no: 'none',
  zlib: 'zlib',
  gzip: 'zlib', // Cinder writes the format of zlib under this name too
  bz2: 'bz2',
  bzip2: 'bz2',
  zstd: 'zstd',
}

/** @throws Invalid for a name that nobody uses */
export function compressionOf(name: string): Compression {
  const found = Object.hasOwn(names, name.toLowerCase()) ? names[name.toLowerCase()] : undefined
  if (found === undefined) throw new Invalid(`unsupported compression algorithm: ${name}`)
  return found
}

const outputChunkBytes = 128 * KiB
/** Bytes of the samples from which it is decided whether compressing is worth it, and how many. */
const sampleBytes = 64 * KiB
const sampleCount = 4
const deflate = promisify(zlib.deflate)

/**
 * Whether the bytes of a range shrink: looks at samples, because a stream that has been sent cannot be taken back.
 */
export async function shrinks(
  device: BlockDevice,
  offset: number,
  length: number,
  call: Call,
): Promise<boolean> {
  const step = Math.floor(length / sampleCount)
  let compressed = 0
  let plain = 0
  for (let sample = 0; sample < sampleCount; sample++) {
    const at = Math.floor((offset + sample * step) / device.blockSize) * device.blockSize
    const wanted = Math.ceil(Math.min(sampleBytes, length) / device.blockSize) * device.blockSize
    const bytes = await readBytes(device, at, Math.min(wanted, device.sizeBytes - at), call)
    plain += bytes.byteLength
    compressed += isZero(bytes) ? 0 : (await deflate(bytes, { level: 1 })).byteLength
  }
  return compressed < plain * 0.97
}

/** Passes bytes through and tells their CRC-32 at the end, 8 hexadecimal digits. */
export async function* checksummed(source: Bytes, onCrc32: (hex: string) => void): Bytes {
  let crc = 0
  for await (const part of source) {
    crc = zlib.crc32(part, crc)
    yield part
  }
  onCrc32(crc.toString(16).padStart(8, '0'))
}

/** @param sizeBytes of the whole source */
export function compressed(source: Bytes, compression: Compression, sizeBytes: number): Bytes {
  if (compression === 'none') return source
  if (compression === 'bz2') return throughBzip2(source, ['-c'])
  const options = { chunkSize: outputChunkBytes }
  // python-zstd wants the size in the frame's header
  const transform =
    compression === 'zlib'
      ? zlib.createDeflate(options)
      : zlib.createZstdCompress({ ...options, pledgedSrcSize: sizeBytes })
  return through(source, transform, transform)
}

/** @throws DamagedBlob when the bytes are not what the algorithm writes */
export async function* decompressed(source: Bytes, compression: Compression): Bytes {
  if (compression === 'none') {
    yield* source
    return
  }
  let sourceFailure: { readonly error: unknown } | undefined
  const watched = (async function* () {
    try {
      yield* source
    } catch (error) {
      sourceFailure = { error }
      throw error
    }
  })()
  const options = { chunkSize: outputChunkBytes }
  try {
    if (compression === 'bz2') yield* throughBzip2(watched, ['-dc'])
    else {
      const transform =
        compression === 'zlib' ? zlib.createInflate(options) : zlib.createZstdDecompress(options)
      yield* through(watched, transform, transform)
    }
  } catch (error) {
    if (sourceFailure !== undefined) throw sourceFailure.error
    if (error instanceof Misconfigured) throw error
    throw new DamagedBlob(`it cannot be decompressed (${compression})`, { cause: error })
  }
}

/** Feeds one end of a stream from a source and yields the other. */
async function* through(source: Bytes, input: Writable, output: Readable): Bytes {
  const feeding = feed(source, input).catch((error: unknown) => {
    output.destroy(error instanceof Error ? error : new Error(String(error)))
  })
  try {
    yield* output
  } finally {
    input.destroy()
    output.destroy()
    await feeding
  }
}

async function feed(source: Bytes, input: Writable): Promise<void> {
  const closed = new Promise<void>((resolve) => input.once('close', resolve))
  for await (const chunk of source) {
    if (input.destroyed) return
    if (!input.write(chunk)) {
      const drained = new Promise<void>((resolve) => input.once('drain', resolve))
      await Promise.race([drained, closed])
    }
  }
  input.end()
}

/** There is no bzip2 in Node and none that is kept on npm: the program does it. */
async function* throughBzip2(source: Bytes, argv: readonly string[]): Bytes {
  const child = spawn('bzip2', [...argv], { stdio: ['pipe', 'pipe', 'ignore'] })
  const ended = once(child, 'close') as Promise<[code: number | null]>
  ended.catch(() => {}) // it is awaited below, unless the loop is left first
  child.stdin.on('error', () => {}) // the exit code tells
  try {
    yield* through(source, child.stdin, child.stdout)
    const [code] = await ended
    if (code !== 0) throw new BackendError(`bzip2 ended with code ${code}.`, { left: 'nothing' })
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
      throw new Misconfigured('bz2 needs the program bzip2, which is not installed.', { cause: error })
    }
    throw error
  } finally {
    child.kill('SIGKILL')
  }
}
