import type { ServerResponse } from 'node:http'
import type { Bytes } from '../../kernel/bytes.ts'
import { messageOf } from '../../kernel/errors.ts'
import type { ImageRequest } from '../environment.ts'

/**
 * Sends bytes as the body of an answer that has begun. Each chunk has left for the socket before the next one is
 * pulled, so that the source may fill the same memory again. An error can only be told by cutting the connection:
 * the client sees that the length is wrong.
 * @param stallMs how long the client may take no byte before it is cut off; 0 waits for ever
 */
export async function sendBytes(
  response: ServerResponse,
  bytes: Bytes,
  request: ImageRequest,
  stallMs: number,
): Promise<void> {
  try {
    for await (const chunk of bytes) {
      request.signal.throwIfAborted()
      await written(response, chunk, request.signal, stallMs)
    }
    response.end()
  } catch (error) {
    response.destroy()
    if (request.signal.aborted) return // nobody is left to be told
    request.log.error(
      { requestId: request.requestId, error: messageOf(error) },
      'image data broke off in the middle of a download',
    )
  }
}

/** Resolves when the memory of the chunk is free again; rejects when the client has gone, or stalls. */
function written(
  response: ServerResponse,
  chunk: Uint8Array,
  signal: AbortSignal,
  stallMs: number,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined
    const settled = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', abort)
    }
    const abort = () => {
      settled()
      reject(signal.reason)
    }
    signal.addEventListener('abort', abort, { once: true })
    const flowing = response.write(chunk, (error) => {
      settled()
      if (error) reject(error)
      else resolve()
    })
    if (flowing || stallMs === 0) return
    timer = setTimeout(() => {
      settled()
      reject(new Error('the client took nothing for too long'))
    }, stallMs)
  })
}
