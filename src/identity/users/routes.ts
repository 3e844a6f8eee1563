import { Type } from 'typebox'
import { hashPassword, pretendToVerifyPassword, verifyPassword } from '../../kernel/crypto/passwords.ts'
import { isUniqueViolation } from '../../kernel/db/violations.ts'
import { Invalid, Unauthenticated } from '../../kernel/errors.ts'
import type { ApiServer } from '../../kernel/http/api-server.ts'
import { Secret } from '../../kernel/secret.ts'
import { projectsOf } from '../assignments/effective.ts'
import { asFlag, extraOf } from '../attributes.ts'
import { type IdentityContext, newId } from '../context.ts'
import type { UserRow } from '../db/tables.ts'
import { duplicate, requiresAuthentication } from '../faults.ts'
import { collection, filtered } from '../links.ts'
import { authorize, callerOf } from '../policy.ts'
import { projectView } from '../projects/view.ts'
import { revokeTokensOf } from '../tokens/queries.ts'
import { deleteUser, getUser } from './queries.ts'
import { userView } from './view.ts'

const attributes = {
  name: Type.String({ minLength: 1, maxLength: 255, pattern: '\\S' }),
  domain_id: Type.Optional(Type.Union([Type.String(), Type.Null()])),
  default_project_id: Type.Optional(Type.Union([Type.String(), Type.Null()])),
  password: Type.Optional(Type.Union([Type.String(), Type.Null()])),
  enabled: Type.Optional(Type.Boolean()),
}
const known = [
  ...Object.keys(attributes),
  'id',
  'links',
  'options',
  'original_password',
  'password_expires_at',
]
const Create = Type.Object({ user: Type.Object(attributes, { additionalProperties: true }) })
const Update = Type.Object({ user: Type.Partial(Type.Object(attributes)) })
const ChangePassword = Type.Object({
  user: Type.Object({ original_password: Type.String(), password: Type.String() }),
})
const Params = Type.Object({ user_id: Type.String() })

/** `POST /v3/users/{id}/password`: the old password is the proof, so no token is asked for. */
export function passwordRoute(app: ApiServer, context: IdentityContext): void {
  const { db } = context
  app.post(
    '/v3/users/:user_id/password',
    { schema: { params: Params, body: ChangePassword } },
    async (request, reply) => {
      const { user_id: id } = request.params
      const original = new Secret(request.body.user.original_password)
      const user = await db
        .selectFrom('identity_users')
        .selectAll()
        .where('id', '=', id)
        .where('enabled', '=', 1)
        .executeTakeFirst()
      if (user?.password_hash == null) await pretendToVerifyPassword(original)
      if (user?.password_hash == null || !(await verifyPassword(original, user.password_hash))) {
        throw new Unauthenticated(requiresAuthentication)
      }
      const hash = await hashPassword(new Secret(request.body.user.password))
      await db.transaction().execute(async (transaction) => {
        await transaction
          .updateTable('identity_users')
          .set({ password_hash: hash })
          .where('id', '=', id)
          .execute()
        await revokeTokensOf(transaction, { user: id })
      })
      context.cache.clear()
      return reply.code(204).send()
    },
  )
}

export function userRoutes(app: ApiServer, context: IdentityContext): void {
  const { db, settings } = context

  /** Null is a project that is taken away. @throws Invalid when there is no such project */
  async function checkProject(id: string | null | undefined): Promise<string | null> {
    if (id === null || id === undefined) return null
    const row = await db.selectFrom('identity_projects').select('id').where('id', '=', id).executeTakeFirst()
    if (row === undefined) throw new Invalid(`Could not find project: ${id}.`)
    return id
  }

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v3/users',
    handler: async (request) => {
      const { scope } = callerOf(request)
      const own = scope.kind === 'domain' ? scope.domain.id : undefined
      authorize(request, 'identity:list_users', { read: true, domainId: own })
      const rows = await db.selectFrom('identity_users').selectAll().orderBy('name').execute()
      const visible = own === undefined ? rows : rows.filter((row) => row.domain_id === own)
      const views = visible.map((row) => userView(request, settings, row))
      return collection(
        request,
        settings,
        'users',
        filtered(request, views, ['domain_id', 'enabled', 'name']),
      )
    },
  })

  app.post('/v3/users', { schema: { body: Create } }, async (request, reply) => {
    authorize(request, 'identity:create_user')
    const { user } = request.body
    const { scope } = callerOf(request)
    const implied =
      scope.kind === 'domain'
        ? scope.domain.id
        : scope.kind === 'project'
          ? scope.project.domain.id
          : 'default'
    const domainId = user.domain_id ?? implied
    const domain = await db
      .selectFrom('identity_domains')
      .select('id')
      .where('id', '=', domainId)
      .executeTakeFirst()
    if (domain === undefined) throw new Invalid(`Could not find domain: ${domainId}.`)
    const row: UserRow = {
      id: newId(),
      name: user.name,
      domain_id: domainId,
      default_project_id: await checkProject(user.default_project_id),
      enabled: asFlag(user.enabled, true),
      password_hash: user.password == null ? null : await hashPassword(new Secret(user.password)),
      extra: extraOf(user, known),
    }
    try {
      await db.insertInto('identity_users').values(row).execute()
    } catch (error) {
      if (isUniqueViolation(error)) throw duplicate('user', row.name, ` at domain ID ${domainId}`)
      throw error
    }
    reply.code(201)
    return { user: userView(request, settings, row) }
  })

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v3/users/:user_id',
    schema: { params: Params },
    handler: async (request) => {
      const { user_id: id } = request.params
      const row = await getUser(db, id).catch((error: unknown) => {
        authorize(request, 'identity:get_user', { read: true }) // only they are told that there is none
        throw error
      })
      authorize(request, 'identity:get_user', { read: true, domainId: row.domain_id, ownerId: id })
      return { user: userView(request, settings, row) }
    },
  })

  app.patch('/v3/users/:user_id', { schema: { params: Params, body: Update } }, async (request) => {
    authorize(request, 'identity:update_user')
    const before = await getUser(db, request.params.user_id)
    const { user } = request.body
    if ((user.domain_id ?? before.domain_id) !== before.domain_id) {
      throw new Invalid('Cannot change the domain of a user.')
    }
    const row: UserRow = {
      ...before,
      name: user.name ?? before.name,
      default_project_id:
        user.default_project_id === undefined
          ? before.default_project_id
          : await checkProject(user.default_project_id),
      enabled: asFlag(user.enabled, before.enabled === 1),
      password_hash:
        user.password == null ? before.password_hash : await hashPassword(new Secret(user.password)),
      extra: extraOf(user, known, before.extra),
    }
    try {
      await db.transaction().execute(async (transaction) => {
        await transaction.updateTable('identity_users').set(row).where('id', '=', row.id).execute()
        if (row.enabled === 0 || row.password_hash !== before.password_hash) {
          await revokeTokensOf(transaction, { user: row.id })
        }
      })
    } catch (error) {
      if (isUniqueViolation(error)) throw duplicate('user', row.name, ` at domain ID ${row.domain_id}`)
      throw error
    }
    context.cache.clear()
    return { user: userView(request, settings, row) }
  })

  app.delete('/v3/users/:user_id', { schema: { params: Params } }, async (request, reply) => {
    authorize(request, 'identity:delete_user')
    const { id } = await getUser(db, request.params.user_id)
    await db.transaction().execute((transaction) => deleteUser(transaction, id))
    context.cache.clear()
    return reply.code(204).send()
  })

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v3/users/:user_id/projects',
    schema: { params: Params },
    handler: async (request) => {
      const { user_id: id } = request.params
      authorize(request, 'identity:list_user_projects', { read: true, ownerId: id })
      await getUser(db, id)
      const views = (await projectsOf(db, id)).map((row) => projectView(request, settings, row))
      const names = ['domain_id', 'enabled', 'name'] as const
      return collection(request, settings, 'projects', filtered(request, views, names))
    },
  })
}
