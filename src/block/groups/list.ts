import { type SqlBool, sql } from 'kysely'
import { Invalid } from '../../kernel/errors.ts'
import type { Block } from '../context.ts'
import {
  type Condition,
  contains,
  never,
  nextLink,
  readFilters,
  readPaging,
  type SortColumns,
} from '../listing.ts'
import type { Answer, BlockRequest } from '../operation.ts'
import { authorize } from '../policy.ts'
import { defaultFilters } from '../resource-filters.ts'
import { queryBoolean } from '../validation.ts'
import { groupsOf, listGroups, memberIdsOf, volumeTypesOf } from './queries.ts'
import { groupSummary, groupView } from './view.ts'

export const groupSortColumns: SortColumns = {
  id: { column: 'id', kind: 'required' },
  name: { column: 'name', kind: 'text' },
  status: { column: 'status', kind: 'required' },
  group_type_id: { column: 'group_type_id', kind: 'required' },
  host: { column: 'host', kind: 'text' },
  availability_zone: { column: 'availability_zone', kind: 'text' },
  created_at: { column: 'created_at', kind: 'required' },
  updated_at: { column: 'updated_at', kind: 'text' },
}

/** Parameters of group lists that are no filters. */
const switches = ['list_volume']

/**
 * Scope and filters of a list of groups or of their snapshots. `all_tenants` counts by being there.
 * @param columns what the table can be filtered by
 */
export function listConditions(
  block: Pick<Block, 'settings'>,
  request: BlockRequest,
  resource: 'group' | 'group_snapshot',
  allowed: readonly string[],
  columns: readonly string[],
): Condition[] {
  const everybody = request.isAdmin && request.query.has('all_tenants')
  const conditions = everybody ? [] : [sql<SqlBool>`project_id = ${request.projectId}`]
  for (const [name, value] of readFilters(block, request, resource, allowed, switches)) {
    if (switches.includes(name)) continue
    const similar = name.endsWith('~') && request.minor >= 34
    const column = similar ? name.slice(0, -1) : name
    if (column === 'project_id') conditions.push(sql<SqlBool>`project_id = ${value}`)
    else if (!columns.includes(column)) conditions.push(never)
    else if (similar) conditions.push(contains(column, value))
    else conditions.push(sql<SqlBool>`${sql.ref(column)} = ${value}`)
  }
  return conditions
}

/** `GET /groups` and `GET /groups/detail`. */
export async function answerGroupList(block: Block, request: BlockRequest, detail: boolean): Promise<Answer> {
  authorize(request.identity, 'group:get_all')
  const paging = readPaging(request.query, groupSortColumns, block.settings.osapiMaxLimit)
  const columns = [
    'id',
    'name',
    'description',
    'status',
    'availability_zone',
    'host',
    'group_type_id',
    'user_id',
  ]
  const conditions = [
    ...listConditions(block, request, 'group', defaultFilters.group, columns),
    groupsOf('group'),
  ]
  const rows = await listGroups(block.db, conditions, paging)
  const ids = rows.map((row) => row.id)
  const types = detail ? await volumeTypesOf(block.db, ids) : new Map<string, readonly string[]>()
  const members = detail && wantsVolumes(request) ? await memberIdsOf(block.db, ids) : undefined
  const links = nextLink(request, detail ? '/groups/detail' : '/groups', { ids, paging })
  return {
    status: 200,
    body: {
      groups: rows.map((row) =>
        detail
          ? groupView(row, request, {
              volumeTypes: types.get(row.id) ?? [],
              volumes: members && (members.get(row.id) ?? []),
            })
          : groupSummary(row),
      ),
      ...(links === undefined ? {} : { group_links: links }),
    },
  }
}

/** `list_volume=true`, from 3.25 on. */
export function wantsVolumes(request: BlockRequest): boolean {
  const text = request.query.get('list_volume')
  return request.minor >= 25 && text !== null && queryBoolean('list_volume', text)
}

const statuses = ['creating', 'available', 'deleting', 'deleted', 'updating', 'error', 'error_deleting']

/** A status that `reset_status` of groups and of their snapshots takes. @throws Invalid */
export function groupStatusOf(text: string): string {
  const status = text.toLowerCase()
  if (!statuses.includes(status)) {
    throw new Invalid(`Invalid input received: Must specify a valid status, not '${text}'.`)
  }
  return status
}
