import type { FastifyRequest } from 'fastify'
import type { ApiServer } from '../kernel/http/api-server.ts'
import { baseUrl } from './links.ts'
import type { IdentitySettings } from './settings.ts'

/** The routes that need no token: which versions there are. @see keystone/version/service.py */
export function versionRoutes(app: ApiServer, settings: IdentitySettings): void {
  const version = (request: FastifyRequest) => ({
    id: 'v3.14',
    status: 'stable',
    updated: '2020-04-07T00:00:00Z',
    links: [{ rel: 'self', href: `${baseUrl(request, settings)}/v3/` }],
    'media-types': [{ base: 'application/json', type: 'application/vnd.openstack.identity-v3+json' }],
  })
  app.route({
    method: ['GET', 'HEAD'],
    url: '/',
    handler: async (request, reply) => {
      reply.code(300)
      return { versions: { values: [version(request)] } }
    },
  })
  app.route({
    method: ['GET', 'HEAD'],
    url: '/v3',
    handler: async (request) => ({ version: version(request) }),
  })
}
