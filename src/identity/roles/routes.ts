import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import type { Db } from '../../kernel/db/database.ts'
import { isUniqueViolation } from '../../kernel/db/violations.ts'
import { Forbidden } from '../../kernel/errors.ts'
import type { ApiServer } from '../../kernel/http/api-server.ts'
import { type IdentityContext, newId } from '../context.ts'
import type { IdentityTables, RoleRow } from '../db/tables.ts'
import { couldNotFind, duplicate } from '../faults.ts'
import { baseUrl, collection, filtered, queryValue } from '../links.ts'
import { authorize } from '../policy.ts'
import { roleView } from './view.ts'

const attributes = {
  name: Type.String({ minLength: 1, maxLength: 255, pattern: '\\S' }),
  description: Type.Optional(Type.Union([Type.String(), Type.Null()])),
  domain_id: Type.Optional(Type.Union([Type.String(), Type.Null()])),
}
const Create = Type.Object({ role: Type.Object(attributes) })
const Update = Type.Object({ role: Type.Partial(Type.Object(attributes)) })
const Params = Type.Object({ role_id: Type.String() })
const ImplicationParams = Type.Object({ prior_id: Type.String(), implied_id: Type.String() })

/** @throws NotFound */
export async function getRole(db: Db<IdentityTables>, id: string): Promise<RoleRow> {
  const row = await db.selectFrom('identity_roles').selectAll().where('id', '=', id).executeTakeFirst()
  if (row === undefined) throw couldNotFind('role', id)
  return row
}

export function roleRoutes(app: ApiServer, context: IdentityContext): void {
  const { db, settings } = context

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v3/roles',
    handler: async (request) => {
      authorize(request, 'identity:list_roles', { read: true })
      const rows = await db.selectFrom('identity_roles').selectAll().orderBy('name').execute()
      const domainId = queryValue(request, 'domain_id') ?? '' // without it only global roles are listed
      const views = rows
        .filter((row) => row.domain_id === domainId)
        .map((row) => roleView(request, settings, row))
      return collection(request, settings, 'roles', filtered(request, views, ['name']))
    },
  })

  app.post('/v3/roles', { schema: { body: Create } }, async (request, reply) => {
    authorize(request, 'identity:create_role')
    const { role } = request.body
    const row: RoleRow = {
      id: newId(),
      name: role.name,
      domain_id: role.domain_id ?? '',
      description: role.description ?? null,
    }
    try {
      await db.insertInto('identity_roles').values(row).execute()
    } catch (error) {
      if (isUniqueViolation(error)) throw duplicate('role', row.name)
      throw error
    }
    reply.code(201)
    return { role: roleView(request, settings, row) }
  })

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v3/roles/:role_id',
    schema: { params: Params },
    handler: async (request) => {
      authorize(request, 'identity:get_role', { read: true })
      return { role: roleView(request, settings, await getRole(db, request.params.role_id)) }
    },
  })

  app.patch('/v3/roles/:role_id', { schema: { params: Params, body: Update } }, async (request) => {
    authorize(request, 'identity:update_role')
    const before = await getRole(db, request.params.role_id)
    const { role } = request.body
    const row: RoleRow = {
      ...before,
      name: role.name ?? before.name,
      description: role.description === undefined ? before.description : role.description,
    }
    try {
      await db.updateTable('identity_roles').set(row).where('id', '=', row.id).execute()
    } catch (error) {
      if (isUniqueViolation(error)) throw duplicate('role', row.name)
      throw error
    }
    context.cache.clear()
    return { role: roleView(request, settings, row) }
  })

  app.delete('/v3/roles/:role_id', { schema: { params: Params } }, async (request, reply) => {
    authorize(request, 'identity:delete_role')
    const { id } = await getRole(db, request.params.role_id)
    await db.transaction().execute(async (transaction) => {
      await transaction.deleteFrom('identity_assignments').where('role_id', '=', id).execute()
      await transaction
        .deleteFrom('identity_implied_roles')
        .where((is) => is.or([is('prior_role_id', '=', id), is('implied_role_id', '=', id)]))
        .execute()
      await transaction.deleteFrom('identity_roles').where('id', '=', id).execute()
    })
    context.cache.clear()
    return reply.code(204).send()
  })

  const named = (request: FastifyRequest, row: Pick<RoleRow, 'id' | 'name'>) => ({
    id: row.id,
    name: row.name,
    links: { self: `${baseUrl(request, settings)}/v3/roles/${row.id}` },
  })

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v3/role_inferences',
    handler: async (request) => {
      authorize(request, 'identity:list_role_inference_rules', { read: true })
      const roles = await db.selectFrom('identity_roles').selectAll().orderBy('name').execute()
      const rules = await db.selectFrom('identity_implied_roles').selectAll().execute()
      const inferences = roles.flatMap((prior) => {
        const impliedIds = rules
          .filter((rule) => rule.prior_role_id === prior.id)
          .map((rule) => rule.implied_role_id)
        const implies = roles
          .filter((role) => impliedIds.includes(role.id))
          .map((role) => named(request, role))
        return implies.length === 0 ? [] : [{ prior_role: named(request, prior), implies }]
      })
      return { role_inferences: inferences, links: { self: `${baseUrl(request, settings)}${request.url}` } }
    },
  })

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v3/roles/:role_id/implies',
    schema: { params: Params },
    handler: async (request) => {
      authorize(request, 'identity:list_implied_roles', { read: true })
      const prior = await getRole(db, request.params.role_id)
      const implies = await db
        .selectFrom('identity_roles')
        .selectAll()
        .where(
          'id',
          'in',
          db
            .selectFrom('identity_implied_roles')
            .select('implied_role_id')
            .where('prior_role_id', '=', prior.id),
        )
        .execute()
      return {
        role_inference: {
          prior_role: named(request, prior),
          implies: implies.map((role) => named(request, role)),
        },
        links: { self: `${baseUrl(request, settings)}${request.url}` },
      }
    },
  })

  app.route({
    method: ['GET', 'HEAD', 'PUT', 'DELETE'],
    url: '/v3/roles/:prior_id/implies/:implied_id',
    schema: { params: ImplicationParams },
    handler: async (request, reply) => {
      const reading = request.method === 'GET' || request.method === 'HEAD'
      authorize(request, `identity:${reading ? 'get' : 'update'}_implied_role`, { read: reading })
      const prior = await getRole(db, request.params.prior_id)
      const implied = await getRole(db, request.params.implied_id)
      const rule = { prior_role_id: prior.id, implied_role_id: implied.id }
      if (request.method === 'DELETE') {
        const { numDeletedRows } = await db
          .deleteFrom('identity_implied_roles')
          .where('prior_role_id', '=', prior.id)
          .where('implied_role_id', '=', implied.id)
          .executeTakeFirst()
        if (Number(numDeletedRows) === 0) throw couldNotFind('implied role', implied.id)
        context.cache.clear()
        return reply.code(204).send()
      }
      if (request.method === 'PUT') {
        if (implied.name === 'admin') throw new Forbidden(`${implied.id} cannot be an implied roles.`)
        await db
          .insertInto('identity_implied_roles')
          .values(rule)
          .onConflict((conflict) => conflict.doNothing())
          .execute()
        context.cache.clear()
        reply.code(201)
      } else {
        const row = await db
          .selectFrom('identity_implied_roles')
          .selectAll()
          .where('prior_role_id', '=', prior.id)
          .where('implied_role_id', '=', implied.id)
          .executeTakeFirst()
        if (row === undefined) throw couldNotFind('implied role', implied.id)
      }
      return {
        role_inference: { prior_role: named(request, prior), implies: named(request, implied) },
        links: { self: `${baseUrl(request, settings)}${request.url}` },
      }
    },
  })
}
