import type { RequestListener } from 'node:http'
import type { Readable } from 'node:stream'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import { type ErrorBody, errorCodes } from '../../schemas/error.ts'
import { type ApiVersion, apiVersions, versions } from '../../versions.ts'
import {
  ApiError,
  errorCode,
  invalidSession,
  messageOf,
  methodNotAllowed,
  notPermitted,
  unknownRoute,
} from '../errors.ts'
import { NoCopyError } from '../replicas/replicated-volume.ts'
import { apiVersionsDocument } from '../resources/login.ts'
import type { Privilege, Sessions, SessionUser } from '../sessions.ts'
import { NoSpaceError } from '../store/errors.ts'
import { renderAnswer } from './answer.ts'
import { decodeBody, isPlainObject, type RawBody, validateBody } from './body.ts'
import type { Answer, ApiRequest, Route } from './route.ts'

/** One line per request, for `verbose`. */
export interface RequestRecord {
  readonly method: string
  readonly url: string
  readonly status: number
  readonly elapsedMs: number
  /** The `Datera-Driver` header: who calls. */
  readonly driver: string
  readonly tenant: string
  readonly message?: string
}

export interface RestOptions {
  readonly routes: readonly Route[]
  readonly sessions: Sessions
  /** Canonical path of the tenant a header means; throws 404 or 403. */
  resolveTenant(header: string, user: SessionUser): string
  onRequest?(record: RequestRecord): void
  /** A request was carried out. */
  onDone?(route: Route, request: ApiRequest, answer: Answer): void
  /** An error that is the node's own fault. */
  onFailure(error: unknown, request: string): void
}

/** What a request carries from hook to handler. */
interface RequestState {
  readonly startedAt: number
  readonly version: ApiVersion
  readonly path: string
  readonly tenant: string
  readonly user: SessionUser
  readonly sessionKey: string
}

const nobody: SessionUser = { userId: '', tenants: [], roles: [], privileges: new Set() }
const maximumBodyBytes = 1024 * 1024
const operations: Readonly<Record<string, string>> = {
  GET: 'read',
  POST: 'create',
  PUT: 'update',
  DELETE: 'delete',
}

/** The REST interface: all versions at once, over one table of routes. */
export class RestServer {
  readonly #options: RestOptions
  readonly #app: FastifyInstance
  readonly #states = new WeakMap<object, RequestState>()
  #requests = 0

  constructor(options: RestOptions) {
    this.#options = options
    this.#app = Fastify({
      logger: false,
      bodyLimit: maximumBodyBytes,
      exposeHeadRoutes: false,
      routerOptions: {
        ignoreDuplicateSlashes: true,
        ignoreTrailingSlash: true,
        maxParamLength: 1024,
        querystringParser: (text) => Object.fromEntries(new URLSearchParams(text)),
      },
      frameworkErrors: (error, request, reply) => this.#refuse(error, request, reply),
    })
    // Clients send bodies with GET as well; they have to be read off the connection, whatever they hold.
    this.#app.addHttpMethod('GET', { hasBody: true, overrideExisting: true })
    this.#app.addHttpMethod('DELETE', { hasBody: true, overrideExisting: true })
    this.#parseBodies()
    this.#app.setErrorHandler((error, request, reply) => this.#refuse(error, request, reply))
    this.#app.setNotFoundHandler((request, reply) => this.#refuseRoute(request, reply))
    this.#app.get('/api_versions', (_request, reply) => reply.send(apiVersionsDocument()))
    for (const route of options.routes) this.#addRoute(route)
  }

  /** What serves requests, for the listener. */
  async handler(): Promise<RequestListener> {
    await this.#app.ready()
    return (request, response) => this.#app.routing(request, response)
  }

  async close(): Promise<void> {
    await this.#app.close()
  }

  #parseBodies(): void {
    this.#app.removeAllContentTypeParsers()
    this.#app.addContentTypeParser('multipart/form-data', (_request, payload, done) => done(null, payload))
    this.#app.addContentTypeParser<Buffer>('*', { parseAs: 'buffer' }, (request, bytes, done) => {
      const mediaType = (request.headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? ''
      const body: RawBody = { bytes, mediaType }
      done(null, body)
    })
  }

  #addRoute(route: Route): void {
    const since = route.since === undefined ? 0 : apiVersions.indexOf(route.since)
    this.#app.route({
      method: route.method,
      url: `/:version${route.path}`,
      onRequest: async (request) => {
        this.#states.set(request, this.#admit(request, route))
      },
      handler: async (request, reply) => {
        const state = this.#stateOf(request)
        if (apiVersions.indexOf(state.version) < since) throw unknownRoute(state.path)
        const apiRequest = this.#apiRequest(request, state)
        const answer = await route.handle(apiRequest)
        this.#options.onDone?.(route, apiRequest, answer)
        const elapsedMs = Math.round(performance.now() - state.startedAt)
        this.#report(request, 200, state)
        return reply.send(
          renderAnswer(answer, { ...state, traits: versions[state.version] }, elapsedMs) ?? {},
        )
      },
    })
  }

  /** First the key, then the tenant, then the rights. */
  #admit(request: FastifyRequest, route: Route): RequestState {
    const startedAt = performance.now()
    const { version, path } = splitVersion(request.url)
    if (version === undefined) throw unknownRoute(path)
    if (route.open) return { startedAt, version, path, tenant: '/root', user: nobody, sessionKey: '' }
    const sessionKey = headerOf(request, 'auth-token')
    const user = this.#options.sessions.use(sessionKey)
    if (user === undefined) throw invalidSession()
    const header = versions[version].tenants ? headerOf(request, 'tenant') : ''
    const tenant = this.#options.resolveTenant(header, user)
    const privilege: Privilege = route.privilege ?? (route.method === 'GET' ? 'read' : 'write')
    if (!user.privileges.has(privilege)) {
      throw notPermitted(`The user ${user.userId} has no role that allows to ${privilege} ${path}`)
    }
    return { startedAt, version, path, tenant, user, sessionKey }
  }

  #apiRequest(request: FastifyRequest, state: RequestState): ApiRequest {
    // Both are objects of strings: the router's parameters, and what our own parser made of the query.
    const parameters = request.params as Record<string, string>
    const query = request.query as Record<string, string>
    const { body } = request
    const raw = isRawBody(body) ? body : undefined
    return {
      ...state,
      id: ++this.#requests,
      traits: versions[state.version],
      method: request.method,
      query,
      driver: headerOf(request, 'datera-driver'),
      upload: isReadable(body) ? body : undefined,
      contentType: headerOf(request, 'content-type'),
      param: (name) => parameters[name] ?? '',
      body: (schema) => validateBody(schema, decodeBody(raw)),
      rawBody: () => decodeBody(raw),
      get force() {
        if (query['force'] === 'true') return true
        const value = decodeBody(raw)
        return isPlainObject(value) && (value['force'] === true || value['force'] === 'true')
      },
    }
  }

  #stateOf(request: FastifyRequest): RequestState {
    const state = this.#states.get(request)
    if (state === undefined) throw new Error('a handler ran before the request was admitted')
    return state
  }

  async #refuseRoute(request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
    const { version, path } = splitVersion(request.url)
    if (this.#options.sessions.use(headerOf(request, 'auth-token')) === undefined && version !== undefined) {
      const probe = path === '/'
      const { name, message } = invalidSession()
      const code = probe ? errorCodes.versionProbe : errorCodes.authentication
      return this.#refuse(new ApiError(name, 401, code, message), request, reply)
    }
    const otherMethod = this.#options.routes.some((route) => patternOf(route.path).test(path))
    return this.#refuse(
      otherMethod && version !== undefined ? methodNotAllowed(request.method, path) : unknownRoute(path),
      request,
      reply,
    )
  }

  #refuse(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
    const refusal = toApiError(error)
    const { version, path } = splitVersion(request.url)
    const state = this.#states.get(request)
    if (refusal.http >= 500 && refusal.http !== 503)
      this.#options.onFailure(error, `${request.method} ${path}`)
    const body: ErrorBody = {
      name: refusal.name,
      code: refusal.code,
      http: refusal.http,
      message: refusal.message,
      debug: '',
      ts: new Date().toISOString(),
      version: version === undefined ? '' : `v${version}`,
      op: operations[request.method] ?? '',
      tenant: state?.tenant ?? '',
      path,
      params: {},
      connInfo: {},
      client_id: '',
      client_type: '',
      tenancy_class: '',
      errors: [...refusal.errors],
      schema: '',
    }
    this.#report(request, refusal.http, state, refusal.message)
    return reply.code(refusal.http).type('application/json').send(JSON.stringify(body))
  }

  #report(request: FastifyRequest, status: number, state: RequestState | undefined, message?: string): void {
    this.#options.onRequest?.({
      method: request.method,
      url: request.url,
      status,
      elapsedMs: state === undefined ? 0 : performance.now() - state.startedAt,
      driver: headerOf(request, 'datera-driver'),
      tenant: state?.tenant ?? '',
      ...(message !== undefined && { message }),
    })
  }
}

const sqliteFull = 13

/** Whether a data directory, or the one of the metadata, has no room. */
function isFull(error: unknown): boolean {
  if (error instanceof NoSpaceError || errorCode(error) === 'ENOSPC') return true
  return error instanceof Error && 'errcode' in error && error.errcode === sqliteFull
}

const noSpaceMessage = 'There is not enough space left on the system'

function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error
  if (isFull(error)) {
    return new ApiError('InvalidRequestError', 400, errorCodes.invalidRequest, noSpaceMessage, [], error)
  }
  if (error instanceof NoCopyError) {
    return new ApiError('NotConnectedError', 503, errorCodes.notConnected, error.message, [], error)
  }
  const status =
    typeof error === 'object' && error !== null && 'statusCode' in error ? Number(error.statusCode) : 500
  if (status >= 400 && status < 500) {
    return new ApiError('InvalidRequestError', status, errorCodes.invalidRequest, messageOf(error), [], error)
  }
  return new ApiError(
    'InternalError',
    500,
    errorCodes.internal,
    `The node failed: ${messageOf(error)}`,
    [],
    error,
  )
}

/** `/v2.2/app_instances/x?y` → `2.2`, `/app_instances/x`. */
function splitVersion(url: string): { version: ApiVersion | undefined; path: string } {
  const path = url.split('?', 1)[0]?.replace(/\/{2,}/g, '/') ?? '/'
  const [, prefix = '', rest = ''] = /^\/v([\d.]+)(\/.*)?$/.exec(path) ?? []
  const version = apiVersions.find((known) => known === prefix)
  if (version === undefined) return { version, path }
  const trimmed = rest.replace(/\/$/, '')
  return { version, path: trimmed === '' ? '/' : decodeQuietly(trimmed) }
}

function decodeQuietly(path: string): string {
  try {
    return decodeURIComponent(path)
  } catch {
    return path
  }
}

function headerOf(request: FastifyRequest, name: string): string {
  const value = request.headers[name]
  return (Array.isArray(value) ? value[0] : value) ?? ''
}

/** Whether a path is one of a route's, whatever the method. */
function patternOf(template: string): RegExp {
  const escaped = template.replace(/[.+?^${}()|[\]\\]/g, '\\$&')
  return new RegExp(`^${escaped.replace(/:\w+/g, '[^/]+').replace(/\*/g, '.+')}$`)
}

function isRawBody(value: unknown): value is RawBody {
  return typeof value === 'object' && value !== null && 'bytes' in value && 'mediaType' in value
}

function isReadable(value: unknown): value is Readable {
  return typeof value === 'object' && value !== null && 'pipe' in value
}
