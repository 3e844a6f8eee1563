import { type SqlBool, sql } from 'kysely'
import type { Block } from '../context.ts'
import { type Along, allOf, type Condition, isByCreation, type Paging } from '../listing.ts'
import { parsePythonStringMap } from '../python-literal.ts'
import { pairColumns, pairsCondition } from './filters.ts'
import type { Scope } from './totals.ts'

/** Keys of `admin_metadata`, which count as metadata too: a volume may have them there. */
const adminKeys = ['readonly', 'attached_mode']
/** Up to so many volumes are looked up one by one; of more, a page is found soon in any order. */
const fewVolumes = 2_000
/** The index holds so many characters of a value. */
const indexedCharacters = 255

type Filter = readonly [name: string, value: string]

/** How a list finds its rows by the index of pairs. */
export interface AlongPair {
  readonly along: Along
  /** The filter that the conditions stand for. */
  readonly filter: Filter
  readonly conditions: readonly Condition[]
}

/**
 * Looks for a filter by metadata, or by that of images, that the index of pairs answers: a page in the order of
 * creation is read along the index; for other orders a pair that few volumes have is looked up.
 * @returns undefined where the index would not help
 */
export async function alongPair(
  { db, engine }: Pick<Block, 'db' | 'engine'>,
  scope: Scope,
  filters: readonly Filter[],
  paging: Paging,
): Promise<AlongPair | undefined> {
  for (const filter of filters) {
    const [name, value] = filter
    if (name !== 'metadata' && name !== 'glance_metadata') continue
    const pairs = parsePythonStringMap(value) ?? new Map<string, string>()
    const pair = [...pairs].find(([key]) => name === 'glance_metadata' || !adminKeys.includes(key))
    if (pair === undefined) continue
    const indexed = pairIs(name === 'metadata' ? 'metadata' : 'image_metadata', pair, scope)
    if (!isByCreation(paging) && (await isCommon(db, indexed))) continue
    const others = new Map([...pairs].filter(([key, text]) => key !== pair[0] || isCutOff(text)))
    return {
      along: { source, columns: isByCreation(paging) ? { created_at: 'made_at', id: 'volume_id' } : {} },
      filter,
      conditions: [sql<SqlBool>`id = volume_id`, indexed, pairsCondition(engine, pairColumns[name], others)],
    }
  }
  return undefined
}

/** SQLite reads the tables of a cross join in this order. */
const source = sql`volume_pairs cross join volumes`

function pairIs(
  kind: 'metadata' | 'image_metadata',
  [key, value]: readonly [string, string],
  scope: Scope,
): Condition {
  const indexed = [...value].slice(0, indexedCharacters).join('')
  const pair = sql<SqlBool>`kind = ${kind} and pair_key = ${key} and pair_value = ${indexed}`
  return scope.projectId === undefined ? pair : sql<SqlBool>`${pair} and owner_id = ${scope.projectId}`
}

/** Whether the index may hold less than the whole value. */
function isCutOff(value: string): boolean {
  return value.length >= indexedCharacters
}

async function isCommon(db: Block['db'], pair: Condition): Promise<boolean> {
  const { rows } = await sql<{ count: number }>`
    select count(*) as count from (
      select 1 from volume_pairs where ${allOf([pair])} limit ${fewVolumes}
    ) as found`.execute(db)
  return Number(rows[0]?.count) === fewVolumes
}
