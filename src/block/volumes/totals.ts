import { type SqlBool, sql } from 'kysely'
import type { BlockDb } from '../context.ts'
import { allOf, type Condition } from '../listing.ts'

/** Whose volumes are listed or counted. */
export interface Scope {
  /** Undefined for those of all projects. */
  readonly projectId: string | undefined
  /** Whether the targets of migrations are among them. */
  readonly withTargets: boolean
}

/** How many volumes there are, and their GiB, by the totals that the database keeps. */
export async function volumeTotals(
  db: BlockDb,
  { projectId, withTargets }: Scope,
): Promise<{ count: number; sizeGib: number }> {
  const conditions: Condition[] = []
  if (projectId !== undefined) conditions.push(sql<SqlBool>`project_id = ${projectId}`)
  if (!withTargets) conditions.push(sql<SqlBool>`is_target = 0`)
  const { rows } = await sql<{ count: number | null; size: number | null }>`
    select sum(volumes) as count, sum(size_gib) as size from volume_totals
    where ${allOf(conditions)}`.execute(db)
  return { count: Number(rows[0]?.count ?? 0), sizeGib: Number(rows[0]?.size ?? 0) }
}

/**
 * The different keys and values of volumes' metadata, in order. Reads the index from one pair to the next, so that it
 * costs what it finds and not what there is.
 */
export async function metadataPairs(
  db: BlockDb,
  { projectId }: Pick<Scope, 'projectId'>,
): Promise<readonly { key: string; value: string }[]> {
  const scope =
    projectId === undefined ? sql`kind = 'metadata'` : sql`owner_id = ${projectId} and kind = 'metadata'`
  const order = sql`order by pair_key, pair_value limit 1`
  const next = (column: string) => sql`
    (select ${sql.ref(column)} from volume_pairs
      where ${scope} and (pair_key, pair_value) > (found.k, found.v) ${order})`
  const { rows } = await sql<{ key: string; value: string }>`
    with recursive found (k, v) as (
      select * from (select pair_key, pair_value from volume_pairs where ${scope} ${order}) as first_pair
      union all
      select ${next('pair_key')}, ${next('pair_value')} from found where found.k is not null
    )
    select k as key, v as value from found where k is not null`.execute(db)
  return rows
}
