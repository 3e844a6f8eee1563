import type { Readable, Transform } from 'node:stream'
import { createGunzip, createInflateRaw } from 'node:zlib'
import { FileReader } from '../../../disk-image/random-reader.ts'
import type { Bytes } from '../../../kernel/bytes.ts'
import type { Call } from '../../../kernel/call.ts'
import { Invalid, messageOf, NoCapacity, StorageError, Unsupported } from '../../../kernel/errors.ts'
import type { Environment } from '../../environment.ts'
import { requireRow } from '../../images/queries.ts'
import { filterThrough } from './limited-program.ts'
import type { PluginRun } from './run.ts'
import { findZipMember } from './zip.ts'

type Packing = 'gzip' | 'bzip2' | 'xz' | 'zip' | 'lha'

/** Small files may be packed better than any ratio allows for. */
const graceBytes = 1024 * 1024

/**
 * Replaces compressed data by what is in it, unless the image says that it is meant to be compressed. What comes
 * out is limited in size and in proportion to what went in, and is not unpacked again.
 * @throws Invalid for damaged data and for bombs; Unsupported for an archive that cannot be read here
 * @see image-api specification 4.7, 7.4
 */
export async function decompressImage({ environment, payload, staged, call }: PluginRun): Promise<string> {
  const { staging } = environment
  const image = await requireRow(environment.db, payload.imageId)
  if (image.container_format === 'compressed') return staged
  const packedBytes = (await staging.size(staged)) ?? 0
  const packing = await recognise(staging.path(staged), packedBytes, call)
  if (packing === undefined) return staged

  const result = `${payload.imageId}.decompressed`
  await staging.remove(result) // an earlier run may have died after it was whole
  const unpacked = unpack(environment, packing, staged, packedBytes, call)
  const limited = limitExpansion(environment, unpacked, packedBytes)
  const size = await staging.write(result, named(limited, packing), undefined, call)
  call.log.info({ imageId: payload.imageId, packing, packedBytes, sizeBytes: size }, 'image decompressed')
  return result
}

/** @returns undefined for data that is not compressed in a way that is known */
async function recognise(path: string, sizeBytes: number, call: Call): Promise<Packing | undefined> {
  const start = Buffer.alloc(Math.min(8, sizeBytes))
  await using reader = await FileReader.open(path)
  await reader.read(0, start, call)
  const text = start.toString('latin1')
  if (text.startsWith('\x1f\x8b')) return 'gzip'
  if (/^BZh[1-9]/.test(text)) return 'bzip2'
  if (text.startsWith('\xfd7zXZ\0')) return 'xz'
  if (text.startsWith('PK\x03\x04')) return 'zip'
  if (/^..-l[hz].-/s.test(text)) return 'lha'
  return undefined
}

function unpack(
  environment: Environment,
  packing: Packing,
  staged: string,
  packedBytes: number,
  call: Call,
): Bytes {
  const packed = environment.staging.read(staged, call)
  switch (packing) {
    case 'gzip':
      return through(packed, createGunzip())
    case 'bzip2':
      return filterThrough('bzip2', ['-dc'], packed, call)
    case 'xz':
      return filterThrough('xz', ['-dc', '--format=xz', '--memlimit-decompress=512MiB'], packed, call)
    case 'zip':
      return unzip(environment, staged, packedBytes, call)
    case 'lha':
      throw new Unsupported('The image is an LHA archive, which cannot be unpacked here.')
  }
}

/** The one member of a zip archive; its name, and the sizes that the archive claims, do not matter. */
async function* unzip(environment: Environment, staged: string, packedBytes: number, call: Call): Bytes {
  const path = environment.staging.path(staged)
  const member = await findZipMember(path, packedBytes, call)
  const packed = slice(
    environment.staging.read(staged, call),
    member.start,
    member.start + member.packedBytes,
  )
  yield* member.method === 'stored' ? packed : through(packed, createInflateRaw())
}

async function* slice(source: Bytes, start: number, end: number): Bytes {
  let position = 0
  for await (const chunk of source) {
    const part = chunk.subarray(Math.max(0, start - position), Math.max(0, end - position))
    position += chunk.byteLength
    if (part.byteLength > 0) yield part
    if (position >= end) return
  }
}

/** Passes bytes through a decoder of Node's. The decoder gets copies: the source fills its memory again. */
async function* through(source: Bytes, decoder: Transform): Bytes {
  const feeding = (async () => {
    try {
      for await (const chunk of source) {
        if (decoder.destroyed) return
        if (!decoder.write(Buffer.from(chunk))) await drained(decoder)
      }
      decoder.end()
    } catch (error) {
      decoder.destroy(error instanceof Error ? error : new Error(String(error)))
    }
  })()
  try {
    const readable: Readable = decoder
    yield* readable
  } finally {
    decoder.destroy()
    await feeding
  }
}

function drained(decoder: Readable): Promise<void> {
  return new Promise((resolve) => {
    decoder.once('drain', resolve)
    decoder.once('close', resolve)
  })
}

/** @throws Invalid for what expands beyond all measure; NoCapacity when the staging area fills up */
async function* limitExpansion(environment: Environment, source: Bytes, packedBytes: number): Bytes {
  const { maxExpansionRatio, maxOutputBytes } = environment.imports.decompression
  const cap = environment.settings.imageSizeCapBytes
  const limit = Math.min(
    cap,
    maxOutputBytes === 0 ? cap : maxOutputBytes,
    packedBytes * maxExpansionRatio + graceBytes,
  )
  const free = await environment.staging.freeBytes()
  let total = 0
  for await (const chunk of source) {
    total += chunk.byteLength
    if (total > limit) throw new Invalid('The compressed image expands to more than is allowed.')
    if (total > free) throw new NoCapacity('The staging area has no room for the decompressed image.')
    yield chunk
  }
}

/** A decoder's own errors say that the data is damaged. */
async function* named(source: Bytes, packing: Packing): Bytes {
  try {
    yield* source
  } catch (error) {
    if (error instanceof StorageError || !(error instanceof Error && 'code' in error)) throw error
    throw new Invalid(`The image is not well-formed ${packing} data: ${messageOf(error)}.`, { cause: error })
  }
}
