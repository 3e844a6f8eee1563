import { Type } from 'typebox'
import { isUniqueViolation } from '../../kernel/db/violations.ts'
import { Forbidden } from '../../kernel/errors.ts'
import type { ApiServer } from '../../kernel/http/api-server.ts'
import { asFlag, extraOf } from '../attributes.ts'
import { type IdentityContext, newId } from '../context.ts'
import type { DomainRow } from '../db/tables.ts'
import { couldNotFind, duplicate } from '../faults.ts'
import { collection, filtered } from '../links.ts'
import { authorize, callerOf } from '../policy.ts'
import { revokeTokensOf } from '../tokens/queries.ts'
import { domainView } from './view.ts'

const attributes = {
  name: Type.String({ minLength: 1, maxLength: 255 }),
  description: Type.Optional(Type.Union([Type.String(), Type.Null()])),
  enabled: Type.Optional(Type.Boolean()),
}
const known = [...Object.keys(attributes), 'id', 'links', 'tags', 'options', 'domain_id']
const Create = Type.Object({ domain: Type.Object(attributes, { additionalProperties: true }) })
const Update = Type.Object({ domain: Type.Partial(Type.Object(attributes)) })
const Params = Type.Object({ domain_id: Type.String() })

export function domainRoutes(app: ApiServer, context: IdentityContext): void {
  const { db, settings } = context

  async function find(id: string): Promise<DomainRow> {
    const row = await db.selectFrom('identity_domains').selectAll().where('id', '=', id).executeTakeFirst()
    if (row === undefined) throw couldNotFind('domain', id)
    return row
  }

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v3/domains',
    handler: async (request) => {
      const { scope } = callerOf(request)
      const own = scope.kind === 'domain' ? scope.domain.id : undefined
      authorize(request, 'identity:list_domains', { read: true, domainId: own })
      const rows = await db.selectFrom('identity_domains').selectAll().orderBy('name').execute()
      const visible = own === undefined ? rows : rows.filter((row) => row.id === own)
      const views = visible.map((row) => domainView(request, settings, row))
      return collection(request, settings, 'domains', filtered(request, views, ['name', 'enabled']))
    },
  })

  app.post('/v3/domains', { schema: { body: Create } }, async (request, reply) => {
    authorize(request, 'identity:create_domain')
    const { domain } = request.body
    const row: DomainRow = {
      id: newId(),
      name: domain.name,
      description: domain.description ?? '',
      enabled: asFlag(domain.enabled, true),
      extra: extraOf(domain, known),
    }
    try {
      await db.insertInto('identity_domains').values(row).execute()
    } catch (error) {
      if (isUniqueViolation(error)) throw duplicate('domain', domain.name)
      throw error
    }
    reply.code(201)
    return { domain: domainView(request, settings, row) }
  })

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v3/domains/:domain_id',
    schema: { params: Params },
    handler: async (request) => {
      const { domain_id: id } = request.params
      const { user, scope } = callerOf(request)
      const own =
        scope.kind === 'project'
          ? scope.project.domain.id
          : scope.kind === 'domain'
            ? scope.domain.id
            : undefined
      // whoever has a token for the domain, or in it, may see it
      authorize(request, 'identity:get_domain', {
        read: true,
        domainId: id,
        ownerId: own === id ? user.id : undefined,
      })
      return { domain: domainView(request, settings, await find(id)) }
    },
  })

  app.patch('/v3/domains/:domain_id', { schema: { params: Params, body: Update } }, async (request) => {
    authorize(request, 'identity:update_domain')
    const before = await find(request.params.domain_id)
    const { domain } = request.body
    const row: DomainRow = {
      ...before,
      name: domain.name ?? before.name,
      description: domain.description ?? before.description,
      enabled: asFlag(domain.enabled, before.enabled === 1),
      extra: extraOf(domain, known, before.extra),
    }
    try {
      await db.transaction().execute(async (transaction) => {
        await transaction.updateTable('identity_domains').set(row).where('id', '=', row.id).execute()
        if (row.enabled === 0) await revokeTokensOf(transaction, { domain: row.id })
      })
    } catch (error) {
      if (isUniqueViolation(error)) throw duplicate('domain', row.name)
      throw error
    }
    context.cache.clear()
    return { domain: domainView(request, settings, row) }
  })

  app.delete('/v3/domains/:domain_id', { schema: { params: Params } }, async (request, reply) => {
    authorize(request, 'identity:delete_domain')
    const { id, enabled } = await find(request.params.domain_id)
    if (enabled === 1) {
      throw new Forbidden('Cannot delete a domain that is enabled, please disable it first.')
    }
    await db.transaction().execute(async (transaction) => {
      await revokeTokensOf(transaction, { domain: id })
      const users = transaction.selectFrom('identity_users').select('id').where('domain_id', '=', id)
      const groups = transaction.selectFrom('identity_groups').select('id').where('domain_id', '=', id)
      const projects = transaction.selectFrom('identity_projects').select('id').where('domain_id', '=', id)
      const roles = transaction.selectFrom('identity_roles').select('id').where('domain_id', '=', id)
      await transaction
        .deleteFrom('identity_assignments')
        .where((is) =>
          is.or([
            is('actor_id', 'in', users),
            is('actor_id', 'in', groups),
            is('target_id', 'in', projects),
            is('target_id', '=', id),
            is('role_id', 'in', roles),
          ]),
        )
        .execute()
      await transaction
        .deleteFrom('identity_group_members')
        .where((is) => is.or([is('user_id', 'in', users), is('group_id', 'in', groups)]))
        .execute()
      await transaction
        .deleteFrom('identity_application_credentials')
        .where((is) => is.or([is('user_id', 'in', users), is('project_id', 'in', projects)]))
        .execute()
      for (const table of [
        'identity_users',
        'identity_groups',
        'identity_projects',
        'identity_roles',
      ] as const) {
        await transaction.deleteFrom(table).where('domain_id', '=', id).execute()
      }
      await transaction.deleteFrom('identity_domains').where('id', '=', id).execute()
    })
    context.cache.clear()
    return reply.code(204).send()
  })
}
