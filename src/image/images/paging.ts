import { Invalid } from '../../kernel/errors.ts'
import { last, listOf, type Query } from './filters.ts'

const sortKeys = [
  'name',
  'status',
  'container_format',
  'disk_format',
  'size',
  'id',
  'created_at',
  'updated_at',
] as const
export type SortKey = (typeof sortKeys)[number]

export interface SortTerm {
  readonly key: SortKey
  readonly direction: 'asc' | 'desc'
}

/** Columns that may be null: null counts as the smallest value. */
export const nullableSortKeys: ReadonlySet<SortKey> = new Set([
  'name',
  'container_format',
  'disk_format',
  'size',
])

/**
 * Reads the order of a list: `sort=key:dir,…`, or repeated `sort_key` and `sort_dir`. Ends with `created_at` and
 * `id`, so that the order is total.
 * @throws Invalid
 * @see image-api specification 1.9
 */
export function parseSort(query: Query): readonly SortTerm[] {
  const keys = listOf(query['sort_key'])
  const directions = listOf(query['sort_dir'])
  const sort = last(query['sort'])
  if (sort !== undefined && (keys.length > 0 || directions.length > 0)) {
    throw new Invalid('Old and new sorting syntax cannot be combined')
  }
  const terms: SortTerm[] = []
  if (sort !== undefined) {
    for (const item of sort.split(',')) {
      const [key = '', direction = 'desc', ...more] = item.trim().split(':')
      if (more.length > 0) throw new Invalid(`Invalid sort term: ${item}`)
      terms.push({ key: keyOf(key), direction: directionOf(direction) })
    }
  } else {
    if (directions.length > 1 && directions.length !== keys.length) {
      throw new Invalid('Number of sort dirs does not match the number of sort keys')
    }
    for (const [index, key] of keys.entries()) {
      terms.push({ key: keyOf(key), direction: directionOf(directions[index] ?? directions[0] ?? 'desc') })
    }
  }
  const fallback = directions.length === 1 ? directionOf(directions[0] ?? 'desc') : 'desc'
  for (const key of ['created_at', 'id'] as const) {
    if (!terms.some((term) => term.key === key)) terms.push({ key, direction: fallback })
  }
  return terms
}

function keyOf(text: string): SortKey {
  const found = sortKeys.find((key) => key === text)
  if (found === undefined) {
    throw new Invalid(`Invalid sort key: ${text}. It must be one of the following: ${sortKeys.join(', ')}.`)
  }
  return found
}

function directionOf(text: string): 'asc' | 'desc' {
  if (text !== 'asc' && text !== 'desc') throw new Invalid(`Invalid sort direction: ${text}`)
  return text
}

/** Items of a page. @throws Invalid */
export function parseLimit(query: Query, settings: { pageDefault: number; pageMax: number }): number {
  const text = last(query['limit'])
  if (text === undefined) return Math.min(settings.pageDefault, settings.pageMax)
  const limit = Number(text)
  if (!/^[+-]?\d+$/.test(text) || limit < 0) throw new Invalid('limit param must be a non-negative integer')
  return Math.min(limit, settings.pageMax)
}

/** The query again, with another marker or without one; repeated parameters stay repeated. */
export function pagePath(path: string, query: Query, marker: string | undefined): string {
  const parameters = new URLSearchParams()
  for (const [name, given] of Object.entries(query)) {
    if (name !== 'marker') for (const value of listOf(given)) parameters.append(name, value)
  }
  if (marker !== undefined) parameters.append('marker', marker)
  const text = parameters.toString()
  return text === '' ? path : `${path}?${text}`
}
