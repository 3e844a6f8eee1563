import { Type } from 'typebox'
import { isUniqueViolation } from '../../kernel/db/violations.ts'
import { Forbidden, Invalid, Unsupported } from '../../kernel/errors.ts'
import type { ApiServer } from '../../kernel/http/api-server.ts'
import { asFlag, extraOf } from '../attributes.ts'
import { type IdentityContext, newId } from '../context.ts'
import type { ProjectRow } from '../db/tables.ts'
import { couldNotFind, duplicate } from '../faults.ts'
import { collection, filtered, flag, queryValue } from '../links.ts'
import { authorize, callerOf } from '../policy.ts'
import { revokeTokensOf } from '../tokens/queries.ts'
import { projectView } from './view.ts'

const attributes = {
  name: Type.String({ minLength: 1, maxLength: 64, pattern: '\\S' }),
  description: Type.Optional(Type.Union([Type.String(), Type.Null()])),
  domain_id: Type.Optional(Type.Union([Type.String(), Type.Null()])),
  parent_id: Type.Optional(Type.Union([Type.String(), Type.Null()])),
  enabled: Type.Optional(Type.Boolean()),
  is_domain: Type.Optional(Type.Boolean()),
  tags: Type.Optional(
    Type.Array(Type.String({ minLength: 1, maxLength: 255, pattern: '^[^,/]*$' }), { maxItems: 80 }),
  ),
}
const known = [...Object.keys(attributes), 'id', 'links', 'options']
const Create = Type.Object({ project: Type.Object(attributes, { additionalProperties: true }) })
const Update = Type.Object({ project: Type.Partial(Type.Object(attributes)) })
const Params = Type.Object({ project_id: Type.String() })

export function projectRoutes(app: ApiServer, context: IdentityContext): void {
  const { db, settings } = context

  async function find(id: string): Promise<ProjectRow> {
    const row = await db.selectFrom('identity_projects').selectAll().where('id', '=', id).executeTakeFirst()
    if (row === undefined) throw couldNotFind('project', id)
    return row
  }

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v3/projects',
    handler: async (request) => {
      const { scope } = callerOf(request)
      const own = scope.kind === 'domain' ? scope.domain.id : undefined
      authorize(request, 'identity:list_projects', { read: true, domainId: own })
      const rows = flag(request, 'is_domain')
        ? []
        : await db.selectFrom('identity_projects').selectAll().orderBy('name').execute()
      const visible = own === undefined ? rows : rows.filter((row) => row.domain_id === own)
      const wanted = queryValue(request, 'tags')?.split(',') ?? []
      const views = visible
        .map((row) => projectView(request, settings, row))
        .filter((view) => wanted.every((tag) => view.tags.includes(tag)))
      const names = ['domain_id', 'enabled', 'name', 'parent_id'] as const
      return collection(request, settings, 'projects', filtered(request, views, names))
    },
  })

  app.post('/v3/projects', { schema: { body: Create } }, async (request, reply) => {
    authorize(request, 'identity:create_project')
    const { project } = request.body
    if (project.is_domain === true) {
      throw new Unsupported('A project that acts as a domain is made with POST /v3/domains.')
    }
    const { scope } = callerOf(request)
    const parent =
      project.parent_id == null
        ? undefined
        : await db
            .selectFrom('identity_projects')
            .select('domain_id')
            .where('id', '=', project.parent_id)
            .executeTakeFirst()
    const implied =
      scope.kind === 'domain'
        ? scope.domain.id
        : scope.kind === 'project'
          ? scope.project.domain.id
          : 'default'
    const domainId = project.domain_id ?? parent?.domain_id ?? implied
    const domain = await db
      .selectFrom('identity_domains')
      .select('id')
      .where('id', '=', domainId)
      .executeTakeFirst()
    if (domain === undefined) throw new Invalid(`Could not find domain: ${domainId}.`)
    const parentId = project.parent_id ?? domainId
    if (parentId !== domainId && parent === undefined) {
      throw new Invalid(`Could not find project: ${parentId}.`)
    }
    if (parent !== undefined && parent.domain_id !== domainId) {
      throw new Invalid('A project must be in the same domain as its parent.')
    }
    const row: ProjectRow = {
      id: newId(),
      name: project.name,
      domain_id: domainId,
      parent_id: parentId,
      description: project.description ?? '',
      enabled: asFlag(project.enabled, true),
      tags: JSON.stringify(project.tags ?? []),
      extra: extraOf(project, known),
    }
    try {
      await db.insertInto('identity_projects').values(row).execute()
    } catch (error) {
      if (isUniqueViolation(error)) throw duplicate('project', row.name, ` at domain ID ${domainId}`)
      throw error
    }
    reply.code(201)
    return { project: projectView(request, settings, row) }
  })

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v3/projects/:project_id',
    schema: { params: Params },
    handler: async (request) => {
      const { project_id: id } = request.params
      const row = await find(id).catch((error: unknown) => {
        authorize(request, 'identity:get_project') // only an admin is told that there is none
        throw error
      })
      authorize(request, 'identity:get_project', { read: true, domainId: row.domain_id, projectId: id })
      return { project: projectView(request, settings, row) }
    },
  })

  app.patch('/v3/projects/:project_id', { schema: { params: Params, body: Update } }, async (request) => {
    authorize(request, 'identity:update_project')
    const before = await find(request.params.project_id)
    const { project } = request.body
    if ((project.domain_id ?? before.domain_id) !== before.domain_id) {
      throw new Invalid('Cannot change the domain of a project.')
    }
    if ((project.parent_id ?? before.parent_id) !== before.parent_id) {
      throw new Forbidden('Update of `parent_id` is not allowed.')
    }
    const row: ProjectRow = {
      ...before,
      name: project.name ?? before.name,
      description: project.description ?? before.description,
      enabled: asFlag(project.enabled, before.enabled === 1),
      tags: project.tags === undefined ? before.tags : JSON.stringify(project.tags),
      extra: extraOf(project, known, before.extra),
    }
    try {
      await db.transaction().execute(async (transaction) => {
        await transaction.updateTable('identity_projects').set(row).where('id', '=', row.id).execute()
        if (row.enabled === 0) await revokeTokensOf(transaction, { project: row.id })
      })
    } catch (error) {
      if (isUniqueViolation(error)) throw duplicate('project', row.name, ` at domain ID ${row.domain_id}`)
      throw error
    }
    context.cache.clear()
    return { project: projectView(request, settings, row) }
  })

  app.delete('/v3/projects/:project_id', { schema: { params: Params } }, async (request, reply) => {
    authorize(request, 'identity:delete_project')
    const { id } = await find(request.params.project_id)
    await db.transaction().execute(async (transaction) => {
      const child = await transaction
        .selectFrom('identity_projects')
        .select('id')
        .where('parent_id', '=', id)
        .executeTakeFirst()
      if (child !== undefined) {
        throw new Forbidden(
          `Cannot delete the project ${id} since it is not a leaf in the hierarchy. Delete its children first.`,
        )
      }
      await revokeTokensOf(transaction, { project: id })
      await transaction
        .deleteFrom('identity_assignments')
        .where('target_type', '=', 'project')
        .where('target_id', '=', id)
        .execute()
      await transaction.deleteFrom('identity_application_credentials').where('project_id', '=', id).execute()
      await transaction
        .updateTable('identity_users')
        .set({ default_project_id: null })
        .where('default_project_id', '=', id)
        .execute()
      await transaction.deleteFrom('identity_projects').where('id', '=', id).execute()
    })
    context.cache.clear()
    return reply.code(204).send()
  })
}
