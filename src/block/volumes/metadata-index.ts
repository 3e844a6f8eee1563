import { type SqlBool, sql } from 'kysely'
import type { BlockDb } from '../context.ts'
import { type Along, allOf, type Condition, isByCreation, type Paging } from '../listing.ts'
import { parsePythonStringMap } from '../python-literal.ts'
import type { Scope } from './totals.ts'

/** Keys of `admin_metadata`, which count as metadata too: a volume may have them there. */
const adminKeys = ['readonly', 'attached_mode']
/** Up to so many volumes are looked up one by one; of more, a page is found soon in any order. */
const fewVolumes = 2_000

/**
 * How a list that is filtered by metadata finds its rows by the index of pairs, beside the condition that the filter
 * is: a page in the order of creation is read along the index; for other orders a pair that few volumes have is
 * looked up.
 * @param filter the filter's value, a Python dictionary
 * @returns undefined where the index would not help
 */
export async function alongMetadata(
  db: BlockDb,
  { projectId }: Scope,
  filter: string,
  paging: Paging,
): Promise<{ along: Along; conditions: readonly Condition[] } | undefined> {
  const pair = [...(parsePythonStringMap(filter) ?? [])].find(([key]) => !adminKeys.includes(key))
  if (pair === undefined) return undefined
  const [key, value] = pair
  const conditions: Condition[] = [
    sql<SqlBool>`kind = 'metadata' and pair_key = ${key} and pair_value = ${value}`,
  ]
  if (projectId !== undefined) conditions.push(sql<SqlBool>`owner_id = ${projectId}`)
  const joined = [sql<SqlBool>`id = volume_id`, ...conditions]
  if (isByCreation(paging)) {
    return { along: { source, columns: { created_at: 'made_at', id: 'volume_id' } }, conditions: joined }
  }
  const { rows } = await sql<{ count: number }>`
    select count(*) as count from (
      select 1 from volume_pairs where ${allOf(conditions)} limit ${fewVolumes}
    ) as found`.execute(db)
  if (Number(rows[0]?.count) === fewVolumes) return undefined
  return { along: { source, columns: {} }, conditions: joined }
}

/** SQLite reads the tables of a cross join in this order. */
const source = sql`volume_pairs cross join volumes`
