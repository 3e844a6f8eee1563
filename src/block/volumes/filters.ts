import { type SqlBool, sql } from 'kysely'
import { Invalid } from '../../kernel/errors.ts'
import { type Condition, contains, equals, jsonText, never, type SortColumns } from '../listing.ts'
import type { BlockRequest } from '../operation.ts'
import { parsePythonLiteral, parsePythonStringMap } from '../python-literal.ts'
import { defaultFilters } from '../resource-filters.ts'
import { queryBoolean } from '../validation.ts'

/** What a volume list can be sorted by. @see cinder/api/v3/views/volumes.py; specification 1.8 */
export const volumeSortColumns: SortColumns = {
  id: { column: 'id', kind: 'required' },
  name: { column: 'name', kind: 'text' },
  display_name: { column: 'name', kind: 'text' },
  status: { column: 'status', kind: 'required' },
  size: { column: 'size_gib', kind: 'required' },
  host: { column: 'host', kind: 'text' },
  availability_zone: { column: 'availability_zone', kind: 'text' },
  bootable: { column: 'bootable', kind: 'required' },
  migration_status: { column: 'migration_status', kind: 'text' },
  project_id: { column: 'project_id', kind: 'required' },
  user_id: { column: 'user_id', kind: 'required' },
  created_at: { column: 'created_at', kind: 'required' },
  updated_at: { column: 'updated_at', kind: 'text' },
  volume_type_id: { column: 'volume_type_id', kind: 'text' },
}

/** Columns that have an index in their sorting form. */
const sortedAsNull = ['name', 'availability_zone', 'host', 'volume_type_id', 'migration_status']

/** What those who are not admins may filter volumes by. @see specification 1.9 */
export const volumeFilters: readonly string[] = [...defaultFilters.volume, 'display_name', 'glance_metadata']

const textColumns: Readonly<Record<string, string>> = {
  id: 'id',
  name: 'name',
  display_name: 'name',
  description: 'description',
  status: 'status',
  availability_zone: 'availability_zone',
  migration_status: 'migration_status',
  group_id: 'group_id',
  host: 'host',
  user_id: 'user_id',
  project_id: 'project_id',
  tenant_id: 'project_id',
  volume_type_id: 'volume_type_id',
  snapshot_id: 'snapshot_id',
  source_volid: 'source_volume_id',
  attach_status: 'attach_status',
  replication_status: 'replication_status',
}

const operators: Readonly<Record<string, string>> = {
  gt: '>',
  gte: '>=',
  eq: '=',
  neq: '<>',
  lt: '<',
  lte: '<=',
}

/** @throws Invalid for a value that the filter cannot have */
export function volumeCondition(
  request: BlockRequest,
  engine: 'sqlite' | 'postgres',
  name: string,
  value: string,
): Condition {
  if (name.endsWith('~') && request.minor >= 34) {
    const column = textColumns[name.slice(0, -1)]
    return column === undefined ? never : contains(column, value)
  }
  if (name === 'metadata' || name === 'glance_metadata') return mapCondition(engine, pairColumns[name], value)
  if (name === 'bootable') {
    const wanted = request.minor >= 2 ? queryBoolean(name, value) : !/^(False|false|FALSE)$/.test(value)
    return sql<SqlBool>`bootable = ${wanted ? 1 : 0}`
  }
  if (name === 'consumes_quota' || name === 'multiattach') {
    return sql<SqlBool>`${sql.ref(name)} = ${queryBoolean(name, value) ? 1 : 0}`
  }
  if (name === 'size') return /^\d{1,9}$/.test(value) ? sql<SqlBool>`size_gib = ${Number(value)}` : never
  if (name === 'created_at' || name === 'updated_at') return timeCondition(name, value)
  const column = Object.hasOwn(textColumns, name) ? textColumns[name] : undefined
  if (column === undefined) return never
  const list = value.startsWith('[') ? parsePythonLiteral(value) : undefined
  if (Array.isArray(list)) {
    if (list.length === 0) return never
    return sql<SqlBool>`${sql.ref(column)} in (${sql.join(list.map((item) => sql`${String(item)}`))})`
  }
  return sortedAsNull.includes(column) ? equals(column, value) : sql<SqlBool>`${sql.ref(column)} = ${value}`
}

/** The columns that hold the pairs a filter asks for: JSON objects. */
export const pairColumns = { metadata: ['metadata', 'admin_metadata'], glance_metadata: ['image_metadata'] }

/** All pairs of a Python dictionary, each in one of the columns. */
export function mapCondition(
  engine: 'sqlite' | 'postgres',
  columns: readonly string[],
  value: string,
): Condition {
  const pairs = parsePythonStringMap(value)
  return pairs === undefined ? never : pairsCondition(engine, columns, pairs)
}

/** All of the pairs, each in one of the columns. */
export function pairsCondition(
  engine: 'sqlite' | 'postgres',
  columns: readonly string[],
  pairs: ReadonlyMap<string, string>,
): Condition {
  const conditions = [...pairs].map(([key, text]) => {
    const anywhere = columns.map((column) => sql<SqlBool>`${jsonText(engine, column, key)} = ${text}`)
    return sql<SqlBool>`(${sql.join(anywhere, sql` or `)})`
  })
  if (conditions.length === 0) return sql<SqlBool>`1 = 1`
  return sql<SqlBool>`(${sql.join(conditions, sql` and `)})`
}

/** `gt:2024-05-01T10:00:00,lt:…`: several bounds are alternatives, as upstream. */
function timeCondition(name: string, value: string): Condition {
  const bounds = value.split(',').map((item) => {
    const colon = item.indexOf(':')
    const operator = operators[item.slice(0, colon)]
    const time = item.slice(colon + 1)
    const milliseconds = Date.parse(/[zZ]|[+-]\d\d:\d\d$/.test(time) ? time : `${time}Z`)
    if (operator === undefined || Number.isNaN(milliseconds)) {
      throw new Invalid(`Invalid value '${item}' for ${name}: expected an operator, a colon and an ISO time.`)
    }
    // written as lists are sorted, so that both go by the same index
    const column = name === 'updated_at' ? sql`coalesce(updated_at, '')` : sql.ref(name)
    return sql<SqlBool>`${column} ${sql.raw(operator)} ${new Date(milliseconds).toISOString()}`
  })
  const any = sql<SqlBool>`(${sql.join(bounds, sql` or `)})`
  return name === 'updated_at' ? sql<SqlBool>`(${any} and updated_at is not null)` : any
}
