import { randomUUID } from 'node:crypto'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { AjvCompiler } from '@fastify/ajv-compiler'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifySchemaCompiler,
  fastify,
  LogController,
} from 'fastify'
import type { Logger } from '../log.ts'

/** One OpenStack API: a Fastify instance whose schemas are TypeBox. */
export type ApiServer = FastifyInstance<
  Server,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>

/** Bytes of a JSON body; upstream's `[oslo_middleware] max_request_body_size`. Data routes stream past it. */
const defaultBodyLimit = 114_688

/** A client's own request id that we take over, as oslo.middleware does. */
const requestIdPattern = /^req-[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/

/**
 * Makes the server that all three APIs are built on: request ids, logs, trailing slashes and HEAD as upstream.
 * What an error looks like is the API's own (`setErrorHandler` in its `faults.ts`).
 */
export function createApiServer(options: { log: Logger; bodyLimit?: number }): ApiServer {
  const app = fastify({
    loggerInstance: options.log as FastifyBaseLogger,
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'requestId' }),
    bodyLimit: options.bodyLimit ?? defaultBodyLimit,
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: 1_024 },
    exposeHeadRoutes: false,
    forceCloseConnections: 'idle',
    requestTimeout: 0, // an upload may take hours; stalls are bounded where bodies are read
    keepAliveTimeout: 75_000,
    genReqId: (request) => {
      const given = request.headers['x-openstack-request-id']
      return typeof given === 'string' && requestIdPattern.test(given) ? given : `req-${randomUUID()}`
    },
  }).withTypeProvider<TypeBoxTypeProvider>()
  app.setValidatorCompiler(compilerOnDemand())

  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-openstack-request-id', request.id)
  })
  app.addHook('onResponse', async (request, reply) => {
    request.log.info(
      {
        method: request.method,
        url: request.url,
        status: reply.statusCode,
        milliseconds: Math.round(reply.elapsedTime),
      },
      'request',
    )
  })
  return app
}

/** Fastify's own validator, which compiles a schema when the first request needs it rather than at every start. */
function compilerOnDemand(): FastifySchemaCompiler<unknown> {
  const compile = AjvCompiler()(
    {},
    { customOptions: { coerceTypes: false, removeAdditional: false, useDefaults: true, allErrors: false } },
  )
  return (route) => {
    let compiled: ReturnType<typeof compile> | undefined
    const validate = (data: unknown) => {
      compiled ??= compile(route)
      const isValid = compiled(data) === true // never a promise: no schema of ours is asynchronous
      validate.errors = compiled.errors ?? null
      return isValid
    }
    validate.errors = null as NonNullable<ReturnType<typeof compile>['errors']> | null
    return validate
  }
}
