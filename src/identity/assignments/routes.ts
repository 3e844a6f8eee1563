import type { FastifyRequest } from 'fastify'
import { Invalid } from '../../kernel/errors.ts'
import type { ApiServer } from '../../kernel/http/api-server.ts'
import type { IdentityContext } from '../context.ts'
import { baseUrl, collection, flag, queryValue } from '../links.ts'
import { authorize, callerOf } from '../policy.ts'
import { effectiveAssignments, type ListedAssignment } from './list.ts'

interface Names {
  readonly name: string
  readonly domain?: { readonly id: string; readonly name: string }
}

/** `GET /v3/role_assignments`, with its filters. @see keystone/api/role_assignments.py */
export function assignmentRoutes(app: ApiServer, context: IdentityContext): void {
  const { db, settings } = context

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v3/role_assignments',
    handler: async (request) => {
      const { scope } = callerOf(request)
      const own = scope.kind === 'domain' ? scope.domain.id : undefined
      authorize(request, 'identity:list_role_assignments', { read: true, domainId: own })
      checkFilters(request)
      const all: readonly ListedAssignment[] = flag(request, 'effective')
        ? await effectiveAssignments(db)
        : await db.selectFrom('identity_assignments').selectAll().execute()
      const projectDomains = new Map(
        (await db.selectFrom('identity_projects').select(['id', 'domain_id']).execute()).map((row) => [
          row.id,
          row.domain_id,
        ]),
      )
      const visible = all
        .filter((row) => matches(request, row))
        .filter(
          (row) => own === undefined || own === row.target_id || own === projectDomains.get(row.target_id),
        )
      const names = flag(request, 'include_names') ? await namesOf() : undefined
      return collection(
        request,
        settings,
        'role_assignments',
        visible.map((row) => view(request, row, names)),
      )
    },
  })

  /** Names of everything by id. */
  async function namesOf(): Promise<ReadonlyMap<string, Names>> {
    const domains = await db.selectFrom('identity_domains').select(['id', 'name']).execute()
    const byId = new Map<string, Names>(domains.map((row) => [row.id, { name: row.name }]))
    const domainNames = new Map(domains.map((row) => [row.id, row.name]))
    for (const table of [
      'identity_projects',
      'identity_users',
      'identity_groups',
      'identity_roles',
    ] as const) {
      for (const row of await db.selectFrom(table).select(['id', 'name', 'domain_id']).execute()) {
        const domain = { id: row.domain_id, name: domainNames.get(row.domain_id) ?? '' }
        byId.set(row.id, row.domain_id === '' ? { name: row.name } : { name: row.name, domain })
      }
    }
    return byId
  }

  function view(
    request: FastifyRequest,
    row: ListedAssignment,
    names: ReadonlyMap<string, Names> | undefined,
  ) {
    const named = (id: string) => ({ id, ...names?.get(id) })
    const inherited = row.inherited === 1 || row.viaTarget !== undefined
    const from = row.viaTarget ?? { type: row.target_type, id: row.target_id }
    const target = from.type === 'system' ? 'system' : `${from.type}s/${from.id}`
    const actor = row.viaGroup === undefined ? `${row.actor_type}s/${row.actor_id}` : `groups/${row.viaGroup}`
    const path = `${target}/${actor}/roles/${row.viaRole ?? row.role_id}`
    const base = `${baseUrl(request, settings)}/v3`
    return {
      scope: {
        ...(row.target_type === 'system'
          ? { system: { all: true } }
          : { [row.target_type]: named(row.target_id) }),
        ...(inherited && { 'OS-INHERIT:inherited_to': 'projects' }),
      },
      [row.actor_type]: named(row.actor_id),
      role: named(row.role_id),
      links: {
        assignment: inherited ? `${base}/OS-INHERIT/${path}/inherited_to_projects` : `${base}/${path}`,
        ...(row.viaGroup !== undefined && {
          membership: `${base}/groups/${row.viaGroup}/users/${row.actor_id}`,
        }),
        ...(row.viaRole !== undefined && {
          prior_role: `${base}/prior_role/${row.viaRole}/implies/${row.role_id}`,
        }),
      },
    }
  }
}

function checkFilters(request: FastifyRequest): void {
  const given = (name: string) => queryValue(request, name) !== undefined
  if (given('scope.domain.id') && given('scope.project.id')) {
    throw new Invalid('Specify a domain or project, not both')
  }
  if (given('scope.system') && given('scope.domain.id')) {
    throw new Invalid('Specify system or domain, not both')
  }
  if (given('scope.system') && given('scope.project.id')) {
    throw new Invalid('Specify system or project, not both')
  }
  if (given('user.id') && given('group.id')) throw new Invalid('Specify a user or group, not both')
  if (flag(request, 'effective') && given('group.id')) {
    throw new Invalid('Combining effective and group filter will always result in an empty list.')
  }
}

function matches(request: FastifyRequest, row: ListedAssignment): boolean {
  const wanted = (name: string, value: string) => {
    const given = queryValue(request, name)
    return given === undefined || given === value
  }
  const on = (type: string) => (row.target_type === type ? row.target_id : '')
  const by = (type: string) => (row.actor_type === type ? row.actor_id : '')
  const inherited = row.inherited === 1 || row.viaTarget !== undefined
  return (
    wanted('user.id', by('user')) &&
    wanted('group.id', by('group')) &&
    wanted('role.id', row.role_id) &&
    wanted('scope.project.id', on('project')) &&
    wanted('scope.domain.id', on('domain')) &&
    (queryValue(request, 'scope.system') === undefined || row.target_type === 'system') &&
    wanted('scope.OS-INHERIT:inherited_to', inherited ? 'projects' : '')
  )
}
