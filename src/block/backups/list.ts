import { type SqlBool, sql } from 'kysely'
import type { Block } from '../context.ts'
import {
  allTenants,
  type Condition,
  contains,
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
import { mapCondition } from '../volumes/filters.ts'
import { countBackups, listBackups } from './queries.ts'
import { backupJson, backupSummaryJson } from './view.ts'

const sortColumns: SortColumns = {
  id: { column: 'id', kind: 'required' },
  display_name: { column: 'name', kind: 'text' },
  status: { column: 'status', kind: 'required' },
  size: { column: 'size_gib', kind: 'required' },
  volume_id: { column: 'volume_id', kind: 'required' },
  container: { column: 'container', kind: 'text' },
  availability_zone: { column: 'availability_zone', kind: 'text' },
  data_timestamp: { column: 'data_timestamp', kind: 'required' },
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
  snapshot_id: 'snapshot_id',
  parent_id: 'parent_id',
  container: 'container',
  availability_zone: 'availability_zone',
  project_id: 'project_id',
  user_id: 'user_id',
}

/** `GET /backups` and `GET /backups/detail`. */
export async function answerBackupList(
  block: Block,
  request: BlockRequest,
  detail: boolean,
): Promise<Answer> {
  authorize(request.identity, 'backup:get_all')
  const columns: SortColumns =
    request.minor >= 37 ? { ...sortColumns, name: { column: 'name', kind: 'text' } } : sortColumns
  const paging = readPaging(request.query, columns, block.settings.osapiMaxLimit)
  const conditions: Condition[] = []
  if (!allTenants(request)) conditions.push(sql<SqlBool>`project_id = ${request.projectId}`)
  for (const [name, value] of readFilters(block, request, 'backup', defaultFilters.backup)) {
    conditions.push(backupCondition(block, request, name, value))
  }
  const rows = await listBackups(block.db, conditions, paging)
  const count = withCount(request) ? await countBackups(block.db, conditions) : undefined
  const ids = rows.map((row) => row.id)
  const links = nextLink(request, detail ? '/backups/detail' : '/backups', { ids, paging, count })
  const view = detail ? backupJson : backupSummaryJson
  let body = `{"backups":[${rows.map((row) => view(row, request)).join()}]`
  if (links !== undefined) body += `,"backup_links":${JSON.stringify(links)}`
  if (count !== undefined) body += `,"count":${count}`
  return { status: 200, body: `${body}}` }
}

function backupCondition(block: Block, request: BlockRequest, name: string, value: string): Condition {
  if (name === 'metadata') return mapCondition(block.engine, ['metadata'], value)
  if (name === 'size') return /^\d{1,9}$/.test(value) ? sql<SqlBool>`size_gib = ${Number(value)}` : never
  const similar = name.endsWith('~') && request.minor >= 34
  const key = similar ? name.slice(0, -1) : name
  const column = Object.hasOwn(filterColumns, key) ? filterColumns[key] : undefined
  if (column === undefined) return never
  return similar ? contains(column, value) : sql<SqlBool>`${sql.ref(column)} = ${value}`
}
