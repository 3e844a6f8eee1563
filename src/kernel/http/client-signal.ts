import type { FastifyReply } from 'fastify'

const signals = new WeakMap<object, AbortSignal>()

/**
 * Aborted when the client goes away before it has its answer. Fastify's `request.signal` is not this: it is
 * aborted as soon as the request's body has been read.
 */
export function clientSignal(reply: FastifyReply): AbortSignal {
  const response = reply.raw
  const known = signals.get(response)
  if (known !== undefined) return known
  const gone = new AbortController()
  response.once('close', () => {
    if (!response.writableFinished) gone.abort(new Error('the client has closed the connection'))
  })
  signals.set(response, gone.signal)
  return gone.signal
}
