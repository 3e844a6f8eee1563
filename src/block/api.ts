import { existsSync } from 'node:fs'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Forbidden, Invalid, NotFound, Unauthenticated } from '../kernel/errors.ts'
import { type ApiServer, createApiServer } from '../kernel/http/api-server.ts'
import { clientSignal } from '../kernel/http/client-signal.ts'
import type { Identity, TokenValidator } from '../kernel/http/request-context.ts'
import type { Logger } from '../kernel/log.ts'
import { allowOrigins } from './cors.ts'
import { sendFault, UnsupportedMediaType } from './faults.ts'
import { Links, linkPrefix } from './links.ts'
import { latestMinor, requestedMinor } from './microversion.ts'
import type { Answer, BlockRequest, Operation } from './operation.ts'
import { type BlockPolicy, callerOf } from './policy.ts'
import type { BlockSettings } from './settings.ts'

/** A URL segment that is a project: what upstream's `project_id_regex` matches by default. */
const projectSegment = '/:url_project_id(^[0-9a-f-]+$)'

interface Authenticated {
  identity: Identity
  token: string
  minor: number
}

/**
 * Makes the Block Storage API: mounts the operations with and without a project in the URL, checks tokens and
 * microversions, and answers failures as upstream does.
 */
export function createBlockApi(options: {
  log: Logger
  tokens: TokenValidator
  settings: BlockSettings
  policy: BlockPolicy
  operations: readonly Operation[]
}): ApiServer {
  const { settings, tokens, policy } = options
  const app = createApiServer({ log: options.log, bodyLimit: settings.maxRequestBodyBytes })
  const authenticated = new WeakMap<FastifyRequest, Authenticated>()

  readJson(app)
  allowOrigins(app, settings.cors)
  app.setErrorHandler(sendFault)
  app.setNotFoundHandler((request, reply) =>
    sendFault(new NotFound('The resource could not be found.'), request, reply),
  )
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-compute-request-id', request.id)
  })

  const prefixOf = (request: FastifyRequest) => linkPrefix(request, settings)
  app.get('/', async (request, reply) => sendJson(reply, 300, versionsDocument(prefixOf(request))))
  app.get('/v3', async (request, reply) => sendJson(reply, 200, versionsDocument(prefixOf(request))))
  app.route({
    method: ['GET', 'HEAD'],
    url: '/healthcheck',
    handler: async (request, reply) => {
      const { disableByFilePath } = settings
      const disabled = disableByFilePath !== undefined && existsSync(disableByFilePath)
      if (disabled) return reply.code(503).type('text/plain').send('DISABLED BY FILE')
      if (request.method === 'HEAD') return reply.code(204).send()
      return reply.type('text/plain').send('OK')
    },
  })

  async function authenticate(
    request: FastifyRequest,
    reply: FastifyReply,
  ): Promise<FastifyReply | undefined> {
    const token = request.headers['x-auth-token']
    if (typeof token !== 'string' || token === '') {
      return refuseUnauthenticated(request, reply)
    }
    let identity: Identity
    try {
      identity = await tokens.validate(token, clientSignal(reply))
    } catch (error) {
      if (!(error instanceof Unauthenticated)) throw error
      return refuseUnauthenticated(request, reply)
    }
    const varying = reply.getHeader('vary')
    reply.header(
      'vary',
      varying === undefined ? 'OpenStack-API-Version' : `OpenStack-API-Version, ${varying}`,
    )
    const header = request.headers['openstack-api-version']
    const minor = requestedMinor(Array.isArray(header) ? header.join(',') : header)
    reply.header('openstack-api-version', `volume 3.${minor}`)
    const { url_project_id: urlProject } = request.params as { url_project_id?: string } // our own pattern
    if (urlProject !== undefined && urlProject !== identity.projectId) {
      throw new Invalid('Malformed request url')
    }
    authenticated.set(request, { identity, token, minor })
    return undefined
  }

  function refuseUnauthenticated(request: FastifyRequest, reply: FastifyReply): FastifyReply {
    const uri = settings.wwwAuthenticateUri || `${prefixOf(request).replace(/:\d+$/, '')}:5000`
    const message = 'The request you have made requires authentication.'
    reply.header('www-authenticate', `Keystone uri="${uri}"`)
    return sendJson(reply, 401, { error: { code: 401, title: 'Unauthorized', message } })
  }

  async function serve(operation: Operation, request: FastifyRequest, reply: FastifyReply) {
    const known = authenticated.get(request)
    if (known === undefined) throw new Error('an operation ran without authentication')
    // the router takes a collection's URL with a slash at its end, upstream does not
    if (request.url.split('?', 1)[0]?.endsWith('/')) throw new NotFound('The resource could not be found.')
    const { identity, token, minor } = known
    if (minor < (operation.since ?? 0)) throw new NotFound('The resource could not be found.')
    const { projectId } = identity
    if (projectId === undefined) {
      throw new Forbidden('The token is not scoped to a project, which this request needs.')
    }
    const { url_project_id: urlProject, ...params } = request.params as Record<string, string> // from the URL
    const blockRequest: BlockRequest = {
      requestId: request.id,
      identity: callerOf(identity, policy),
      projectId,
      isAdmin: policy.isAdmin(identity),
      token,
      minor,
      params,
      query: queryOf(request),
      body: request.body,
      headers: request.headers,
      links: new Links(prefixOf(request), urlProject),
      signal: clientSignal(reply),
      log: options.log,
    }
    return send(reply, await operation.run(blockRequest))
  }

  for (const prefix of ['/v3', `/v3${projectSegment}`]) {
    for (const operation of options.operations) {
      app.route({
        method: operation.method,
        url: `${prefix}${operation.path}`,
        onRequest: authenticate,
        handler: (request, reply) => serve(operation, request, reply),
      })
    }
  }
  return app
}

/** Both JSON media types; a body without a type is ignored, any other type is refused. */
function readJson(app: ApiServer): void {
  app.removeAllContentTypeParsers()
  const types = ['application/json', 'application/vnd.openstack.volume+json']
  app.addContentTypeParser(types, { parseAs: 'string' }, (_request, body, done) => {
    if (body === '') {
      done(null, undefined)
      return
    }
    try {
      done(null, JSON.parse(body.toString()))
    } catch {
      done(new Invalid('Malformed request body'), undefined)
    }
  })
  app.addContentTypeParser('*', { parseAs: 'string' }, (request, body, done) => {
    const type = request.headers['content-type']
    if (type === undefined || body === '') done(null, undefined)
    else done(new UnsupportedMediaType(`Unsupported Content-Type: ${type}`), undefined)
  })
}

function queryOf(request: FastifyRequest): URLSearchParams {
  const { url } = request
  const mark = url.indexOf('?')
  const query = new URLSearchParams(mark < 0 ? '' : url.slice(mark + 1))
  for (const name of query.keys()) {
    if (/[^\x20-\x7e]/.test(name)) throw new Invalid(`Non-ASCII query parameter ${name}.`)
  }
  return query
}

function send(reply: FastifyReply, answer: Answer): FastifyReply {
  for (const [name, value] of Object.entries(answer.headers ?? {})) reply.header(name, value)
  if (answer.body === undefined) return reply.code(answer.status).header('content-length', 0).send()
  return sendJson(reply, answer.status, answer.body)
}

function sendJson(reply: FastifyReply, status: number, body: object | string): FastifyReply {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return reply.code(status).header('content-type', 'application/json').send(text)
}

/** @see block-storage-api specification 1.1 */
function versionsDocument(prefix: string): object {
  return {
    versions: [
      {
        id: 'v3.0',
        status: 'CURRENT',
        version: `3.${latestMinor}`,
        min_version: '3.0',
        updated: '2023-08-31T00:00:00Z',
        links: [
          { rel: 'describedby', type: 'text/html', href: 'https://docs.openstack.org/' },
          { rel: 'self', href: `${prefix}/v3/` },
        ],
        'media-types': [
          { base: 'application/json', type: 'application/vnd.openstack.volume+json;version=3' },
        ],
      },
    ],
  }
}
