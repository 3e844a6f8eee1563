import type { Db } from '../../kernel/db/database.ts'
import type { AssignmentRow, IdentityTables } from '../db/tables.ts'

/** An assignment, and where it comes from when it is not itself in the table. */
export interface ListedAssignment extends AssignmentRow {
  readonly viaGroup?: string
  readonly viaRole?: string
  /** The target whose inherited assignment this is. */
  readonly viaTarget?: { readonly type: 'project' | 'domain'; readonly id: string }
}

/**
 * What every user can really do: group assignments become those of the members, inherited ones those of the
 * projects below, and each role brings those that it implies.
 */
export async function effectiveAssignments(db: Db<IdentityTables>): Promise<readonly ListedAssignment[]> {
  const assignments = await db.selectFrom('identity_assignments').selectAll().execute()
  const members = await db.selectFrom('identity_group_members').selectAll().execute()
  const implications = await db.selectFrom('identity_implied_roles').selectAll().execute()
  const projects = await db.selectFrom('identity_projects').select(['id', 'domain_id', 'parent_id']).execute()
  const parentOf = new Map(projects.map((project) => [project.id, project.parent_id]))

  const isBelow = (projectId: string, ancestorId: string): boolean => {
    let parent = parentOf.get(projectId)
    for (let depth = 0; parent !== undefined && depth < 8; depth++) {
      if (parent === ancestorId) return true
      parent = parentOf.get(parent)
    }
    return false
  }

  const ofUsers = assignments.flatMap((row): ListedAssignment[] =>
    row.actor_type === 'user'
      ? [row]
      : members
          .filter((member) => member.group_id === row.actor_id)
          .map((member) => ({
            ...row,
            actor_type: 'user',
            actor_id: member.user_id,
            viaGroup: row.actor_id,
          })),
  )
  const onTargets = ofUsers.flatMap((row): ListedAssignment[] => {
    if (row.inherited === 0 || row.target_type === 'system') return [row]
    const { target_type: type, target_id: id } = row
    return projects
      .filter((project) => (type === 'domain' ? project.domain_id === id : isBelow(project.id, id)))
      .map((project) => ({
        ...row,
        target_type: 'project',
        target_id: project.id,
        inherited: 0,
        viaTarget: { type, id },
      }))
  })
  return onTargets.flatMap((row) => {
    const found: ListedAssignment[] = [row]
    const seen = new Set([row.role_id])
    for (const item of found) {
      for (const rule of implications) {
        if (rule.prior_role_id !== item.role_id || seen.has(rule.implied_role_id)) continue
        seen.add(rule.implied_role_id)
        found.push({ ...row, role_id: rule.implied_role_id, viaRole: item.role_id })
      }
    }
    return found
  })
}
