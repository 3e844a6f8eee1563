import type { VersionTraits } from '../../versions.ts'
import { validationFailed } from '../errors.ts'
import { type Attributes, compareValues, type Filter, parseFilter } from './filter.ts'

export const defaultPageSize = 100
export const maximumPageSize = 1000

/** Where a page lies in the whole list. */
export interface ListPage {
  /** Items after the filter. */
  readonly total: number
  readonly offset: number
  /** Page size that was applied; never 0, for clients step by it. */
  readonly limit: number
}

/** Query parameters that are no filter by equality. */
const reserved = new Set([
  ...['filter', 'sort', 'limit', 'offset', 'tenant', 'force', 'group_by', 'group_filter'],
  ...['since', 'from', 'to', 'ival', 'remote_provider_uuid'],
])

interface ListOptions {
  readonly filter: Filter | undefined
  readonly sort: string | undefined
  readonly descending: boolean
  readonly limit: number
  readonly offset: number
}

interface ListRequest {
  readonly query: Readonly<Record<string, string>>
  readonly traits: VersionTraits
}

function listOptions({ query, traits }: ListRequest): ListOptions {
  const equalities = Object.entries(query)
    .filter(([name, value]) => !reserved.has(name) && value !== '')
    .map(([name, value]) => parseFilter(`eq(${name},${value})`))
  const filters = query['filter'] ? [parseFilter(query['filter']), ...equalities] : equalities
  const limit = readCount(query, 'limit', maximumPageSize)
  const sort = query['sort']
  return {
    filter: combine(filters),
    sort: sort?.replace(/^[-+ ]/, '') || undefined,
    descending: sort?.startsWith('-') ?? false,
    limit: limit || (traits.paging ? defaultPageSize : Number.MAX_SAFE_INTEGER),
    offset: readCount(query, 'offset', Number.MAX_SAFE_INTEGER),
  }
}

function combine(filters: readonly Filter[]): Filter | undefined {
  if (filters.length === 0) return undefined
  return {
    names: new Set(filters.flatMap((filter) => [...filter.names])),
    matches: (attributes) => filters.every((filter) => filter.matches(attributes)),
  }
}

function readCount(query: Readonly<Record<string, string>>, name: string, maximum: number): number {
  const text = query[name]
  if (text === undefined || text === '') return 0
  const count = Number(text)
  if (!Number.isInteger(count) || count < 0) throw validationFailed(`${name} has to be a whole number`)
  return Math.min(count, maximum)
}

/** Filters, sorts and pages items that are already at hand. */
export function listOf<Item extends object>(
  request: ListRequest,
  items: readonly Item[],
): { items: readonly Item[]; page: ListPage } {
  const options = listOptions(request)
  const chosen = choose(items, options)
  return { items: slice(chosen, options), page: page(chosen.length, options) }
}

/** Rows of a table that are dear to complete into what clients see. */
export interface LazyRows<Row extends object, View extends object> {
  /** Attributes that are spelt alike in row and view. */
  readonly columns: readonly string[]
  count(): number
  /** In the default order. */
  read(limit: number, offset: number): readonly Row[]
  complete(rows: readonly Row[]): readonly View[]
}

/**
 * As `listOf`: only the page is completed, unless filter or sort ask for more than the `columns`; and only the page
 * is read, when there is neither.
 */
export function listLazily<Row extends object, View extends object>(
  request: ListRequest,
  rows: LazyRows<Row, View>,
): { items: readonly View[]; page: ListPage } {
  const options = listOptions(request)
  const { filter, sort, limit, offset } = options
  if (filter === undefined && sort === undefined) {
    return { items: rows.complete(rows.read(limit, offset)), page: page(rows.count(), options) }
  }
  const all = rows.read(Number.MAX_SAFE_INTEGER, 0)
  const names = [...(filter?.names ?? []), ...(sort === undefined ? [] : [sort])]
  if (names.every((name) => rows.columns.includes(name))) {
    const chosen = choose(all, options)
    return { items: rows.complete(slice(chosen, options)), page: page(chosen.length, options) }
  }
  const chosen = choose(rows.complete(all), options)
  return { items: slice(chosen, options), page: page(chosen.length, options) }
}

function choose<Item extends object>(items: readonly Item[], options: ListOptions): readonly Item[] {
  const { filter, sort } = options
  const chosen = filter ? items.filter((item) => filter.matches(attributesOf(item))) : items
  if (sort === undefined) return chosen
  const sign = options.descending ? -1 : 1
  return [...chosen].sort(
    (a, b) => sign * compareValues(attributesOf(a)(sort) ?? '', attributesOf(b)(sort) ?? ''),
  )
}

function attributesOf(item: object): Attributes {
  return (name) => {
    let value: unknown = item
    for (const part of name.split('.')) {
      if (typeof value !== 'object' || value === null || !Object.hasOwn(value, part)) return undefined
      // Only own attributes are read, and as unknown.
      value = (value as Record<string, unknown>)[part]
    }
    return value
  }
}

function slice<Item>(items: readonly Item[], { limit, offset }: ListOptions): readonly Item[] {
  return limit >= items.length && offset === 0 ? items : items.slice(offset, offset + limit)
}

function page(total: number, { limit, offset }: ListOptions): ListPage {
  return { total, offset, limit }
}
