import type { Readable } from 'node:stream'
import type { Bytes } from '../../kernel/bytes.ts'
import { Invalid } from '../../kernel/errors.ts'

/** The client hung up, or said nothing for too long, in the middle of its data. */
export class ClientGone extends Invalid {
  constructor(message: string, cause?: unknown) {
    super(message, { cause })
  }
}

/**
 * The body of a request as it arrives. Leaving the loop keeps the connection, so that an answer can be sent.
 * @param stallMs how long the client may say nothing; 0 waits for ever
 * @throws ClientGone when the connection breaks, or the client stalls
 */
export async function* bodyOf(body: Readable & { readonly complete?: boolean }, stallMs: number): Bytes {
  let lastMs = performance.now()
  let stalled = false
  const watch =
    stallMs === 0
      ? undefined
      : setInterval(
          () => {
            if (performance.now() - lastMs < stallMs) return
            stalled = true
            body.destroy(new Error('the client stalled'))
          },
          Math.min(stallMs, 5_000),
        ).unref()
  try {
    const chunks: AsyncIterable<Uint8Array> = body.iterator({ destroyOnReturn: false })
    for await (const chunk of chunks) {
      yield chunk
      lastMs = performance.now()
    }
    // a request that is cut off ends without an error when its length was not announced
    if (body.complete === false)
      throw new ClientGone('The connection was closed before all data had arrived.')
  } catch (error) {
    if (error instanceof ClientGone) throw error
    if (stalled) throw new ClientGone('The client sent nothing for too long.', error)
    throw new ClientGone('The connection was closed before all data had arrived.', error)
  } finally {
    clearInterval(watch)
  }
}
