import type { FastifyError, FastifyRequest } from 'fastify'
import {
  BackendError,
  Conflict,
  Forbidden,
  Invalid,
  NotFound,
  OverQuota,
  StorageError,
  Unauthenticated,
  Unsupported,
} from '../kernel/errors.ts'
import type { ApiServer } from '../kernel/http/api-server.ts'
import { STATUS_CODES } from '../kernel/http/status-codes.ts'
import { baseUrl } from './links.ts'
import type { IdentitySettings } from './settings.ts'

/** Says nothing of what was wrong, as Keystone does outside of its `insecure_debug` mode. */
export const requiresAuthentication = 'The request you have made requires authentication.'
const notAuthorized = 'You are not authorized to perform the requested action'
const unexpected =
  'An unexpected error prevented the server from fulfilling your request. Details are in its log.'

const unavailable = 'The service is temporarily unavailable. Please try again.'

/** How a fault looks on this API: `{"error": {"code", "message", "title"}}`. */
export function installFaults(app: ApiServer, settings: IdentitySettings): void {
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const [status, message] = faultOf(error)
    if (status >= 500) request.log.error({ err: error }, 'request failed')
    if (status === 401) {
      reply.header('www-authenticate', `Keystone uri="${baseUrl(request, settings)}/v3"`)
    }
    return reply.code(status).send(body(status, message))
  })
  app.setNotFoundHandler((request: FastifyRequest, reply) => {
    void request
    return reply.code(404).send(body(404, 'The resource could not be found.'))
  })
}

/** For an action that the caller's roles do not allow; `identity:create_user`. */
export function forbiddenAction(action: string): Forbidden {
  return new Forbidden(`${notAuthorized}: ${action}.`, { details: { action } })
}

/** @param kind `user`, `project`… as in the sentence "Could not find user: …." */
export function couldNotFind(kind: string, id: string): NotFound {
  return new NotFound(`Could not find ${kind}: ${id}.`, { details: { kind, id } })
}

/** @param kind `user`, `project`… that exists already */
export function duplicate(kind: string, name: string, where = ''): Conflict {
  return new Conflict(
    `Conflict occurred attempting to store ${kind} - Duplicate entry found with name ${name}${where}.`,
    { details: { kind, name } },
  )
}

function body(status: number, message: string) {
  return { error: { code: status, message, title: STATUS_CODES[status] ?? 'Error' } }
}

function faultOf(error: FastifyError | StorageError): readonly [status: number, message: string] {
  if (error instanceof NotFound) return [404, error.message]
  if (error instanceof Conflict) return [409, error.message]
  if (error instanceof Invalid) return [400, error.message]
  if (error instanceof Unauthenticated) return [401, error.message]
  if (error instanceof Forbidden || error instanceof OverQuota) return [403, error.message]
  if (error instanceof Unsupported) return [501, error.message]
  if (error instanceof BackendError && error.retryAfterMs !== undefined) return [503, unavailable]
  if (error instanceof StorageError) return [500, unexpected]
  const problem = error.validation?.[0]
  if (problem !== undefined) {
    const where = problem.instancePath.split('/').slice(2).join('.')
    const extra = problem.params['additionalProperty']
    const about = where === '' ? '' : ` for '${where}'`
    return [
      400,
      `Invalid input${about}: ${problem.message}${extra === undefined ? '' : ` ('${String(extra)}')`}.`,
    ]
  }
  const status = error.statusCode ?? 500
  return status < 500 ? [status, error.message] : [500, unexpected]
}
