import { existsSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { MiB } from '../kernel/bytes.ts'
import { Invalid, NotFound, Unauthenticated } from '../kernel/errors.ts'
import { type ApiServer, createApiServer } from '../kernel/http/api-server.ts'
import { clientSignal } from '../kernel/http/client-signal.ts'
import type { TokenValidator } from '../kernel/http/request-context.ts'
import { cacheRoutes } from './cache/routes.ts'
import { dataRoutes } from './data/routes.ts'
import type { Environment, ImageRequest } from './environment.ts'
import { HttpFault, sendFault } from './faults.ts'
import { imageRoutes } from './images/routes.ts'
import { importRoutes } from './import/routes.ts'
import { infoRoutes } from './info/routes.ts'
import { locationRoutes } from './locations/routes.ts'
import { memberRoutes } from './members/routes.ts'
import { metadefRoutes } from './metadefs/routes.ts'
import { schemaRoutes } from './schemas/routes.ts'
import { tagRoutes } from './tags/routes.ts'
import { taskRoutes } from './tasks/routes.ts'
import { isAcceptedVersion, sendVersions, type VersionFacts } from './versions.ts'

/** Bytes of a JSON body; upstream's default is 112 KiB, a long list of tags may need more. */
const maxJsonBytes = 1 * MiB

/** Registers routes under `/v2`; `requestOf` says who asks. */
export interface ApiScope {
  readonly app: ApiServer
  readonly environment: Environment
  requestOf(request: FastifyRequest): ImageRequest
}

/** The Image API v2. @see image-api specification section 1 */
export function createImageApi(environment: Environment, tokens: TokenValidator): ApiServer {
  const { settings, stores, log } = environment
  const app = createApiServer({ log })
  const facts: VersionFacts = {
    multiStore: stores.multiStore,
    publicEndpoint: settings.publicEndpoint,
    parsesProxyHeaders: settings.parsesProxyHeaders,
    hasCache: environment.cache !== undefined,
  }
  const faultFacts = { keystoneUri: settings.keystoneUri }

  // Bodies are read by us: the type of JSON does not matter here, and image data must stay a stream.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', async (request: FastifyRequest, payload: IncomingMessage) =>
    isDataRoute(request) ? payload : await readJson(payload),
  )
  app.setErrorHandler((error, request, reply) => sendFault(error, request, reply, faultFacts))
  app.addHook('onRequest', async (request, reply) => {
    if (rerouted(app, request, reply, facts)) reply.hijack()
  })

  app.get('/', (request, reply) => sendVersions(request, reply, 300, facts))
  app.get('/versions', (request, reply) => sendVersions(request, reply, 200, facts))
  app.route({
    method: ['GET', 'HEAD'],
    url: '/healthcheck',
    handler: async (_request, reply) => {
      const { disabledByFile } = settings
      const isDisabled = disabledByFile !== undefined && existsSync(disabledByFile)
      reply.code(isDisabled ? 503 : 200).type('text/plain; charset=UTF-8')
      return reply.send(isDisabled ? 'DISABLED BY FILE' : 'OK')
    },
  })
  app.setNotFoundHandler((request, reply) => sendVersions(request, reply, 300, facts))

  app.register(
    async (versioned) => {
      const scope = versioned as unknown as ApiServer // the same server, with hooks of its own
      const requests = new WeakMap<FastifyRequest, ImageRequest>()
      scope.addHook('onRequest', async (request, reply) => {
        const path = request.url.split('?', 1)[0] ?? ''
        requests.set(request, await authenticated(environment, tokens, request, reply))
        if (path.length > 4 && path.endsWith('/')) throw new NotFound('The resource could not be found.')
        if (request.method === 'GET' && hasBody(request)) throw new Invalid('A GET request takes no body.')
      })
      scope.setNotFoundHandler(() => {
        throw new NotFound('The resource could not be found.')
      })
      const methods = collectMethods(scope)
      const requestOf = (request: FastifyRequest): ImageRequest => {
        const found = requests.get(request)
        if (found === undefined)
          throw new Unauthenticated('The request you have made requires authentication.')
        return found
      }
      const api: ApiScope = { app: scope, environment, requestOf }
      imageRoutes(api)
      dataRoutes(api)
      importRoutes(api)
      locationRoutes(api)
      memberRoutes(api)
      tagRoutes(api)
      taskRoutes(api)
      infoRoutes(api)
      cacheRoutes(api)
      schemaRoutes(api)
      metadefRoutes(api)
      refuseOtherMethods(scope, methods)
    },
    { prefix: '/v2' },
  )
  return app
}

/** Routes whose bodies are image data say so. */
function isDataRoute(request: FastifyRequest): boolean {
  const config: object = request.routeOptions.config
  return 'imageData' in config
}

async function readJson(payload: AsyncIterable<Uint8Array>): Promise<unknown> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of payload) {
    length += chunk.byteLength
    if (length > maxJsonBytes) throw new HttpFault(413, 'The body of the request is too large.')
    chunks.push(chunk)
  }
  if (length === 0) return undefined
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks)))
  } catch (error) {
    throw new Invalid('Malformed JSON in request body.', { cause: error })
  }
}

function hasBody(request: FastifyRequest): boolean {
  const length = request.headers['content-length']
  return request.headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0')
}

/** @throws Unauthenticated without a token that is valid */
async function authenticated(
  environment: Environment,
  tokens: TokenValidator,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<ImageRequest> {
  const token = request.headers['x-auth-token']
  if (typeof token !== 'string' || token === '') {
    throw new Unauthenticated('The request you have made requires authentication.')
  }
  const signal = clientSignal(reply)
  const identity = await tokens.validate(token, signal)
  return {
    requestId: request.id,
    identity,
    isAdmin: environment.policy.allows('context_is_admin', identity),
    token,
    signal,
    log: environment.log,
  }
}

const otherMethods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'] as const

/** Remembers which methods each path has. */
function collectMethods(scope: ApiServer): Map<string, Set<string>> {
  const methods = new Map<string, Set<string>>()
  scope.addHook('onRoute', (route) => {
    const known = methods.get(route.routePath) ?? new Set<string>()
    for (const method of [route.method].flat()) known.add(method)
    methods.set(route.routePath, known)
  })
  return methods
}

/** A known path with another method is 405, and says what is allowed. */
function refuseOtherMethods(scope: ApiServer, methods: ReadonlyMap<string, ReadonlySet<string>>): void {
  for (const [url, known] of [...methods]) {
    const allow = [...known].sort().join(', ')
    scope.route({
      url,
      method: otherMethods.filter((method) => !known.has(method)),
      config: { imageData: true }, // no body is read
      handler: () => {
        throw new HttpFault(405, 'The method is not allowed for this resource.', { allow })
      },
    })
  }
}

/**
 * Minor versions are labels: `/v2.9/images`, or a version in `Accept`, is `/v2/images`. Unknown ones fall through
 * to the list of versions.
 * @returns true when the request goes round again
 */
function rerouted(
  app: ApiServer,
  request: FastifyRequest,
  reply: FastifyReply,
  facts: VersionFacts,
): boolean {
  const url = request.raw.url ?? '/'
  const accepted = /^application\/vnd\.openstack\.images-(.*)$/.exec(request.headers.accept ?? '')?.[1]
  const segment = /^\/(v\d[^/?]*)(?=[/?]|$)/.exec(url)?.[1]
  if (accepted !== undefined && segment !== 'v2' && isAcceptedVersion(accepted, facts)) {
    request.raw.url = `/v2${url}`
  } else if (segment !== undefined && segment !== 'v2' && isAcceptedVersion(segment, facts)) {
    request.raw.url = `/v2${url.slice(segment.length + 1)}`
  } else {
    return false
  }
  app.routing(request.raw, reply.raw)
  return true
}
