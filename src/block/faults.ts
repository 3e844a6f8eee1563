import type { FastifyReply, FastifyRequest } from 'fastify'
import {
  Conflict,
  Forbidden,
  Invalid,
  messageOf,
  NoCapacity,
  NotFound,
  OverQuota,
  StorageError,
  Unauthenticated,
  Unsupported,
} from '../kernel/errors.ts'
import { InvalidState, ServiceUnavailable } from './errors.ts'

/** The microversion is well formed but not served here. */
export class VersionOutOfRange extends Error {}

/** The body is in a format that this API does not read. */
export class UnsupportedMediaType extends Error {}

/** A precondition header (`If-Match`) does not hold; answered without a body. */
export class PreconditionFailed extends Error {}

const keys: Readonly<Record<number, string>> = {
  400: 'badRequest',
  401: 'unauthorized',
  403: 'forbidden',
  404: 'itemNotFound',
  405: 'badMethod',
  409: 'conflictingRequest',
  413: 'overLimit',
  415: 'badMediaType',
  501: 'notImplemented',
  503: 'serviceUnavailable',
}

const serverFault = 'The server has either erred or is incapable of performing the requested operation.'

/** How a failure looks on this API. @see block-storage-api specification 1.5; cinder/api/openstack/wsgi.py */
export interface Fault {
  readonly status: number
  readonly message: string
}

export function faultOf(error: unknown): Fault {
  const message = messageOf(error)
  if (error instanceof InvalidState || error instanceof Invalid) return { status: 400, message }
  if (error instanceof NotFound) return { status: 404, message }
  if (error instanceof Forbidden) return { status: 403, message }
  if (error instanceof ServiceUnavailable) return { status: 503, message }
  if (error instanceof Conflict) return { status: 409, message }
  if (error instanceof OverQuota) return { status: 413, message }
  if (error instanceof Unauthenticated) return { status: 401, message }
  if (error instanceof Unsupported || error instanceof NoCapacity) return { status: 400, message }
  if (error instanceof VersionOutOfRange) return { status: 406, message }
  if (error instanceof UnsupportedMediaType) return { status: 415, message }
  if (error instanceof PreconditionFailed) return { status: 412, message }
  const status = statusOfFastifyError(error)
  if (status !== undefined) return { status, message }
  return { status: 500, message: serverFault }
}

/** Fastify's own refusals (body too large, bad URL) carry a status below 500. */
function statusOfFastifyError(error: unknown): number | undefined {
  if (error instanceof StorageError || !(error instanceof Error) || !('statusCode' in error)) return undefined
  const { statusCode } = error
  return typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500 ? statusCode : undefined
}

/** The body of a fault: one object, whose key depends on the status. */
export function faultBody({ status, message }: Fault): Record<string, unknown> {
  const key = keys[status] ?? 'computeFault'
  return { [key]: { code: status, message, ...(status === 413 ? { retryAfter: '0' } : {}) } }
}

/** Answers a failed request; set as the server's error handler. */
export function sendFault(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const fault = faultOf(error)
  if (fault.status >= 500) request.log.error({ err: error, requestId: request.id }, 'request failed')
  if (fault.status === 413) reply.header('retry-after', '0')
  if (fault.status === 412) return reply.code(412).send()
  return reply
    .code(fault.status)
    .header('content-type', 'application/json')
    .send(JSON.stringify(faultBody(fault)))
}
