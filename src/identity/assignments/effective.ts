import type { Db } from '../../kernel/db/database.ts'
import type { IdentityTables, ProjectRow } from '../db/tables.ts'
import type { Named } from '../tokens/details.ts'

type IdentityDb = Db<IdentityTables>

/** How deep projects may be nested; upstream's `max_project_tree_depth` is 5. */
const maxDepth = 8

/** What a role is had on. */
export type Target =
  | { readonly kind: 'project'; readonly project: Pick<ProjectRow, 'id' | 'domain_id' | 'parent_id'> }
  | { readonly kind: 'domain'; readonly id: string }
  | { readonly kind: 'system' }

/**
 * The roles that a user has on a target: assigned to the user or one of the user's groups, on the target itself
 * or inherited from above, and all that these imply.
 */
export async function effectiveRoles(
  db: IdentityDb,
  userId: string,
  target: Target,
): Promise<readonly Named[]> {
  const above = target.kind === 'project' ? await inheritedFrom(db, target.project) : []
  const targetId =
    target.kind === 'project' ? target.project.id : target.kind === 'domain' ? target.id : 'all'
  const assigned = await assignmentsOf(db, userId)
    .select('role_id')
    .where((is) =>
      is.or([
        is.and([
          is('target_type', '=', target.kind),
          is('target_id', '=', targetId),
          is('inherited', '=', 0),
        ]),
        ...above.map((from) =>
          is.and([is('target_type', '=', from.kind), is('target_id', '=', from.id), is('inherited', '=', 1)]),
        ),
      ]),
    )
    .execute()
  if (assigned.length === 0) return []
  return withImplied(
    db,
    assigned.map((row) => row.role_id),
  )
}

/** These roles and those they imply, directly or through others, each once. */
export async function withImplied(db: IdentityDb, roleIds: readonly string[]): Promise<readonly Named[]> {
  const implications = await db.selectFrom('identity_implied_roles').selectAll().execute()
  const found = new Set(roleIds)
  for (const id of found) {
    // a set is iterated in order of insertion, and so also over what is added meanwhile
    for (const implication of implications) {
      if (implication.prior_role_id === id) found.add(implication.implied_role_id)
    }
  }
  if (found.size === 0) return []
  return db
    .selectFrom('identity_roles')
    .select(['id', 'name'])
    .where('id', 'in', [...found])
    .orderBy('name')
    .execute()
}

/** Projects on which a user has any role, disabled ones included. */
export async function projectsOf(db: IdentityDb, userId: string): Promise<readonly ProjectRow[]> {
  const assigned = await assignmentsOf(db, userId)
    .select(['target_type', 'target_id', 'inherited'])
    .where('target_type', '!=', 'system')
    .execute()
  if (assigned.length === 0) return []
  const direct = assigned.filter((row) => row.target_type === 'project' && row.inherited === 0)
  const domains = assigned.filter((row) => row.target_type === 'domain' && row.inherited === 1)
  const below = assigned.filter((row) => row.target_type === 'project' && row.inherited === 1)
  const projects = await db.selectFrom('identity_projects').selectAll().orderBy('name').execute()
  const byId = new Map(projects.map((project) => [project.id, project]))
  const directIds = new Set(direct.map((row) => row.target_id))
  const domainIds = new Set(domains.map((row) => row.target_id))
  const aboveIds = new Set(below.map((row) => row.target_id))
  const hasAncestor = (project: ProjectRow): boolean => {
    let parent = byId.get(project.parent_id)
    for (let depth = 0; parent !== undefined && depth < maxDepth; depth++) {
      if (aboveIds.has(parent.id)) return true
      parent = byId.get(parent.parent_id)
    }
    return false
  }
  return projects.filter(
    (project) => directIds.has(project.id) || domainIds.has(project.domain_id) || hasAncestor(project),
  )
}

/** Ids of the domains on which a user has any role. */
export async function domainIdsOf(db: IdentityDb, userId: string): Promise<readonly string[]> {
  const rows = await assignmentsOf(db, userId)
    .select('target_id')
    .distinct()
    .where('target_type', '=', 'domain')
    .where('inherited', '=', 0)
    .execute()
  return rows.map((row) => row.target_id)
}

function assignmentsOf(db: IdentityDb, userId: string) {
  const groups = db.selectFrom('identity_group_members').select('group_id').where('user_id', '=', userId)
  return db
    .selectFrom('identity_assignments')
    .where((is) =>
      is.or([
        is.and([is('actor_type', '=', 'user'), is('actor_id', '=', userId)]),
        is.and([is('actor_type', '=', 'group'), is('actor_id', 'in', groups)]),
      ]),
    )
}

/** Where a project's inherited roles come from: its domain, and the projects above it. */
async function inheritedFrom(
  db: IdentityDb,
  project: Pick<ProjectRow, 'domain_id' | 'parent_id'>,
): Promise<readonly { kind: 'project' | 'domain'; id: string }[]> {
  const above: { kind: 'project' | 'domain'; id: string }[] = [{ kind: 'domain', id: project.domain_id }]
  let parentId = project.parent_id
  for (let depth = 0; parentId !== project.domain_id && depth < maxDepth; depth++) {
    above.push({ kind: 'project', id: parentId })
    const parent = await db
      .selectFrom('identity_projects')
      .select('parent_id')
      .where('id', '=', parentId)
      .executeTakeFirst()
    if (parent === undefined) break
    parentId = parent.parent_id
  }
  return above
}
