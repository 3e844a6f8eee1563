import { type Bytes, exactBytes, GiB, MiB, regrouped, watchBytes } from '../kernel/bytes.ts'
import type { Call } from '../kernel/call.ts'
import { messageOf, NoCapacity, NotFound } from '../kernel/errors.ts'
import type { S3Client } from './client.ts'

/** Limits of S3. @see Amazon S3 user guide, Multipart upload limits */
export const leastPartBytes = 5 * MiB
const mostPartBytes = 5 * GiB
const mostParts = 10_000
/** Where the length is unknown, parts double after so many: the last of them are still in reach of 10 TiB. */
const partsBeforeDoubling = 1_000
/** How long removing a half-written object may take, in milliseconds. */
const cleanUpMs = 60_000

export interface S3Stream {
  readonly bucket: string
  readonly key: string
  /** When it is known: another length is refused with Invalid. */
  readonly sizeBytes: number | undefined
  /** Least bytes of a part, 5 MiB or more. Up to one part of unknown length is kept in memory. */
  readonly partBytes: number
  /** Known lengths below this go in one request. */
  readonly largeBytes: number
  /** Parts that are sent at once; each is in memory. */
  readonly parallel: number
}

/** Bytes of part number `index`, counted from 0. */
export function partLength(sizeBytes: number | undefined, partBytes: number, index: number): number {
  const least = Math.max(partBytes, leastPartBytes)
  const length =
    sizeBytes === undefined
      ? least * 2 ** Math.floor(index / partsBeforeDoubling)
      : Math.max(least, Math.ceil(sizeBytes / mostParts))
  return Math.min(length, mostPartBytes)
}

/**
 * Keeps a stream, in parts unless it is small. When it fails, nothing is left.
 * @returns bytes written, and the ETag of what was kept in one request
 * @throws what the source throws; Invalid for another length than was said; NoCapacity beyond what S3 can keep
 */
export async function putStream(
  client: S3Client,
  stream: S3Stream,
  data: Bytes,
  call: Call,
): Promise<{ sizeBytes: number; etag: string | undefined }> {
  const { bucket, key, sizeBytes } = stream
  const source = watchBytes(sizeBytes === undefined ? data : exactBytes(data, sizeBytes))
  const isSmall = sizeBytes !== undefined && sizeBytes < stream.largeBytes
  const parts = isSmall
    ? regrouped(source.bytes, Math.max(1, sizeBytes))
    : growingParts(source.bytes, (index) => partLength(sizeBytes, stream.partBytes, index))
  const iterator = parts[Symbol.asyncIterator]()
  try {
    const first = await iterator.next()
    const second = first.done === true || isSmall ? first : await iterator.next()
    if (first.done === true || isSmall || second.done === true) {
      if (isSmall) await iterator.next() // the source may still have more than was said
      const body = first.done === true ? new Uint8Array(0) : first.value
      return { sizeBytes: body.byteLength, etag: await client.putObject(bucket, key, body, call) }
    }
    const begun = [first.value, second.value]
    return { sizeBytes: await putParts(client, stream, begun, iterator, call), etag: undefined }
  } finally {
    await iterator.return?.()
  }
}

async function putParts(
  client: S3Client,
  { bucket, key, parallel }: S3Stream,
  begun: readonly Uint8Array[],
  more: AsyncIterator<Uint8Array>,
  call: Call,
): Promise<number> {
  const uploadId = await client.run(
    `begin ${bucket}/${key}`,
    call,
    async (library, { CreateMultipartUploadCommand }, cancel) => {
      const input = { Bucket: bucket, Key: key, ...client.customerKey }
      return (await library.send(new CreateMultipartUploadCommand(input), cancel)).UploadId
    },
  )
  const upload = { Bucket: bucket, Key: key, UploadId: uploadId }
  const etags: string[] = []
  const sending = new Set<Promise<void>>()
  const failed = new AbortController()
  const partCall = { ...call, signal: AbortSignal.any([call.signal, failed.signal]) }
  let sizeBytes = 0

  const send = async (index: number, body: Uint8Array): Promise<void> => {
    const input = { ...upload, PartNumber: index + 1, Body: body, ...client.customerKey }
    const { ETag: etag } = await client.run(
      `keep part ${index + 1} of ${bucket}/${key}`,
      partCall,
      (library, { UploadPartCommand }, cancel) => library.send(new UploadPartCommand(input), cancel),
    )
    etags[index] = etag ?? ''
  }

  try {
    const waiting = [...begun]
    for (let index = 0; ; index += 1) {
      const body = waiting.shift() ?? (await nextPart(more))
      failed.signal.throwIfAborted()
      if (body === undefined) break
      if (index >= mostParts) throw new NoCapacity(`The image needs more than ${mostParts} parts in S3.`)
      sizeBytes += body.byteLength
      const one = send(index, body)
        .catch((error: unknown) => failed.abort(error))
        .finally(() => sending.delete(one))
      sending.add(one)
      if (sending.size >= parallel) await Promise.race(sending)
    }
    await Promise.all(sending)
    failed.signal.throwIfAborted()
    const input = {
      ...upload,
      MultipartUpload: { Parts: etags.map((ETag, index) => ({ ETag, PartNumber: index + 1 })) },
      ...client.customerKey,
    }
    await client.run(`finish ${bucket}/${key}`, call, (library, { CompleteMultipartUploadCommand }, cancel) =>
      library.send(new CompleteMultipartUploadCommand(input), cancel),
    )
    return sizeBytes
  } catch (error) {
    failed.abort(error)
    await Promise.all(sending)
    await abortUpload(client, upload, call)
    throw error
  }
}

async function nextPart(more: AsyncIterator<Uint8Array>): Promise<Uint8Array | undefined> {
  const { done, value } = await more.next()
  return done === true ? undefined : value
}

async function abortUpload(
  client: S3Client,
  upload: { Bucket: string; Key: string; UploadId: string | undefined },
  call: Call,
): Promise<void> {
  const cleaning: Call = { signal: AbortSignal.timeout(cleanUpMs), log: call.log }
  try {
    await client.run('abort an upload', cleaning, (library, { AbortMultipartUploadCommand }, cancel) =>
      library.send(new AbortMultipartUploadCommand(upload), cancel),
    )
  } catch (error) {
    if (error instanceof NotFound) return
    call.log.error({ key: upload.Key, error: messageOf(error) }, 'parts of a failed upload stay in S3')
  }
}

/** Parts of the lengths wanted, each in memory of its own; the last is shorter. */
async function* growingParts(source: Bytes, lengthOf: (index: number) => number): Bytes {
  let index = 0
  let part = Buffer.allocUnsafeSlow(lengthOf(index))
  let filled = 0
  for await (const chunk of source) {
    for (let taken = 0; taken < chunk.byteLength; ) {
      const piece = chunk.subarray(taken, taken + part.byteLength - filled)
      part.set(piece, filled)
      filled += piece.byteLength
      taken += piece.byteLength
      if (filled < part.byteLength) continue
      yield part
      index += 1
      part = Buffer.allocUnsafeSlow(lengthOf(index))
      filled = 0
    }
  }
  if (filled > 0) yield part.subarray(0, filled)
}

/**
 * Aborts uploads in parts that nobody finished, where their key is chosen.
 * @returns how many
 */
export async function abortUploads(
  client: S3Client,
  bucket: string,
  chosen: (key: string, begunAt: Date) => Promise<boolean>,
  call: Call,
): Promise<number> {
  let aborted = 0
  for (let marker: { KeyMarker?: string; UploadIdMarker?: string } = {}; ; ) {
    const input = { Bucket: bucket, ...marker }
    const page = await client.run(
      `list uploads of ${bucket}`,
      call,
      (library, { ListMultipartUploadsCommand }, cancel) =>
        library.send(new ListMultipartUploadsCommand(input), cancel),
    )
    for (const { Key: key, UploadId: uploadId, Initiated: begunAt } of page.Uploads ?? []) {
      if (key === undefined || !(await chosen(key, begunAt ?? new Date(0)))) continue
      await abortUpload(client, { Bucket: bucket, Key: key, UploadId: uploadId }, call)
      aborted += 1
    }
    if (page.IsTruncated !== true || page.NextKeyMarker === undefined) return aborted
    marker = {
      KeyMarker: page.NextKeyMarker,
      ...(page.NextUploadIdMarker === undefined ? {} : { UploadIdMarker: page.NextUploadIdMarker }),
    }
  }
}
