import { Type } from 'typebox'
import type { Block } from '../context.ts'
import { groupStatusOf, listConditions } from '../groups/list.ts'
import { groupsOf } from '../groups/queries.ts'
import { wireDate } from '../links.ts'
import { nextLink, readPaging, type SortColumns } from '../listing.ts'
import {
  type Answer,
  accepted,
  action,
  actionRoute,
  type BlockRequest,
  type Operation,
  operation,
  parameter,
} from '../operation.ts'
import { authorize, isAllowed } from '../policy.ts'
import { defaultFilters } from '../resource-filters.ts'
import { closed, Name, Uuid, validator } from '../validation.ts'
import { createGroupSnapshot } from './create.ts'
import { deleteGroupSnapshot } from './delete.ts'
import {
  type GroupSnapshotRow,
  getGroupSnapshot,
  listGroupSnapshots,
  lockGroupSnapshot,
  updateGroupSnapshot,
} from './queries.ts'

const createBody = validator(
  closed({
    group_snapshot: closed({
      group_id: Uuid,
      name: Type.Optional(Name),
      description: Type.Optional(Name),
    }),
  }),
)
const statusArgument = validator(closed({ status: Type.String({ minLength: 1, maxLength: 255 }) }))

export const groupSnapshotSortColumns: SortColumns = {
  id: { column: 'id', kind: 'required' },
  name: { column: 'name', kind: 'text' },
  status: { column: 'status', kind: 'required' },
  group_id: { column: 'group_id', kind: 'required' },
  created_at: { column: 'created_at', kind: 'required' },
  updated_at: { column: 'updated_at', kind: 'text' },
}

const since = 14

/** `/group_snapshots`. @see block-storage-api specification 3.10, 4.6 */
export function groupSnapshotOperations(block: Block): readonly Operation[] {
  return [
    { method: 'GET', path: '/group_snapshots', since, run: (request) => list(block, request, false) },
    { method: 'GET', path: '/group_snapshots/detail', since, run: (request) => list(block, request, true) },
    {
      method: 'GET',
      path: '/group_snapshots/:id',
      since,
      async run(request) {
        const row = await getGroupSnapshot(block.db, request, 'group', parameter(request, 'id'))
        authorize(request.identity, 'group:get_group_snapshot', row.project_id)
        return { status: 200, body: { group_snapshot: detailView(row, request) } }
      },
    },
    operation({
      method: 'POST',
      path: '/group_snapshots',
      since,
      body: createBody,
      async run(request, { group_snapshot: body }) {
        const row = await createGroupSnapshot(block, request, 'group', {
          groupId: body.group_id,
          name: body.name?.trim() ?? null,
          description: body.description?.trim() ?? null,
        })
        const view = { id: row.id, name: row.name, group_type_id: row.group_type_id }
        return { status: 202, body: { group_snapshot: view } }
      },
    }),
    {
      method: 'DELETE',
      path: '/group_snapshots/:id',
      since,
      async run(request) {
        await deleteGroupSnapshot(block, request, 'group', parameter(request, 'id'))
        return accepted
      },
    },
    {
      ...actionRoute('/group_snapshots/:id/action', [
        action({
          name: 'reset_status',
          since: 19,
          body: statusArgument,
          async run(request, { status }) {
            await resetStatus(block, request, status)
            return accepted
          },
        }),
      ]),
      since: 19,
    },
  ]
}

function detailView(row: GroupSnapshotRow, request: BlockRequest): object {
  return {
    id: row.id,
    group_id: row.group_id,
    group_type_id: row.group_type_id,
    status: row.status,
    created_at: wireDate(row.created_at),
    name: row.name,
    description: row.description,
    ...(request.minor >= 58 && isAllowed(request.identity, 'group:group_project_attribute', row.project_id)
      ? { project_id: row.project_id }
      : {}),
  }
}

async function list(block: Block, request: BlockRequest, detail: boolean): Promise<Answer> {
  authorize(request.identity, 'group:get_all_group_snapshots')
  const paging = readPaging(request.query, groupSnapshotSortColumns, block.settings.osapiMaxLimit)
  const conditions = listConditions(block, request, 'group_snapshot', defaultFilters.group_snapshot, [
    'id',
    'name',
    'status',
    'group_id',
    'description',
  ])
  const rows = await listGroupSnapshots(block.db, [...conditions, groupsOf('group')], paging)
  const ids = rows.map((row) => row.id)
  const path = detail ? '/group_snapshots/detail' : '/group_snapshots'
  const links = request.minor >= 29 ? nextLink(request, path, { ids, paging }) : undefined
  const views = rows.map((row) => (detail ? detailView(row, request) : { id: row.id, name: row.name }))
  return {
    status: 200,
    body: { group_snapshots: views, ...(links === undefined ? {} : { group_snapshot_links: links }) },
  }
}

async function resetStatus(block: Block, request: BlockRequest, text: string): Promise<void> {
  const id = parameter(request, 'id')
  await block.db.transaction().execute(async (transaction) => {
    const row = await lockGroupSnapshot(transaction, request, 'group', id)
    authorize(request.identity, 'group:reset_group_snapshot_status', row.project_id)
    const status = groupStatusOf(text)
    await updateGroupSnapshot(transaction, id, { status, updated_at: block.now().toISOString() })
  })
}
