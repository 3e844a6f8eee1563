import { randomBytes } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { type Bytes, counted, exactBytes } from '../kernel/bytes.ts'
import type { Call } from '../kernel/call.ts'
import { BackendError, Conflict, messageOf, NotFound, StorageError } from '../kernel/errors.ts'
import type { SwiftClient } from './client.ts'
import { segments } from './segments.ts'

/** How long removing a half-written object may take, in milliseconds. */
const cleanUpMs = 60_000
/** Deletions that are under way at once. */
const deletionsAtOnce = 8
/** Tries of one segment that lies on the disk. */
const spooledTries = 3

export interface LargeObject {
  readonly container: string
  readonly name: string
  /** Bytes of one segment; the last is shorter. */
  readonly segmentBytes: number
  /** When it is known: another length is refused with Invalid. */
  readonly sizeBytes?: number | undefined
  /** Of a dynamic one the manifest names a prefix, of a static one each segment. */
  readonly manifest: 'dynamic' | 'static'
  /** Keeps each segment there until Swift has it, so that it can be sent again. */
  readonly spoolDirectory?: string | undefined
}

/**
 * Keeps a stream of whatever length as segments `<name>-00001`… and a manifest called `<name>`. When it fails,
 * the segments that were written are deleted.
 * @returns bytes written
 * @throws what the source throws
 */
export async function putLargeObject(
  client: SwiftClient,
  object: LargeObject,
  data: Bytes,
  call: Call,
): Promise<number> {
  const { container, name, manifest } = object
  const source = object.sizeBytes === undefined ? data : exactBytes(data, object.sizeBytes)
  const written: { path: string; etag: string; size_bytes: number }[] = []
  let sizeBytes = 0
  try {
    for await (const segment of segments(source, object.segmentBytes)) {
      call.signal.throwIfAborted()
      const segmentName = `${name}-${String(written.length + 1).padStart(5, '0')}`
      const entry = { path: `/${container}/${segmentName}`, etag: '', size_bytes: 0 }
      written.push(entry) // before it is there: a failed request may have kept it
      const counting = counted(segment, (bytes) => {
        entry.size_bytes += bytes
      })
      entry.etag = await putSegment(client, object, segmentName, counting, call)
      sizeBytes += entry.size_bytes
    }
    if (manifest === 'static' && written.length > 0) {
      const body = Buffer.from(JSON.stringify(written))
      await client.putObject(container, name, body, { query: { 'multipart-manifest': 'put' } }, call)
    } else {
      const prefix = encodeURIComponent(`${name}-`)
      const headers = written.length === 0 ? {} : { 'x-object-manifest': `${container}/${prefix}` }
      await client.putObject(container, name, new Uint8Array(0), { headers }, call)
    }
    return sizeBytes
  } catch (error) {
    const names = written.map((_, index) => `${name}-${String(index + 1).padStart(5, '0')}`)
    const cleaning: Call = { signal: AbortSignal.timeout(cleanUpMs), log: call.log }
    try {
      await deleteAll(client, container, names, cleaning)
    } catch (second) {
      call.log.error({ container, name, error: messageOf(second) }, 'segments of a failed object stay')
    }
    throw error
  }
}

async function putSegment(
  client: SwiftClient,
  { container, spoolDirectory }: LargeObject,
  name: string,
  data: Bytes,
  call: Call,
): Promise<string> {
  if (spoolDirectory === undefined) return await client.putObject(container, name, data, {}, call)
  const path = join(spoolDirectory, `.${randomBytes(8).toString('hex')}.segment`)
  try {
    await pipeline(data, createWriteStream(path, { mode: 0o600, flags: 'wx' }), { signal: call.signal })
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await client.putObject(container, name, createReadStream(path), {}, call)
      } catch (error) {
        call.signal.throwIfAborted()
        const mayPass = error instanceof BackendError && error.retryAfterMs !== undefined
        if (!mayPass || attempt >= spooledTries) throw error
        call.log.warn({ container, name, error: messageOf(error) }, 'the segment is sent again')
      }
    }
  } finally {
    await rm(path, { force: true })
  }
}

/**
 * Deletes an object with the segments that belong to it. Already gone: fine.
 * @throws Conflict when a dynamic manifest names segments that are not its own
 */
export async function deleteLargeObject(
  client: SwiftClient,
  container: string,
  name: string,
  call: Call,
): Promise<void> {
  let headers: Readonly<Record<string, string>>
  try {
    headers = (await client.headObject(container, name, call)).headers
  } catch (error) {
    if (error instanceof NotFound) return
    throw error
  }
  if (headers['x-static-large-object']?.toLowerCase() === 'true') {
    await client.deleteObject(container, name, call, { 'multipart-manifest': 'delete' })
    return
  }
  const manifest = headers['x-object-manifest']
  if (manifest !== undefined) {
    const slash = manifest.indexOf('/')
    const segmentContainer = decodeURIComponent(manifest.slice(0, slash))
    const prefix = decodeURIComponent(manifest.slice(slash + 1))
    if (slash <= 0 || prefix === '') {
      throw new Conflict(`The manifest of ${container}/${name} names no segments: '${manifest}'.`)
    }
    const names: string[] = []
    for await (const entry of client.list(segmentContainer, prefix, call)) names.push(entry.name)
    await deleteAll(client, segmentContainer, names, call)
  }
  await client.deleteObject(container, name, call)
}

async function deleteAll(
  client: SwiftClient,
  container: string,
  names: readonly string[],
  call: Call,
): Promise<void> {
  const waiting = names.values()
  const failures: unknown[] = []
  const work = async () => {
    for (const name of waiting) {
      await client.deleteObject(container, name, call).catch((error: unknown) => failures.push(error))
    }
  }
  await Promise.all(Array.from({ length: deletionsAtOnce }, work))
  const [failure] = failures
  if (failure instanceof StorageError) throw failure
  if (failure !== undefined) throw call.signal.reason ?? failure
}
