import { type SqlBool, sql } from 'kysely'
import type { Block } from '../context.ts'
import { allOf, type Condition } from '../listing.ts'

/** Up to so many volumes are looked up and sorted; where more match, a page is found soon along the order of the list. */
const fewVolumes = 1_000

/**
 * The conditions of a list, as SQLite is to evaluate them, which has no statistics to plan by: it would sort all that
 * match a common filter, or walk through all volumes in order for a rare one. PostgreSQL decides for itself.
 * @param scope whose volumes are listed @param filters which of them
 */
export async function plannedConditions(
  { db, engine }: Pick<Block, 'db' | 'engine'>,
  scope: readonly Condition[],
  filters: readonly Condition[],
): Promise<readonly Condition[]> {
  const all = [...scope, ...filters]
  if (engine !== 'sqlite' || filters.length === 0) return all
  const found = sql`select id from volumes where ${allOf(all)} limit ${fewVolumes}`
  const { rows } = await sql<{ count: number }>`select count(*) as count from (${found}) as found`.execute(db)
  // a unary plus keeps a condition from choosing the index
  const passive = (conditions: readonly Condition[]) =>
    conditions.map((condition) => sql<SqlBool>`+(${condition})`)
  if (Number(rows[0]?.count) === fewVolumes) return [...scope, ...passive(filters)]
  return [...passive(all), sql<SqlBool>`id in (${found})`]
}
