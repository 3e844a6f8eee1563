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
 * The different keys and values of volumes' metadata, in order. Reads the index from one key to the next, and from one
 * value to the next, so that it costs what it finds and not what there is.
 */
export async function metadataPairs(
  db: BlockDb,
  { projectId }: Pick<Scope, 'projectId'>,
): Promise<readonly { key: string; value: string }[]> {
  const among =
    projectId === undefined
      ? sql`volume_pairs where kind = 'metadata'`
      : sql`volume_pairs where owner_id = ${projectId} and kind = 'metadata'`
  const { rows } = await sql<{ key: string; value: string }>`
    with recursive keys (k) as (
      select min(pair_key) from ${among}
      union all
      select (select min(pair_key) from ${among} and pair_key > keys.k) from keys where keys.k is not null
    ), pairs (k, v) as (
      select keys.k, (select min(pair_value) from ${among} and pair_key = keys.k) from keys
      where keys.k is not null
      union all
      select pairs.k, (
        select min(pair_value) from ${among} and pair_key = pairs.k and pair_value > pairs.v
      ) from pairs where pairs.v is not null
    )
    select k as key, v as value from pairs where v is not null order by k, v`.execute(db)
  return rows
}
