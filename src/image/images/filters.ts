import { Invalid } from '../../kernel/errors.ts'
import { refuseSurrogates } from '../schemas/image-schemas.ts'

/** Query parameters as they came, repetitions included. */
export type Query = Readonly<Record<string, string | readonly string[] | undefined>>

export type Comparison = '=' | '!=' | '<' | '<=' | '>' | '>='

/** One condition on a column of the image. */
export type ColumnFilter =
  | { readonly column: TextColumn; readonly values: readonly string[] }
  | { readonly column: NumberColumn; readonly comparison: '=' | '>=' | '<='; readonly value: number }
  | { readonly column: 'created_at' | 'updated_at'; readonly comparison: Comparison; readonly value: string }
  | { readonly column: 'protected'; readonly value: 0 | 1 }

export type Visibility = 'public' | 'private' | 'shared' | 'community' | 'all'
export type MemberStatus = 'pending' | 'accepted' | 'rejected' | 'all'

export interface Filters {
  readonly columns: readonly ColumnFilter[]
  readonly hidden: boolean
  readonly visibility: Visibility | undefined
  readonly memberStatus: MemberStatus
  readonly tags: readonly string[]
  readonly properties: Readonly<Record<string, string>>
}

const listColumns = ['name', 'id', 'status', 'container_format', 'disk_format'] as const
const plainColumns = ['owner', 'checksum', 'os_hash_algo', 'os_hash_value'] as const
const numberColumns = ['size', 'min_ram', 'min_disk', 'virtual_size'] as const
type TextColumn = (typeof listColumns)[number] | (typeof plainColumns)[number]
type NumberColumn = (typeof numberColumns)[number]

/** Parameters that are not filters. */
const otherParameters: ReadonlySet<string> = new Set(['limit', 'marker', 'sort', 'sort_key', 'sort_dir'])

const comparisons: ReadonlyMap<string, Comparison> = new Map([
  ['gt', '>'],
  ['gte', '>='],
  ['lt', '<'],
  ['lte', '<='],
  ['eq', '='],
  ['neq', '!='],
])

/**
 * Reads the filters of a list of images.
 * @throws Invalid for values that no image could have
 * @see image-api specification 1.10
 */
export function parseFilters(query: Query): Filters {
  const columns: ColumnFilter[] = []
  const properties: Record<string, string> = {}
  for (const [name, given] of Object.entries(query)) {
    if (given === undefined || otherParameters.has(name)) continue
    refuseSurrogates(name, given)
    const value = typeof given === 'string' ? given : (given.at(-1) ?? '')
    const filter = columnFilter(name, value)
    if (filter !== undefined) columns.push(filter)
    else if (name === 'changes-since') throw new Invalid(`Filtering by ${name} is not supported.`)
    else if (!['tag', 'os_hidden', 'visibility', 'member_status'].includes(name)) properties[name] = value
  }
  return {
    columns,
    properties,
    hidden: hiddenOf(last(query['os_hidden'])),
    visibility: wordOf('visibility', last(query['visibility']), [
      'public',
      'private',
      'shared',
      'community',
      'all',
    ]),
    memberStatus:
      wordOf('member_status', last(query['member_status']), ['pending', 'accepted', 'rejected', 'all']) ??
      'accepted',
    tags: listOf(query['tag']),
  }
}

function columnFilter(name: string, value: string): ColumnFilter | undefined {
  const text = listColumns.find((column) => column === name)
  if (text !== undefined) return { column: text, values: inValues(text, value) }
  const plain = plainColumns.find((column) => column === name)
  if (plain !== undefined) return { column: plain, values: [value] }
  for (const column of numberColumns) {
    if (name === column) return { column, comparison: '=', value: numberOf(name, value) }
    if (name === `${column}_min`) return { column, comparison: '>=', value: numberOf(name, value) }
    if (name === `${column}_max`) return { column, comparison: '<=', value: numberOf(name, value) }
  }
  if (name === 'created_at' || name === 'updated_at') return timeFilter(name, value)
  if (name === 'protected') {
    if (value !== 'true' && value !== 'false')
      throw new Invalid(`protected must be true or false, not '${value}'.`)
    return { column: 'protected', value: value === 'true' ? 1 : 0 }
  }
  return undefined
}

/** `in:a,b,"c,d"`, or the value itself. */
function inValues(column: string, value: string): readonly string[] {
  const colon = value.indexOf(':')
  const operator = value.slice(0, Math.max(0, colon))
  if (operator === 'in') return splitQuoted(column, value.slice(colon + 1))
  if (comparisons.has(operator)) throw new Invalid(`Operator ${operator} cannot be used with ${column}.`)
  return [value]
}

/** Splits at commas that are not inside quotation marks. */
function splitQuoted(column: string, text: string): readonly string[] {
  const values: string[] = []
  let rest = text
  for (;;) {
    const match = /^(?:"((?:[^"\\]|\\.)*)"|([^",]*))(,|$)/.exec(rest)
    if (match === null) throw new Invalid(`The quotation marks in the filter on ${column} are not balanced.`)
    const value = match[1]?.replace(/\\(.)/g, '$1') ?? match[2] ?? ''
    if (value !== '' || match[1] !== undefined) values.push(value)
    if (match[3] === '') return values
    rest = rest.slice(match[0].length)
  }
}

function numberOf(name: string, value: string): number {
  const number = Number(value)
  if (!/^-?\d+$/.test(value) || !Number.isSafeInteger(number)) {
    throw new Invalid(`Invalid value for ${name}: '${value}' is not a whole number.`)
  }
  return number
}

/** `gt:2026-11-22T04:10:53Z`; the time itself has colons, so the operator must be a known one. */
function timeFilter(column: 'created_at' | 'updated_at', given: string): ColumnFilter {
  const colon = given.indexOf(':')
  const operator = comparisons.get(given.slice(0, Math.max(0, colon)))
  const text = operator === undefined ? given : given.slice(colon + 1)
  const zoned = /(Z|[+-]\d\d:?\d\d)$/i.test(text) || !text.includes('T') ? text : `${text}Z`
  const time = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(zoned.replace(/ (?=\d\d:?\d\d$)/, '+')) : Number.NaN
  if (Number.isNaN(time)) throw new Invalid(`Invalid time in the filter on ${column}: '${text}'.`)
  return { column, comparison: operator ?? '=', value: new Date(time).toISOString() }
}

function hiddenOf(value: string | undefined): boolean {
  if (value === undefined) return false
  const lower = value.toLowerCase()
  if (lower !== 'true' && lower !== 'false')
    throw new Invalid(`os_hidden must be true or false, not '${value}'.`)
  return lower === 'true'
}

function wordOf<const Word extends string>(
  name: string,
  value: string | undefined,
  words: readonly Word[],
): Word | undefined {
  if (value === undefined) return undefined
  const found = words.find((word) => word === value)
  if (found === undefined) throw new Invalid(`Invalid ${name} value: '${value}'.`)
  return found
}

/** A parameter's values as a list. */
export function listOf(given: string | readonly string[] | undefined): readonly string[] {
  if (given === undefined) return []
  return typeof given === 'string' ? [given] : given
}

/** A parameter's last value: that one counts. */
export function last(given: string | readonly string[] | undefined): string | undefined {
  return listOf(given).at(-1)
}
