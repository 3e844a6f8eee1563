import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { isUniqueViolation } from '../../kernel/db/violations.ts'
import { Invalid } from '../../kernel/errors.ts'
import type { ApiServer } from '../../kernel/http/api-server.ts'
import { type IdentityContext, newId } from '../context.ts'
import type { GroupRow } from '../db/tables.ts'
import { couldNotFind, duplicate } from '../faults.ts'
import { collection, filtered, selfLink } from '../links.ts'
import { authorize, callerOf } from '../policy.ts'
import { getUser } from '../users/queries.ts'
import { userView } from '../users/view.ts'

const attributes = {
  name: Type.String({ minLength: 1, maxLength: 64, pattern: '\\S' }),
  description: Type.Optional(Type.Union([Type.String(), Type.Null()])),
  domain_id: Type.Optional(Type.String()),
}
const Create = Type.Object({ group: Type.Object(attributes) })
const Update = Type.Object({ group: Type.Partial(Type.Object(attributes)) })
const Params = Type.Object({ group_id: Type.String() })
const MemberParams = Type.Object({ group_id: Type.String(), user_id: Type.String() })

export function groupRoutes(app: ApiServer, context: IdentityContext): void {
  const { db, settings } = context

  const view = (request: FastifyRequest, row: GroupRow) => ({
    id: row.id,
    name: row.name,
    domain_id: row.domain_id,
    description: row.description,
    ...selfLink(request, settings, `groups/${row.id}`),
  })

  async function find(id: string): Promise<GroupRow> {
    const row = await db.selectFrom('identity_groups').selectAll().where('id', '=', id).executeTakeFirst()
    if (row === undefined) throw couldNotFind('group', id)
    return row
  }

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v3/groups',
    handler: async (request) => {
      const { scope } = callerOf(request)
      const own = scope.kind === 'domain' ? scope.domain.id : undefined
      authorize(request, 'identity:list_groups', { read: true, domainId: own })
      const rows = await db.selectFrom('identity_groups').selectAll().orderBy('name').execute()
      const visible = own === undefined ? rows : rows.filter((row) => row.domain_id === own)
      const views = visible.map((row) => view(request, row))
      return collection(request, settings, 'groups', filtered(request, views, ['domain_id', 'name']))
    },
  })

  app.post('/v3/groups', { schema: { body: Create } }, async (request, reply) => {
    authorize(request, 'identity:create_group')
    const { group } = request.body
    const { scope } = callerOf(request)
    const row: GroupRow = {
      id: newId(),
      name: group.name,
      domain_id: group.domain_id ?? (scope.kind === 'domain' ? scope.domain.id : 'default'),
      description: group.description ?? '',
    }
    const domain = await db
      .selectFrom('identity_domains')
      .select('id')
      .where('id', '=', row.domain_id)
      .executeTakeFirst()
    if (domain === undefined) throw new Invalid(`Could not find domain: ${row.domain_id}.`)
    try {
      await db.insertInto('identity_groups').values(row).execute()
    } catch (error) {
      if (isUniqueViolation(error)) throw duplicate('group', row.name, ` at domain ID ${row.domain_id}`)
      throw error
    }
    reply.code(201)
    return { group: view(request, row) }
  })

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v3/groups/:group_id',
    schema: { params: Params },
    handler: async (request) => {
      authorize(request, 'identity:get_group', { read: true })
      return { group: view(request, await find(request.params.group_id)) }
    },
  })

  app.patch('/v3/groups/:group_id', { schema: { params: Params, body: Update } }, async (request) => {
    authorize(request, 'identity:update_group')
    const before = await find(request.params.group_id)
    const { group } = request.body
    if ((group.domain_id ?? before.domain_id) !== before.domain_id) {
      throw new Invalid('Cannot change the domain of a group.')
    }
    const row: GroupRow = {
      ...before,
      name: group.name ?? before.name,
      description: group.description ?? before.description,
    }
    try {
      await db.updateTable('identity_groups').set(row).where('id', '=', row.id).execute()
    } catch (error) {
      if (isUniqueViolation(error)) throw duplicate('group', row.name, ` at domain ID ${row.domain_id}`)
      throw error
    }
    return { group: view(request, row) }
  })

  app.delete('/v3/groups/:group_id', { schema: { params: Params } }, async (request, reply) => {
    authorize(request, 'identity:delete_group')
    const { id } = await find(request.params.group_id)
    await db.transaction().execute(async (transaction) => {
      await transaction
        .deleteFrom('identity_assignments')
        .where('actor_type', '=', 'group')
        .where('actor_id', '=', id)
        .execute()
      await transaction.deleteFrom('identity_group_members').where('group_id', '=', id).execute()
      await transaction.deleteFrom('identity_groups').where('id', '=', id).execute()
    })
    context.cache.clear()
    return reply.code(204).send()
  })

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v3/groups/:group_id/users',
    schema: { params: Params },
    handler: async (request) => {
      authorize(request, 'identity:list_users_in_group', { read: true })
      const { id } = await find(request.params.group_id)
      const rows = await db
        .selectFrom('identity_users')
        .selectAll()
        .where(
          'id',
          'in',
          db.selectFrom('identity_group_members').select('user_id').where('group_id', '=', id),
        )
        .orderBy('name')
        .execute()
      const views = rows.map((row) => userView(request, settings, row))
      return collection(
        request,
        settings,
        'users',
        filtered(request, views, ['domain_id', 'enabled', 'name']),
      )
    },
  })

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v3/users/:user_id/groups',
    schema: { params: Type.Object({ user_id: Type.String() }) },
    handler: async (request) => {
      const { user_id: id } = request.params
      authorize(request, 'identity:list_groups_for_user', { read: true, ownerId: id })
      await getUser(db, id)
      const rows = await db
        .selectFrom('identity_groups')
        .selectAll()
        .where(
          'id',
          'in',
          db.selectFrom('identity_group_members').select('group_id').where('user_id', '=', id),
        )
        .orderBy('name')
        .execute()
      const views = rows.map((row) => view(request, row))
      return collection(request, settings, 'groups', filtered(request, views, ['name']))
    },
  })

  app.put(
    '/v3/groups/:group_id/users/:user_id',
    { schema: { params: MemberParams } },
    async (request, reply) => {
      authorize(request, 'identity:add_user_to_group')
      const { group_id, user_id } = request.params
      await find(group_id)
      await getUser(db, user_id)
      await db
        .insertInto('identity_group_members')
        .values({ group_id, user_id })
        .onConflict((conflict) => conflict.doNothing())
        .execute()
      context.cache.clear()
      return reply.code(204).send()
    },
  )

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v3/groups/:group_id/users/:user_id',
    schema: { params: MemberParams },
    handler: async (request, reply) => {
      const { group_id, user_id } = request.params
      authorize(request, 'identity:check_user_in_group', { read: true, ownerId: user_id })
      await find(group_id)
      await getUser(db, user_id)
      const row = await db
        .selectFrom('identity_group_members')
        .selectAll()
        .where('group_id', '=', group_id)
        .where('user_id', '=', user_id)
        .executeTakeFirst()
      if (row === undefined) throw couldNotFind('user in group', `${user_id} in ${group_id}`)
      return reply.code(204).send()
    },
  })

  app.delete(
    '/v3/groups/:group_id/users/:user_id',
    { schema: { params: MemberParams } },
    async (request, reply) => {
      authorize(request, 'identity:remove_user_from_group')
      const { group_id, user_id } = request.params
      const { numDeletedRows } = await db
        .deleteFrom('identity_group_members')
        .where('group_id', '=', group_id)
        .where('user_id', '=', user_id)
        .executeTakeFirst()
      if (Number(numDeletedRows) === 0) throw couldNotFind('user in group', `${user_id} in ${group_id}`)
      context.cache.clear()
      return reply.code(204).send()
    },
  )
}
