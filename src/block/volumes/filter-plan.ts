import { type SqlBool, sql } from 'kysely'
import type { Block } from '../context.ts'
import { allOf, type Condition } from '../listing.ts'
import type { Scope } from './totals.ts'

/** Up to so many volumes are looked up and sorted; where more match, a page is found soon along the order of the list. */
const fewVolumes = 1_000

/**
 * Filters as SQLite is to evaluate them, which has no statistics to plan by: it would sort all that match a common one,
 * or walk through all volumes in order for a rare one. PostgreSQL decides for itself.
 */
export async function plannedFilters(
  { db, engine }: Pick<Block, 'db' | 'engine'>,
  { projectId }: Scope,
  filters: readonly Condition[],
): Promise<readonly Condition[]> {
  if (engine !== 'sqlite' || filters.length === 0) return filters
  const scope = projectId === undefined ? [] : [sql<SqlBool>`project_id = ${projectId}`]
  const found = sql`select id from volumes where ${allOf([...scope, ...filters])} limit ${fewVolumes}`
  const { rows } = await sql<{ count: number }>`select count(*) as count from (${found}) as found`.execute(db)
  // a unary plus keeps a condition from choosing the index
  const passive = filters.map((filter) => sql<SqlBool>`+(${filter})`)
  return Number(rows[0]?.count) === fewVolumes ? passive : [...passive, sql<SqlBool>`id in (${found})`]
}
