import { Type } from 'typebox'
import { NotFound } from '../../kernel/errors.ts'
import type { ApiServer } from '../../kernel/http/api-server.ts'
import type { IdentityContext } from '../context.ts'
import type { AssignmentRow } from '../db/tables.ts'
import { couldNotFind } from '../faults.ts'
import { collection } from '../links.ts'
import { authorize } from '../policy.ts'
import { getRole } from '../roles/routes.ts'
import { roleView } from '../roles/view.ts'

const Params = Type.Object({
  target_id: Type.Optional(Type.String()),
  actor_id: Type.String(),
  role_id: Type.Optional(Type.String()),
})

/** Tables in which targets and actors are looked up. */
const tableOf = {
  project: 'identity_projects',
  domain: 'identity_domains',
  user: 'identity_users',
  group: 'identity_groups',
} as const

/**
 * Roles given to users and groups on projects, domains and the system: twelve URLs of one shape, and those of
 * the inherited ones.
 */
export function grantRoutes(app: ApiServer, context: IdentityContext): void {
  for (const target of ['project', 'domain', 'system'] as const) {
    for (const actor of ['user', 'group'] as const) {
      const path = target === 'system' ? 'system' : `${target}s/:target_id`
      grantRoutesOf(app, context, {
        target,
        actor,
        inherited: 0,
        url: `/v3/${path}/${actor}s/:actor_id/roles`,
      })
      if (target === 'system') continue
      grantRoutesOf(app, context, {
        target,
        actor,
        inherited: 1,
        url: `/v3/OS-INHERIT/${path}/${actor}s/:actor_id/roles`,
      })
    }
  }
}

function grantRoutesOf(
  app: ApiServer,
  context: IdentityContext,
  kind: { target: 'project' | 'domain' | 'system'; actor: 'user' | 'group'; inherited: 0 | 1; url: string },
): void {
  const { db, settings } = context
  const action = (verb: string) =>
    kind.target === 'system' ? `identity:${verb}_system_grant_for_${kind.actor}` : `identity:${verb}_grant`
  const suffix = kind.inherited === 1 ? '/inherited_to_projects' : ''

  async function mustExist(table: 'project' | 'domain' | 'user' | 'group', id: string): Promise<void> {
    const row = await db.selectFrom(tableOf[table]).select('id').where('id', '=', id).executeTakeFirst()
    if (row === undefined) throw couldNotFind(table, id)
  }

  /** Checks that everything exists. @param deleting then the actor may be gone */
  async function resolve(
    params: { target_id?: string; actor_id: string },
    deleting = false,
  ): Promise<Omit<AssignmentRow, 'role_id'>> {
    const targetId = params.target_id ?? 'all'
    if (kind.target !== 'system') await mustExist(kind.target, targetId)
    if (!deleting) await mustExist(kind.actor, params.actor_id)
    return {
      actor_type: kind.actor,
      actor_id: params.actor_id,
      target_type: kind.target,
      target_id: targetId,
      inherited: kind.inherited,
    }
  }

  const select = (key: Omit<AssignmentRow, 'role_id'>) =>
    db
      .selectFrom('identity_assignments')
      .select('role_id')
      .where('actor_type', '=', key.actor_type)
      .where('actor_id', '=', key.actor_id)
      .where('target_type', '=', key.target_type)
      .where('target_id', '=', key.target_id)
      .where('inherited', '=', key.inherited)

  app.route({
    method: ['GET', 'HEAD'],
    url: `${kind.url}${suffix}`,
    schema: { params: Params },
    handler: async (request) => {
      authorize(request, action('list'), { read: true })
      const key = await resolve(request.params)
      const rows = await db
        .selectFrom('identity_roles')
        .selectAll()
        .where('id', 'in', select(key))
        .orderBy('name')
        .execute()
      return collection(
        request,
        settings,
        'roles',
        rows.map((row) => roleView(request, settings, row)),
      )
    },
  })

  app.route({
    method: ['GET', 'HEAD', 'PUT', 'DELETE'],
    url: `${kind.url}/:role_id${suffix}`,
    schema: { params: Params },
    handler: async (request, reply) => {
      const { method } = request
      const verb = method === 'PUT' ? 'create' : method === 'DELETE' ? 'revoke' : 'check'
      authorize(request, action(verb), { read: verb === 'check' })
      const role = await getRole(db, request.params.role_id ?? '')
      const key = await resolve(request.params, verb === 'revoke')
      if (verb === 'create') {
        await db
          .insertInto('identity_assignments')
          .values({ ...key, role_id: role.id })
          .onConflict((conflict) => conflict.doNothing())
          .execute()
        context.cache.clear()
        return reply.code(204).send()
      }
      const missing = () =>
        new NotFound(
          `Could not find role assignment with role: ${role.id}, user or group: ${key.actor_id}, ` +
            `project, domain, or system: ${key.target_id}.`,
        )
      if (verb === 'revoke') {
        const { numDeletedRows } = await db
          .deleteFrom('identity_assignments')
          .where('actor_type', '=', key.actor_type)
          .where('actor_id', '=', key.actor_id)
          .where('target_type', '=', key.target_type)
          .where('target_id', '=', key.target_id)
          .where('inherited', '=', key.inherited)
          .where('role_id', '=', role.id)
          .executeTakeFirst()
        if (Number(numDeletedRows) === 0) throw missing()
        context.cache.clear()
        return reply.code(204).send()
      }
      const row = await select(key).where('role_id', '=', role.id).executeTakeFirst()
      if (row === undefined) throw missing()
      return reply.code(204).send()
    },
  })
}
