import type { FastifyReply, FastifyRequest } from 'fastify'
import {
  BackendError,
  Conflict,
  Forbidden,
  Invalid,
  Misconfigured,
  NoCapacity,
  NotFound,
  OverQuota,
  StorageError,
  Unauthenticated,
  Unsupported,
} from '../kernel/errors.ts'
import { STATUS_CODES } from '../kernel/http/status-codes.ts'

/** A failure that only HTTP knows: a wrong media type, a method that is not allowed, a range. */
export class HttpFault extends Error {
  readonly statusCode: number
  readonly headers: Readonly<Record<string, string>>

  constructor(statusCode: number, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(message)
    this.name = 'HttpFault'
    this.statusCode = statusCode
    this.headers = headers
  }
}

/** An image that was there when the request began: 410 rather than 404. */
export function gone(message: string): NotFound {
  return new NotFound(message, { details: { gone: true } })
}

function statusOf(error: StorageError): number {
  if (error instanceof NotFound) return error.details['gone'] === true ? 410 : 404
  if (error instanceof Conflict) return 409
  if (error instanceof Invalid) return 400
  if (error instanceof Unauthenticated) return 401
  if (error instanceof Forbidden) return 403
  if (error instanceof OverQuota || error instanceof NoCapacity) return 413
  if (error instanceof Unsupported) return 415
  if (error instanceof Misconfigured) return 500
  if (error instanceof BackendError) {
    return error.retryAfterMs !== undefined || error.details['reason'] === 'denied' ? 503 : 500
  }
  return 500
}

/** What an error looks like to the client. Internal ones are logged, and not shown. */
export function sendFault(
  error: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
  facts: { keystoneUri: string | undefined },
): FastifyReply {
  let status = 500
  let explanation = 'The server has either erred or is incapable of performing the requested operation.'
  if (error instanceof HttpFault) {
    status = error.statusCode
    explanation = error.message
    reply.headers(error.headers)
  } else if (error instanceof StorageError) {
    status = statusOf(error)
    if (status !== 500) explanation = error.message
    if (status === 401) {
      reply.header('www-authenticate', `Keystone uri="${facts.keystoneUri ?? ''}"`)
    }
  } else if (isClientError(error)) {
    status = error.statusCode
    explanation = error.message
  }
  if (status >= 500) {
    request.log.error(
      { err: error, requestId: request.id, method: request.method, url: request.url },
      'request failed',
    )
  }
  return sendError(request, reply, status, explanation)
}

/** Fastify's own errors (a body that is too long, a header that cannot be read) carry a status. */
function isClientError(error: unknown): error is Error & { statusCode: number } {
  return (
    error instanceof Error &&
    'statusCode' in error &&
    typeof error.statusCode === 'number' &&
    error.statusCode >= 400 &&
    error.statusCode < 500
  )
}

/**
 * Writes the body in the form that the caller accepts: HTML, JSON or plain text.
 * @see image-api specification 1.6: the Python client relies on HTML for a plain wildcard
 */
function sendError(
  request: FastifyRequest,
  reply: FastifyReply,
  status: number,
  explanation: string,
): FastifyReply {
  const title = STATUS_CODES[status] ?? 'Error'
  const code = `${status} ${title}`
  reply.code(status)
  switch (preferredForm(request.headers.accept)) {
    case 'html':
      return reply
        .type('text/html; charset=UTF-8')
        .send(
          `<html>\n <head>\n  <title>${code}</title>\n </head>\n <body>\n  <h1>${code}</h1>\n  ${escapeHtml(explanation)}<br /><br />\n\n\n\n </body>\n</html>`,
        )
    case 'json':
      return reply
        .type('application/json; charset=UTF-8')
        .send(JSON.stringify({ message: `${explanation}<br /><br />\n\n\n`, code, title }))
    default:
      return reply.type('text/plain; charset=UTF-8').send(`${code}\n\n${explanation}\n\n`)
  }
}

/** Ordinary quality negotiation between the two types; a tie goes to HTML. */
function preferredForm(accept: string | undefined): 'html' | 'json' | 'text' {
  if (accept === undefined || accept.trim() === '') return 'text'
  const ranges = accept.split(',').map((part) => {
    const [type = '', ...parameters] = part.split(';').map((item) => item.trim().toLowerCase())
    const quality = parameters.find((parameter) => parameter.startsWith('q='))?.slice(2)
    return { type, quality: quality === undefined ? 1 : Number(quality) || 0 }
  })
  const qualityOf = (type: string) => {
    const [main = ''] = type.split('/')
    for (const wanted of [type, `${main}/*`, '*/*']) {
      const range = ranges.find((candidate) => candidate.type === wanted)
      if (range !== undefined) return range.quality
    }
    return 0
  }
  const html = qualityOf('text/html')
  const json = qualityOf('application/json')
  if (html > 0 && html >= json) return 'html'
  return json > 0 ? 'json' : 'text'
}

function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
}
