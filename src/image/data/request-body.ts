import type { Readable } from 'node:stream'
import { type Bytes, chunkBytes, giveBack, takeChunk } from '../../kernel/bytes.ts'
import { Invalid } from '../../kernel/errors.ts'

// Not an ES import of `node:http`: see `kernel/http/status-codes.ts`.
const { IncomingMessage } = process.getBuiltinModule('node:http')

/** Whole chunks that wait here for a consumer that is busy, before the client is told to wait. */
const chunksAhead = 2

/** The client hung up, or said nothing for too long, in the middle of its data. */
export class ClientGone extends Invalid {
  constructor(message: string, cause?: unknown) {
    super(message, { cause })
  }
}

/**
 * The body of a request as it arrives, not faster than it is pulled, in chunks of 1 MiB: what a socket delivers,
 * 64 KiB at most, would cost each stage of the data's way too much. Only the last chunk may be shorter. Each is the
 * consumer's own. Leaving the loop keeps the connection, so that an answer can be sent. The body flows: a stream that
 * is read chunk by chunk stops and starts its socket for each of them.
 * @param stallMs how long the client may say nothing while it is waited for; 0 waits for ever
 * @throws ClientGone when the connection breaks, or the client stalls
 */
export async function* bodyOf(body: Readable & { readonly complete?: boolean }, stallMs: number): Bytes {
  const gathered = new Gathered()
  const isOurs = body instanceof IncomingMessage // what came from a socket is in nobody else's hands
  let end: { readonly error?: unknown } | undefined
  let wake: (() => void) | undefined
  let stalled = false
  const onSilence = () => {
    if (wake === undefined) return // it is us who are slow
    stalled = true
    body.destroy(new Error('the client stalled'))
  }
  const silence = stallMs === 0 ? undefined : setTimeout(onSilence, stallMs)
  const onData = (piece: Uint8Array) => {
    gathered.push(piece)
    if (isOurs) giveBack(piece)
    if (gathered.wholeChunks === 0) {
      silence?.refresh()
      return
    }
    if (gathered.wholeChunks >= chunksAhead) body.pause()
    wake?.()
  }
  const onEnd = () => {
    end ??= {}
    wake?.()
  }
  const onError = (error: unknown) => {
    end ??= { error }
    wake?.()
  }
  const onClose = () => onError(new Error('the body was closed'))
  body.on('data', onData).on('end', onEnd).on('error', onError).on('close', onClose)
  if (body.readableEnded) onEnd()
  else if (body.destroyed) onClose()
  try {
    while (end?.error === undefined) {
      const chunk = gathered.shift() ?? (end === undefined ? undefined : gathered.rest())
      if (chunk !== undefined) {
        yield chunk
        continue
      }
      if (end !== undefined) break
      if (body.isPaused()) body.resume()
      silence?.refresh()
      await new Promise<void>((resolve) => {
        wake = resolve
      })
      wake = undefined
    }
  } finally {
    clearTimeout(silence)
    body.pause()
    body.off('data', onData).off('end', onEnd).off('error', onError).off('close', onClose)
  }
  if (stalled) throw new ClientGone('The client sent nothing for too long.', end?.error)
  // a request that is cut off ends without an error when its length was not announced
  if (end?.error !== undefined || body.complete === false) {
    throw new ClientGone('The connection was closed before all data had arrived.', end?.error)
  }
}

/** Joins what arrives in small pieces. */
class Gathered {
  readonly #whole: Uint8Array[] = []
  #filling: Uint8Array | undefined
  #filled = 0

  get wholeChunks(): number {
    return this.#whole.length
  }

  /** Copies the bytes. */
  push(piece: Uint8Array): void {
    for (let taken = 0; taken < piece.byteLength; ) {
      this.#filling ??= takeChunk()
      const part = piece.subarray(taken, taken + chunkBytes - this.#filled)
      this.#filling.set(part, this.#filled)
      this.#filled += part.byteLength
      taken += part.byteLength
      if (this.#filled < chunkBytes) continue
      this.#whole.push(this.#filling)
      this.#filling = undefined
      this.#filled = 0
    }
  }

  /** The next whole chunk. */
  shift(): Uint8Array | undefined {
    return this.#whole.shift()
  }

  /** What does not fill a chunk, in memory of its own size. */
  rest(): Uint8Array | undefined {
    const filling = this.#filling
    if (filling === undefined) return undefined
    const rest = filling.slice(0, this.#filled)
    giveBack(filling)
    this.#filling = undefined
    this.#filled = 0
    return rest
  }
}
