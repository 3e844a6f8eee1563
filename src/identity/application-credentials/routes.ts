import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { hashPassword } from '../../kernel/crypto/passwords.ts'
import { randomToken } from '../../kernel/crypto/tokens.ts'
import { isUniqueViolation } from '../../kernel/db/violations.ts'
import { Invalid, Unsupported } from '../../kernel/errors.ts'
import type { ApiServer } from '../../kernel/http/api-server.ts'
import { Secret } from '../../kernel/secret.ts'
import { asFlag } from '../attributes.ts'
import { type IdentityContext, newId } from '../context.ts'
import type { ApplicationCredentialRow } from '../db/tables.ts'
import { couldNotFind, duplicate, forbiddenAction } from '../faults.ts'
import { collection, filtered, selfLink } from '../links.ts'
import { authorize, callerOf } from '../policy.ts'
import type { Named } from '../tokens/details.ts'
import { timestamp } from '../tokens/issue.ts'
import { revokeTokensOf } from '../tokens/queries.ts'

const Create = Type.Object({
  application_credential: Type.Object({
    name: Type.String({ minLength: 1, maxLength: 255, pattern: '\\S' }),
    description: Type.Optional(Type.Union([Type.String(), Type.Null()])),
    secret: Type.Optional(Type.Union([Type.String(), Type.Null()])),
    expires_at: Type.Optional(Type.Union([Type.String(), Type.Null()])),
    roles: Type.Optional(
      Type.Array(Type.Object({ id: Type.Optional(Type.String()), name: Type.Optional(Type.String()) })),
    ),
    unrestricted: Type.Optional(Type.Boolean()),
    access_rules: Type.Optional(Type.Array(Type.Unknown())),
  }),
})
const UserParams = Type.Object({ user_id: Type.String() })
const Params = Type.Object({ user_id: Type.String(), id: Type.String() })

/** Credentials that a user makes for programs: a secret of their own, and no more roles than they need. */
export function applicationCredentialRoutes(app: ApiServer, context: IdentityContext): void {
  const { db, settings } = context

  function view(request: FastifyRequest, row: ApplicationCredentialRow, roles: readonly Named[]) {
    const granted: readonly string[] = JSON.parse(row.role_ids)
    return {
      id: row.id,
      name: row.name,
      description: row.description,
      project_id: row.project_id,
      user_id: row.user_id,
      expires_at: row.expires_at,
      unrestricted: row.unrestricted === 1,
      roles: roles.filter((role) => granted.includes(role.id)),
      system: null,
      ...selfLink(request, settings, `users/${row.user_id}/application_credentials/${row.id}`),
    }
  }

  const allRoles = () => db.selectFrom('identity_roles').select(['id', 'name']).orderBy('name').execute()

  async function find(userId: string, id: string): Promise<ApplicationCredentialRow> {
    const row = await db
      .selectFrom('identity_application_credentials')
      .selectAll()
      .where('id', '=', id)
      .where('user_id', '=', userId)
      .executeTakeFirst()
    if (row === undefined) throw couldNotFind('application credential', id)
    return row
  }

  /** A leaked application credential must not be able to make others that outlive it. */
  function refuseRestricted(request: FastifyRequest): void {
    if (callerOf(request).applicationCredential?.restricted !== true) return
    throw forbiddenAction(
      "Using method 'application_credential' is not allowed for managing additional application credentials",
    )
  }

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v3/users/:user_id/application_credentials',
    schema: { params: UserParams },
    handler: async (request) => {
      const { user_id: userId } = request.params
      authorize(request, 'identity:list_application_credentials', { read: true, ownerId: userId })
      const rows = await db
        .selectFrom('identity_application_credentials')
        .selectAll()
        .where('user_id', '=', userId)
        .orderBy('name')
        .execute()
      const roles = await allRoles()
      const views = rows.map((row) => view(request, row, roles))
      return collection(request, settings, 'application_credentials', filtered(request, views, ['name']))
    },
  })

  app.post(
    '/v3/users/:user_id/application_credentials',
    { schema: { params: UserParams, body: Create } },
    async (request, reply) => {
      const caller = callerOf(request)
      // not even an admin can make one for somebody else
      if (caller.user.id !== request.params.user_id) {
        throw forbiddenAction('identity:create_application_credential')
      }
      refuseRestricted(request)
      const { application_credential: asked } = request.body
      if (asked.access_rules !== undefined && asked.access_rules.length > 0) {
        throw new Unsupported('Access rules of application credentials are not supported.')
      }
      if (caller.scope.kind !== 'project') {
        throw new Invalid('An application credential is made with a token for a project.')
      }
      const roles = (asked.roles ?? caller.roles).map((wanted) => {
        const held = caller.roles.find((role) =>
          wanted.id === undefined ? role.name === wanted.name : role.id === wanted.id,
        )
        if (held === undefined) {
          throw new Invalid(
            `Invalid application credential: Could not find role assignment with role: ${wanted.id ?? wanted.name}.`,
          )
        }
        return held
      })
      const secret = asked.secret ?? randomToken()
      const row: ApplicationCredentialRow = {
        id: newId(),
        name: asked.name,
        description: asked.description ?? '',
        user_id: caller.user.id,
        project_id: caller.scope.project.id,
        secret_hash: await hashPassword(new Secret(secret)),
        role_ids: JSON.stringify(roles.map((role) => role.id)),
        unrestricted: asFlag(asked.unrestricted, false),
        expires_at: asked.expires_at == null ? null : expiry(asked.expires_at, context.now()),
      }
      try {
        await db.insertInto('identity_application_credentials').values(row).execute()
      } catch (error) {
        if (isUniqueViolation(error)) throw duplicate('application_credential', row.name)
        throw error
      }
      reply.code(201)
      // the only time that the secret is shown
      return { application_credential: { ...view(request, row, roles), secret } }
    },
  )

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v3/users/:user_id/application_credentials/:id',
    schema: { params: Params },
    handler: async (request) => {
      const { user_id: userId, id } = request.params
      authorize(request, 'identity:get_application_credential', { read: true, ownerId: userId })
      return { application_credential: view(request, await find(userId, id), await allRoles()) }
    },
  })

  app.delete(
    '/v3/users/:user_id/application_credentials/:id',
    { schema: { params: Params } },
    async (request, reply) => {
      const { user_id: userId, id } = request.params
      authorize(request, 'identity:delete_application_credential', { ownerId: userId })
      refuseRestricted(request)
      await find(userId, id)
      await db.transaction().execute(async (transaction) => {
        await revokeTokensOf(transaction, { applicationCredential: id })
        await transaction.deleteFrom('identity_application_credentials').where('id', '=', id).execute()
      })
      context.cache.clear()
      return reply.code(204).send()
    },
  )
}

/** A time without a zone is UTC. @throws Invalid when it is no time, or past */
function expiry(text: string, now: Date): string {
  const date = new Date(/[zZ]|[+-]\d\d:?\d\d$/.test(text) ? text : `${text}Z`)
  if (Number.isNaN(date.getTime())) throw new Invalid(`The 'expires_at' is not a time: '${text}'.`)
  if (date <= now) throw new Invalid("The 'expires_at' must not be before now.")
  return timestamp(date)
}
