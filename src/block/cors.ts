import type { ApiServer } from '../kernel/http/api-server.ts'
import type { CorsSettings } from './settings.ts'

/**
 * Lets pages of the allowed origins use the API from a browser: headers on every answer, and an answer to preflight
 * requests. Without allowed origins nothing changes.
 * @see https://docs.openstack.org/oslo.middleware/latest/reference/cors.html
 */
export function allowOrigins(app: ApiServer, settings: CorsSettings): void {
  if (settings.allowedOrigin.length === 0) return
  app.addHook('onRequest', async (request, reply) => {
    const { origin } = request.headers
    if (origin === undefined) return undefined
    reply.header('vary', 'Origin')
    if (!settings.allowedOrigin.includes(origin) && !settings.allowedOrigin.includes('*')) return undefined
    reply.header('access-control-allow-origin', origin)
    if (settings.allowCredentials) reply.header('access-control-allow-credentials', 'true')
    const method = request.headers['access-control-request-method']
    if (request.method !== 'OPTIONS' || method === undefined) {
      reply.header('access-control-expose-headers', settings.exposeHeaders.join(','))
      return undefined
    }
    reply.header('access-control-max-age', String(settings.maxAgeSeconds))
    reply.header('access-control-allow-methods', settings.allowMethods.join(','))
    reply.header('access-control-allow-headers', settings.allowHeaders.join(','))
    return reply.code(200).header('content-length', 0).send()
  })
}
