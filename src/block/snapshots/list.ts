import { type SqlBool, sql } from 'kysely'
import type { Block } from '../context.ts'
import {
  allTenants,
  type Condition,
  contains,
  equals,
  never,
  nextLink,
  readFilters,
  readPaging,
  type SortColumns,
  withCount,
} from '../listing.ts'
import type { Answer, BlockRequest } from '../operation.ts'
import { authorize } from '../policy.ts'
import { defaultFilters } from '../resource-filters.ts'
import { queryBoolean } from '../validation.ts'
import { mapCondition } from '../volumes/filters.ts'
import { countSnapshots, listSnapshots } from './queries.ts'
import { snapshotJson } from './view.ts'

const baseSortColumns: SortColumns = {
  id: { column: 'id', kind: 'required' },
  display_name: { column: 'name', kind: 'text' },
  status: { column: 'status', kind: 'required' },
  size: { column: 'size_gib', kind: 'required' },
  volume_size: { column: 'size_gib', kind: 'required' },
  volume_id: { column: 'volume_id', kind: 'required' },
  project_id: { column: 'project_id', kind: 'required' },
  user_id: { column: 'user_id', kind: 'required' },
  created_at: { column: 'created_at', kind: 'required' },
  updated_at: { column: 'updated_at', kind: 'text' },
}

const filterColumns: Readonly<Record<string, string>> = {
  id: 'id',
  name: 'name',
  display_name: 'name',
  description: 'description',
  status: 'status',
  volume_id: 'volume_id',
  project_id: 'project_id',
  tenant_id: 'project_id',
  user_id: 'user_id',
  volume_type_id: 'volume_type_id',
}

/** `GET /snapshots` and `GET /snapshots/detail`. */
export async function answerSnapshotList(
  block: Block,
  request: BlockRequest,
  detail: boolean,
): Promise<Answer> {
  authorize(request.identity, 'volume:get_all_snapshots')
  const sortColumns: SortColumns =
    request.minor >= 30 ? { ...baseSortColumns, name: { column: 'name', kind: 'text' } } : baseSortColumns
  const paging = readPaging(request.query, sortColumns, block.settings.osapiMaxLimit)
  const conditions: Condition[] = []
  if (!allTenants(request)) conditions.push(sql<SqlBool>`project_id = ${request.projectId}`)
  const builtIn = defaultFilters.snapshot.filter((name) => name !== 'metadata' || request.minor >= 22)
  for (const [name, value] of readFilters(block, request, 'snapshot', builtIn)) {
    conditions.push(snapshotCondition(block, request, name, value))
  }
  const rows = await listSnapshots(block.db, conditions, paging)
  const count = withCount(request) ? await countSnapshots(block.db, conditions) : undefined
  const ids = rows.map((row) => row.id)
  const links = nextLink(request, detail ? '/snapshots/detail' : '/snapshots', { ids, paging, count })
  let body = `{"snapshots":[${rows.map((row) => snapshotJson(row, request, detail ? 'show' : 'list')).join()}]`
  if (links !== undefined) body += `,"snapshots_links":${JSON.stringify(links)}`
  if (count !== undefined) body += `,"count":${count}`
  return { status: 200, body: `${body}}` }
}

function snapshotCondition(block: Block, request: BlockRequest, name: string, value: string): Condition {
  if (name === 'metadata') return mapCondition(block.engine, ['metadata'], value)
  if (name === 'consumes_quota') return sql<SqlBool>`consumes_quota = ${queryBoolean(name, value) ? 1 : 0}`
  if (name === 'size' || name === 'volume_size') {
    return /^\d{1,9}$/.test(value) ? sql<SqlBool>`size_gib = ${Number(value)}` : never
  }
  if (name === 'availability_zone') {
    return sql<SqlBool>`exists (select 1 from volumes where volumes.id = snapshots.volume_id
      and volumes.availability_zone = ${value})`
  }
  const similar = name.endsWith('~') && request.minor >= 34
  const key = similar ? name.slice(0, -1) : name
  const column = Object.hasOwn(filterColumns, key) ? filterColumns[key] : undefined
  if (column === undefined) return never
  if (similar) return contains(column, value)
  return column === 'name' ? equals(column, value) : sql<SqlBool>`${sql.ref(column)} = ${value}`
}
