import type { FastifyRequest } from 'fastify'
import { NotFound } from '../../kernel/errors.ts'
import type { ApiServer } from '../../kernel/http/api-server.ts'
import { domainIdsOf, effectiveRoles, projectsOf } from '../assignments/effective.ts'
import { catalogFor } from '../catalog/view.ts'
import type { IdentityContext } from '../context.ts'
import { domainView } from '../domains/view.ts'
import { baseUrl, collection, flag } from '../links.ts'
import { authorize, callerOf } from '../policy.ts'
import { projectView } from '../projects/view.ts'
import type { TokenDetails } from './details.ts'
import { issueToken } from './issue.ts'
import { deleteToken } from './queries.ts'
import { IssueToken } from './schemas.ts'
import { validateToken } from './validate.ts'
import { tokenView } from './view.ts'

/** `POST /v3/auth/tokens`: the one route that anybody may use to become somebody. */
export function issueRoute(app: ApiServer, context: IdentityContext): void {
  app.post('/v3/auth/tokens', { schema: { body: IssueToken } }, async (request, reply) => {
    const { token, details } = await issueToken(context, request.body)
    request.log.info({ userId: details.user.id, methods: details.methods }, 'token issued')
    reply.code(201).header('x-subject-token', token).header('vary', 'X-Auth-Token')
    return tokenView(details, flag(request, 'nocatalog') ? undefined : await catalogFor(context.db, details))
  })
}

/** The routes of `/v3/auth` that need a token. */
export function authRoutes(app: ApiServer, context: IdentityContext): void {
  const { db, settings } = context

  async function subject(request: FastifyRequest): Promise<{ token: string; details: TokenDetails }> {
    const token = request.headers['x-subject-token']
    const details = typeof token === 'string' ? await validateToken(context, token) : undefined
    if (typeof token !== 'string' || details === undefined) throw new NotFound('Failed to validate token')
    return { token, details }
  }

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v3/auth/tokens',
    handler: async (request, reply) => {
      // who may not ask about others' tokens learns nothing about whether they exist
      const caller = callerOf(request)
      const { token, details } = await subject(request).catch((error: unknown) => {
        authorize(request, 'identity:validate_token', { read: true, roles: ['service'] })
        throw error
      })
      authorize(request, 'identity:validate_token', {
        read: true,
        roles: ['service'],
        ownerId: details.user.id === caller.user.id ? caller.user.id : undefined,
      })
      reply.header('x-subject-token', token).header('vary', 'X-Auth-Token')
      return tokenView(details, flag(request, 'nocatalog') ? undefined : await catalogFor(db, details))
    },
  })

  app.delete('/v3/auth/tokens', async (request, reply) => {
    const { details } = await subject(request)
    authorize(request, 'identity:revoke_token', { ownerId: details.user.id })
    await deleteToken(db, details.digest)
    context.cache.clear()
    return reply.code(204).send()
  })

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v3/auth/catalog',
    handler: async (request) => ({
      catalog: await catalogFor(db, callerOf(request)),
      links: { self: `${baseUrl(request, settings)}/v3/auth/catalog` },
    }),
  })

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v3/auth/projects',
    handler: async (request) => {
      const projects = await projectsOf(db, callerOf(request).user.id)
      const enabled = projects.filter((project) => project.enabled === 1)
      return collection(
        request,
        settings,
        'projects',
        enabled.map((row) => projectView(request, settings, row)),
      )
    },
  })

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v3/auth/domains',
    handler: async (request) => {
      const ids = await domainIdsOf(db, callerOf(request).user.id)
      const rows =
        ids.length === 0
          ? []
          : await db
              .selectFrom('identity_domains')
              .selectAll()
              .where('id', 'in', ids)
              .where('enabled', '=', 1)
              .execute()
      return collection(
        request,
        settings,
        'domains',
        rows.map((row) => domainView(request, settings, row)),
      )
    },
  })

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v3/auth/system',
    handler: async (request) => {
      const roles = await effectiveRoles(db, callerOf(request).user.id, { kind: 'system' })
      return {
        system: roles.length === 0 ? [] : [{ all: true }],
        links: { self: `${baseUrl(request, settings)}/v3/auth/system` },
      }
    },
  })
}
