import { setImmediate as nextTurn } from 'node:timers/promises'
import type { BlockDevice, Cancel, Extent } from './block-device.ts'
import { writeSparse, type ZeroOptions, zeroRange } from './zeroes.ts'

/** How `copyDevice` copies. */
export interface CopyOptions extends ZeroOptions {
  /** Bytes to copy, from the start of both devices. Default: the whole source. */
  readonly sizeBytes?: number
  /** Bytes of one transfer, a multiple of both block sizes. Default 1 MiB. */
  readonly chunkBytes?: number
  /** Transfers under way at a time; each holds one buffer of `chunkBytes`. Default 8. */
  readonly depth?: number
  /** Called after each transfer. Skipped bytes count as done. */
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void
}

/** What `copyDevice` has done. The two together are what was to be copied. */
export interface Copied {
  /** Bytes sent as data. */
  readonly copiedBytes: number
  /** Bytes that were zeroes and were not sent as data. */
  readonly skippedBytes: number
}

/** Source maps are asked for at most this many bytes of the source at a time. */
const firstWindowBytes = 64 * 1024 * 1024
const maxWindowBytes = 16 * 1024 * 1024 * 1024
/** Above this many extents in one answer the window shrinks. */
const manyExtents = 4096
/** Devices that answer at once would keep the event loop for themselves; so often it gets a turn, in ms. */
const turnMs = 8

interface Piece {
  readonly offset: number
  readonly length: number
  readonly zero: boolean
}

/**
 * Copies one device onto another, several transfers at a time, asking the source what it knows to be zeroes.
 * The target is flushed at the end. On failure the first error is thrown once everything under way has ended;
 * the target then holds an unknown part of the data.
 * @throws RangeError when the target is smaller than what is to be copied; what the devices throw; the signal's reason
 */
export async function copyDevice(
  source: BlockDevice,
  target: BlockDevice,
  options: CopyOptions,
  cancel: Cancel,
): Promise<Copied> {
  const { sizeBytes = source.sizeBytes, chunkBytes = 1024 * 1024, depth = 8 } = options
  const granule = Math.max(source.blockSize, target.blockSize)
  if (sizeBytes > source.sizeBytes || sizeBytes > target.sizeBytes || sizeBytes % source.blockSize !== 0) {
    const devices = `from a device of ${source.sizeBytes} to one of ${target.sizeBytes} bytes`
    throw new RangeError(`${sizeBytes} bytes cannot be copied ${devices}`)
  }
  if (chunkBytes % granule !== 0 || depth < 1) {
    throw new RangeError(`chunks of ${chunkBytes} bytes at depth ${depth} do not fit the devices`)
  }
  const failed = new AbortController()
  const inner: Cancel = { signal: AbortSignal.any([cancel.signal, failed.signal]) }
  const pieces = piecesOf(source, sizeBytes, chunkBytes, granule, options.skipZeroes, inner)
  let skippedBytes = 0
  let doneBytes = 0
  let lastTurn = performance.now()

  async function lane(): Promise<void> {
    let buffer: Uint8Array | undefined
    for (;;) {
      inner.signal.throwIfAborted()
      const { value: piece, done } = await pieces.next()
      if (done) return
      if (piece.zero) {
        skippedBytes += piece.length
        if (options.targetIsZeroed !== true) {
          await zeroRange(target, piece.offset, roundUp(piece.length, target.blockSize), inner)
        }
      } else {
        buffer ??= Buffer.allocUnsafeSlow(chunkBytes)
        const whole = buffer.subarray(0, roundUp(piece.length, target.blockSize))
        const reading = source.read(piece.offset, whole.subarray(0, piece.length), inner)
        if (reading !== undefined) await reading
        whole.fill(0, piece.length)
        const onSkipped = (bytes: number) => {
          skippedBytes += bytes
        }
        const writing = writeSparse(target, piece.offset, whole, options, onSkipped, inner)
        if (writing !== undefined) await writing
      }
      doneBytes += piece.length
      options.onProgress?.(doneBytes, sizeBytes)
      if (performance.now() - lastTurn > turnMs) {
        await nextTurn()
        lastTurn = performance.now()
      }
    }
  }

  let failure: { readonly error: unknown } | undefined
  const lanes = Array.from({ length: depth }, () =>
    lane().catch((error: unknown) => {
      failure ??= { error }
      failed.abort(error)
    }),
  )
  await Promise.all(lanes)
  if (failure !== undefined) throw failure.error
  await target.flush(cancel)
  // The padding behind a tail that does not fill the target's last block may have been counted as skipped.
  skippedBytes = Math.min(skippedBytes, sizeBytes)
  return { copiedBytes: sizeBytes - skippedBytes, skippedBytes }
}

/**
 * What has to be copied, in order, on boundaries of `granule`: data cut at multiples of `chunkBytes`, and
 * stretches that are known to be zeroes.
 */
async function* piecesOf(
  source: BlockDevice,
  sizeBytes: number,
  chunkBytes: number,
  granule: number,
  useMap: boolean,
  cancel: Cancel,
): AsyncGenerator<Piece, void, undefined> {
  if (!useMap || source.extents === undefined) {
    yield* cut({ offset: 0, length: sizeBytes, zero: false }, chunkBytes)
    return
  }
  let windowBytes = Math.max(firstWindowBytes, chunkBytes)
  for (let at = 0; at < sizeBytes; ) {
    const length = Math.min(windowBytes, sizeBytes - at)
    const extents = await source.extents(at, length, cancel)
    for (const piece of alignedPieces(extents, at, at + length, granule)) yield* cut(piece, chunkBytes)
    at += length
    if (extents.length > manyExtents) windowBytes = Math.max(windowBytes / 2, chunkBytes)
    else if (extents.length === 1) windowBytes = Math.min(windowBytes * 2, maxWindowBytes)
  }
}

/** Widens data to boundaries of `granule` and narrows the zeroes between. */
function alignedPieces(extents: readonly Extent[], start: number, end: number, granule: number): Piece[] {
  const pieces: Piece[] = []
  let covered = start
  const add = (to: number, zero: boolean) => {
    if (to > covered) pieces.push({ offset: covered, length: to - covered, zero })
    covered = Math.max(covered, to)
  }
  for (const extent of extents) {
    if (extent.state !== 'data') continue
    add(extent.offset - (extent.offset % granule), true)
    add(Math.min(end, roundUp(extent.offset + extent.length, granule)), false)
  }
  add(end, true)
  return pieces
}

function* cut(piece: Piece, chunkBytes: number): Generator<Piece> {
  if (piece.zero) {
    yield piece
    return
  }
  const end = piece.offset + piece.length
  for (let at = piece.offset; at < end; ) {
    const length = Math.min(end, at - (at % chunkBytes) + chunkBytes) - at
    yield { offset: at, length, zero: false }
    at += length
  }
}

function roundUp(bytes: number, multiple: number): number {
  return Math.ceil(bytes / multiple) * multiple
}
