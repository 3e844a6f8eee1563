import { type RawBuilder, type SqlBool, sql } from 'kysely'
import { Invalid, NotFound } from '../kernel/errors.ts'
import type { Block, BlockDb } from './context.ts'
import type { BlockRequest } from './operation.ts'
import { allowedFilters } from './resource-filters.ts'
import { queryBoolean } from './validation.ts'

/** A condition on the rows of one table. */
export type Condition = RawBuilder<SqlBool>

/** How a column sorts: `required` ones are never null. */
export interface SortColumn {
  readonly column: string
  readonly kind: 'required' | 'text' | 'integer'
}

/** What a collection can be sorted by, by the name on the wire. */
export type SortColumns = Readonly<Record<string, SortColumn>>

interface SortBy extends SortColumn {
  readonly direction: 'asc' | 'desc'
}

/** Which page of a collection is asked for. */
export interface Paging {
  readonly limit: number
  readonly offset: number
  readonly marker: string | undefined
  readonly sort: readonly SortBy[]
}

/** Query parameters that are never filters. */
const pagingParameters = ['limit', 'marker', 'offset', 'sort', 'sort_key', 'sort_dir', 'all_tenants']

const createdAt: SortBy = { column: 'created_at', kind: 'required', direction: 'desc' }
const id: SortBy = { column: 'id', kind: 'required', direction: 'desc' }

/** @throws Invalid for values out of range @see block-storage-api specification 1.7, 1.8 */
export function readPaging(query: URLSearchParams, columns: SortColumns, maxLimit: number): Paging {
  const number = (name: string, fallback: number) => {
    const text = query.get(name)
    if (text === null) return fallback
    const value = Number(text)
    if (!/^\d+$/.test(text) || value > 2_147_483_647) {
      throw new Invalid(`${name} param must be a whole number that is not negative, not '${text}'`)
    }
    return value
  }
  return {
    limit: Math.min(number('limit', maxLimit), maxLimit),
    offset: number('offset', 0),
    marker: query.get('marker') ?? undefined,
    sort: readSort(query, columns),
  }
}

function readSort(query: URLSearchParams, columns: SortColumns): readonly SortBy[] {
  const sort = query.get('sort')
  const pair = query.get('sort_key') ?? query.get('sort_dir')
  if (sort !== null && pair !== null) {
    throw new Invalid(
      "The 'sort_key' and 'sort_dir' parameters are deprecated and cannot be used with the 'sort' parameter.",
    )
  }
  const wanted = sort ?? `${query.get('sort_key') ?? 'created_at'}:${query.get('sort_dir') ?? 'desc'}`
  const chosen = wanted.split(',').map((item): SortBy => {
    const [key = '', direction = 'desc'] = item.trim().split(':')
    const column = Object.hasOwn(columns, key) ? columns[key] : undefined
    if (column === undefined) throw new Invalid(`Sort key supplied is invalid: ${key}`)
    if (direction !== 'asc' && direction !== 'desc') {
      throw new Invalid(`Unknown sort direction, must be 'desc' or 'asc': ${direction}`)
    }
    return { ...column, direction }
  })
  const tieBreakers = [createdAt, id].filter((one) => !chosen.some((other) => other.column === one.column))
  const direction = chosen.at(-1)?.direction ?? 'desc'
  return [...chosen, ...tieBreakers.map((one) => ({ ...one, direction }))]
}

/** Nulls sort as the smallest value on both engines. */
function sortable({ column, kind }: SortColumn, along?: Along): RawBuilder<unknown> {
  const indexed = along?.columns[column]
  if (indexed !== undefined) return sql.ref(indexed)
  if (kind === 'required') return sql.ref(column)
  return kind === 'text' ? sql`coalesce(${sql.ref(column)}, '')` : sql`coalesce(${sql.ref(column)}, -1)`
}

/** Another table that is joined first, because it has an index of what is looked for in the order that is asked for. */
export interface Along {
  /** The join, in the order in which the tables are to be read; its rows are those of the listed table. */
  readonly source: RawBuilder<unknown>
  /** Its columns that equal those of the listed table, by the names there. */
  readonly columns: Readonly<Record<string, string>>
}

/** Whether a page is in the order of creation, as those are that ask for no other. */
export function isByCreation(paging: Paging): boolean {
  return paging.sort[0]?.column === 'created_at' && paging.sort[1]?.column === 'id'
}

/**
 * One page of a table's rows.
 * @param select what to select, `*` by default
 * @throws NotFound when the marker is not a row that the conditions allow
 */
export async function selectPage<Row>(
  db: BlockDb,
  from: { table: string; select?: RawBuilder<unknown>; what: string; along?: Along | undefined },
  conditions: readonly Condition[],
  paging: Paging,
): Promise<readonly Row[]> {
  const { sort } = paging
  const { along } = from
  const source = along?.source ?? sql.table(from.table)
  let where = allOf(conditions)
  if (paging.marker !== undefined) {
    const values = sql.join(sort.map((by, i) => sql`${sortable(by, along)} as ${sql.ref(`sort_${i}`)}`))
    const marked = await sql<Record<string, unknown>>`
      select ${values} from ${source} where ${where} and id = ${paging.marker}`.execute(db)
    const [marker] = marked.rows
    if (marker === undefined) throw new NotFound(`${from.what} ${paging.marker} could not be found.`)
    where = sql<SqlBool>`${where} and ${after(sort, marker, along)}`
  }
  if (paging.limit === 0) return []
  const order = sql.join(sort.map((by) => sql`${sortable(by, along)} ${sql.raw(by.direction)}`))
  const { rows } = await sql<Row>`
    select ${from.select ?? sql`*`} from ${source} where ${where}
    order by ${order} limit ${paging.limit} offset ${paging.offset}`.execute(db)
  return rows
}

function after(
  sort: readonly SortBy[],
  marker: Record<string, unknown>,
  along: Along | undefined,
): Condition {
  const [first] = sort
  if (first !== undefined && sort.every((by) => by.direction === first.direction)) {
    // compared as a whole, which both engines do by an index
    const columns = sql.join(sort.map((by) => sortable(by, along)))
    const values = sql.join(sort.map((_by, i) => sql`${marker[`sort_${i}`]}`))
    return sql<SqlBool>`(${columns}) ${sql.raw(first.direction === 'asc' ? '>' : '<')} (${values})`
  }
  const alternatives = sort.map((by, i) => {
    const equal = sort
      .slice(0, i)
      .map((other, j) => sql<SqlBool>`${sortable(other, along)} = ${marker[`sort_${j}`]}`)
    const beyond = sql<SqlBool>`${sortable(by, along)} ${sql.raw(by.direction === 'asc' ? '>' : '<')} ${marker[`sort_${i}`]}`
    return sql<SqlBool>`(${allOf([...equal, beyond])})`
  })
  return sql<SqlBool>`(${sql.join(alternatives, sql` or `)})`
}

export function allOf(conditions: readonly Condition[]): Condition {
  if (conditions.length === 0) return sql<SqlBool>`1 = 1`
  return sql<SqlBool>`${sql.join(conditions, sql` and `)}`
}

/** How many rows of a table, or of a join, match. */
export async function countRows(
  db: BlockDb,
  source: RawBuilder<unknown>,
  conditions: readonly Condition[],
): Promise<number> {
  const { rows } = await sql<{ count: number }>`
    select count(*) as count from ${source} where ${allOf(conditions)}`.execute(db)
  return Number(rows[0]?.count ?? 0)
}

/** Whether the listing covers all projects: only admins are ever given it, others are never refused. */
export function allTenants(request: BlockRequest): boolean {
  const text = request.query.get('all_tenants')
  if (text === null) return false
  const wanted = queryBoolean('all_tenants', text)
  return request.isAdmin && wanted
}

/** `with_count`, from 3.45 on. */
export function withCount(request: BlockRequest): boolean {
  const text = request.query.get('with_count')
  return request.minor >= 45 && text !== null && queryBoolean('with_count', text)
}

/**
 * The filters that apply.
 * @param resource as the file of filters names it, which decides from 3.31 on
 * @param builtIn what those who are not admins may filter by, where no file says so
 * @param switches parameters that are no filters, and allowed
 * @throws Invalid for another one, from 3.31 on; before, it is dropped
 * @see block-storage-api specification 1.9
 */
export function readFilters(
  { settings }: Pick<Block, 'settings'>,
  request: BlockRequest,
  resource: string,
  builtIn: readonly string[],
  switches: readonly string[] = [],
): readonly (readonly [string, string])[] {
  const ignored = request.minor >= 45 ? [...pagingParameters, 'with_count'] : pagingParameters
  const given = [...request.query].filter(([name]) => !ignored.includes(name))
  if (request.isAdmin) return given
  const listed = request.minor >= 31 ? allowedFilters(settings, resource, builtIn) : builtIn
  const isAllowed = (name: string) =>
    switches.includes(name) || listed.includes(name) || listed.includes(`${name}~`)
  const refused = given.map(([name]) => name).filter((name) => !isAllowed(name))
  if (refused.length > 0 && request.minor >= 31) {
    throw new Invalid(`Invalid filters ${refused.join(',')} are found in query options.`)
  }
  return given.filter(([name]) => isAllowed(name))
}

/** The value of a key in a JSON column, as text, on either engine. */
export function jsonText(
  engine: 'sqlite' | 'postgres',
  column: string,
  key: string,
): RawBuilder<string | null> {
  if (engine === 'postgres') return sql`(${sql.ref(column)}::jsonb ->> ${key}::text)`
  return sql`json_extract(${sql.ref(column)}, ${`$."${key.replaceAll('"', '')}"`})`
}

/** A text column equals a value; written as lists are sorted, so that both go by the same index. */
export function equals(column: string, value: string): Condition {
  if (value === '') return sql<SqlBool>`${sql.ref(column)} = ''`
  return sql<SqlBool>`coalesce(${sql.ref(column)}, '') = ${value}`
}

/** Nothing matches. */
export const never: Condition = sql<SqlBool>`1 = 0`

/** `column like '%text%'`, with the text's own wildcards taken literally. */
export function contains(column: string, text: string): Condition {
  const escaped = text.replace(/[\\%_]/g, (character) => `\\${character}`)
  return sql<SqlBool>`${sql.ref(column)} like ${`%${escaped}%`} escape '\\'`
}

/** The `…_links` of a page: the next one, when there may be one. */
export function nextLink(
  request: BlockRequest,
  path: string,
  page: { ids: readonly string[]; paging: Paging; count?: number | undefined },
): readonly { rel: string; href: string }[] | undefined {
  const last = page.ids.at(-1)
  if (last === undefined || page.paging.limit > (page.count ?? page.ids.length)) return undefined
  const query = new URLSearchParams(request.query)
  query.set('marker', last)
  return [{ rel: 'next', href: `${request.links.self(path)}?${query}` }]
}
