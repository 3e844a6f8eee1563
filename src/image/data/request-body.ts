import type { Readable } from 'node:stream'
import type { Bytes } from '../../kernel/bytes.ts'
import { Invalid } from '../../kernel/errors.ts'

// Not an ES import of `node:http`: see `kernel/http/status-codes.ts`.
const { IncomingMessage } = process.getBuiltinModule('node:http')

/** Bytes that wait here for a consumer that is busy, before the client is told to wait. */
const aheadBytes = 1024 * 1024

/** The client hung up, or said nothing for too long, in the middle of its data. */
export class ClientGone extends Invalid {
  constructor(message: string, cause?: unknown) {
    super(message, { cause })
  }
}

/**
 * The body of a request as it arrives, not faster than it is pulled. Each chunk is the consumer's own, who may give
 * its memory back. Leaving the loop keeps the connection, so that an answer can be sent. The body flows: a stream
 * that is read chunk by chunk stops and starts its socket for each of them.
 * @param stallMs how long the client may say nothing while it is waited for; 0 waits for ever
 * @throws ClientGone when the connection breaks, or the client stalls
 */
export async function* bodyOf(body: Readable & { readonly complete?: boolean }, stallMs: number): Bytes {
  const isOurs = body instanceof IncomingMessage // what came from a socket is in nobody else's hands
  const arrived: Uint8Array[] = []
  let arrivedBytes = 0
  let end: { readonly error?: unknown } | undefined
  let wake: (() => void) | undefined
  let stalled = false
  const onData = (chunk: Uint8Array) => {
    arrived.push(isOurs ? chunk : new Uint8Array(chunk))
    arrivedBytes += chunk.byteLength
    if (arrivedBytes >= aheadBytes) body.pause()
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
  const onSilence = () => {
    if (wake === undefined) return // it is us who are slow
    stalled = true
    body.destroy(new Error('the client stalled'))
  }
  const silence = stallMs === 0 ? undefined : setTimeout(onSilence, stallMs)
  body.on('data', onData).on('end', onEnd).on('error', onError).on('close', onClose)
  if (body.readableEnded) onEnd()
  else if (body.destroyed) onClose()
  try {
    while (end?.error === undefined) {
      const chunk = arrived.shift()
      if (chunk !== undefined) {
        arrivedBytes -= chunk.byteLength
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
