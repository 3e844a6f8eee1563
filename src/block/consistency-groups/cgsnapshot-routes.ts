import { Type } from 'typebox'
import type { Block } from '../context.ts'
import { createGroupSnapshot } from '../group-snapshots/create.ts'
import { deleteGroupSnapshot } from '../group-snapshots/delete.ts'
import { type GroupSnapshotRow, getGroupSnapshot, listGroupSnapshots } from '../group-snapshots/queries.ts'
import { groupSnapshotSortColumns } from '../group-snapshots/routes.ts'
import { listConditions } from '../groups/list.ts'
import { groupsOf } from '../groups/queries.ts'
import { wireDate } from '../links.ts'
import { readPaging } from '../listing.ts'
import {
  type Answer,
  accepted,
  type BlockRequest,
  type Operation,
  operation,
  parameter,
} from '../operation.ts'
import { authorize } from '../policy.ts'
import { Name, Uuid, validator } from '../validation.ts'

const createBody = validator(
  Type.Object({
    cgsnapshot: Type.Object({
      consistencygroup_id: Uuid,
      name: Type.Optional(Name),
      description: Type.Optional(Name),
    }),
  }),
)

/** `/cgsnapshots`: snapshots of consistency groups. */
export function cgsnapshotOperations(block: Block): readonly Operation[] {
  const api = 'consistencygroup'
  const path = '/cgsnapshots'
  return [
    { method: 'GET', path, run: (request) => list(block, request, summary) },
    { method: 'GET', path: `${path}/detail`, run: (request) => list(block, request, view) },
    {
      method: 'GET',
      path: `${path}/:id`,
      async run(request) {
        const row = await getGroupSnapshot(block.db, request, api, parameter(request, 'id'))
        authorize(request.identity, 'group:get_group_snapshot', row.project_id)
        return { status: 200, body: { cgsnapshot: view(row) } }
      },
    },
    operation({
      method: 'POST',
      path,
      body: createBody,
      async run(request, { cgsnapshot: body }) {
        const row = await createGroupSnapshot(block, request, api, {
          groupId: body.consistencygroup_id,
          name: body.name ?? null,
          description: body.description ?? null,
        })
        return { status: 202, body: { cgsnapshot: summary(row) } }
      },
    }),
    {
      method: 'DELETE',
      path: `${path}/:id`,
      async run(request) {
        await deleteGroupSnapshot(block, request, api, parameter(request, 'id'))
        return accepted
      },
    },
  ]
}

const summary = (row: GroupSnapshotRow): object => ({ id: row.id, name: row.name })

const view = (row: GroupSnapshotRow): object => ({
  id: row.id,
  consistencygroup_id: row.group_id,
  status: row.status,
  created_at: wireDate(row.created_at),
  name: row.name,
  description: row.description,
})

async function list(
  block: Block,
  request: BlockRequest,
  shown: (row: GroupSnapshotRow) => object,
): Promise<Answer> {
  authorize(request.identity, 'group:get_all_group_snapshots')
  const paging = readPaging(request.query, groupSnapshotSortColumns, block.settings.osapiMaxLimit)
  const columns = ['id', 'name', 'description', 'status']
  const conditions = [
    ...listConditions(block, request, 'group_snapshot', columns, columns),
    groupsOf('consistencygroup'),
  ]
  const rows = await listGroupSnapshots(block.db, conditions, paging)
  return { status: 200, body: { cgsnapshots: rows.map(shown) } }
}
