import { Invalid } from '../../kernel/errors.ts'
import { last, type Query } from '../images/filters.ts'
import { parseLimit } from '../images/paging.ts'

interface Named {
  readonly name: string
  readonly created_at: string
  readonly updated_at: string
}

const sortKeys = ['name', 'created_at', 'updated_at'] as const

/**
 * A page of the parts of one namespace: those are few, and ordered in memory.
 * @throws Invalid for a wrong limit, order, or a marker that is none of them
 */
export function pageOf<Row extends Named>(
  rows: readonly Row[],
  query: Query,
  settings: { pageDefault: number; pageMax: number },
): readonly Row[] {
  const limit = parseLimit(query, settings)
  const key = sortKeyOf(last(query['sort_key']))
  const sign = sortSignOf(last(query['sort_dir']))
  const sorted = [...rows].sort((a, b) => sign * (compare(a[key], b[key]) || compare(a.name, b.name)))
  const marker = last(query['marker'])
  let start = 0
  if (marker !== undefined) {
    const index = sorted.findIndex((row) => row.name === marker)
    if (index < 0) throw new Invalid(`Invalid marker: there is no ${marker} in the namespace.`)
    start = index + 1
  }
  return sorted.slice(start, start + limit)
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

function sortKeyOf(text: string | undefined): (typeof sortKeys)[number] {
  if (text === undefined) return 'created_at'
  const found = sortKeys.find((key) => key === text)
  if (found === undefined) {
    throw new Invalid(`Invalid sort key: ${text}. It must be one of the following: ${sortKeys.join(', ')}.`)
  }
  return found
}

/** Newest first, unless asked otherwise. */
function sortSignOf(text: string | undefined): 1 | -1 {
  if (text !== undefined && text !== 'asc' && text !== 'desc')
    throw new Invalid(`Invalid sort direction: ${text}`)
  return text === 'asc' ? 1 : -1
}
