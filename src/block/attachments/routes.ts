import { type SqlBool, sql } from 'kysely'
import { Type } from 'typebox'
import type { Block } from '../context.ts'
import { wireDate } from '../links.ts'
import {
  allTenants,
  type Condition,
  nextLink,
  readFilters,
  readPaging,
  type SortColumns,
  selectPage,
} from '../listing.ts'
import {
  type Answer,
  action,
  actionRoute,
  type BlockRequest,
  type Operation,
  operation,
  parameter,
} from '../operation.ts'
import { defaultFilters } from '../resource-filters.ts'
import { closed, Uuid, UuidOrNull, validator } from '../validation.ts'
import type { AttachmentRow } from '../volumes/queries.ts'
import { noArgument } from '../volumes/schemas.ts'
import { unsealConnection } from './connection-info.ts'
import {
  completeAttachment,
  createAttachment,
  deleteAttachment,
  updateAttachmentConnector,
} from './create.ts'
import { getAttachment } from './queries.ts'

const connector = Type.Record(Type.String(), Type.Unknown(), { description: "is not of type 'object'" })
const createFields = {
  volume_uuid: Uuid,
  instance_uuid: Type.Optional(UuidOrNull),
  connector: Type.Optional(Type.Union([connector, Type.Null()])),
}
const mode = Type.Union([Type.Literal('rw'), Type.Literal('ro')], {
  description: "is not one of ['rw', 'ro']",
})
const plainCreate = validator(closed({ attachment: closed(createFields) }))
const createWithMode = validator(
  closed({ attachment: closed({ ...createFields, mode: Type.Optional(mode) }) }),
)
const updateBody = validator(
  closed({
    attachment: closed({
      connector: Type.Record(Type.String(), Type.Unknown(), {
        minProperties: 1,
        description: 'does not have enough properties',
      }),
    }),
  }),
)

const sortColumns: SortColumns = {
  id: { column: 'id', kind: 'required' },
  attach_status: { column: 'attach_status', kind: 'required' },
  status: { column: 'attach_status', kind: 'required' },
  volume_id: { column: 'volume_id', kind: 'required' },
  created_at: { column: 'created_at', kind: 'required' },
}

const filterColumns: Readonly<Record<string, string>> = {
  id: 'id',
  volume_id: 'volume_id',
  status: 'attach_status',
  attach_status: 'attach_status',
  instance_id: 'instance_id',
  instance_uuid: 'instance_id',
  project_id: 'project_id',
}

/** `/attachments`. @see block-storage-api specification 3.9, 5.9 */
export function attachmentOperations(block: Block): readonly Operation[] {
  const since = 27
  return [
    { method: 'GET', path: '/attachments', since, run: (request) => list(block, request, false) },
    { method: 'GET', path: '/attachments/detail', since, run: (request) => list(block, request, true) },
    {
      method: 'GET',
      path: '/attachments/:id',
      since,
      async run(request) {
        const row = await getAttachment(block.db, request, parameter(request, 'id'))
        return { status: 200, body: { attachment: detailView(block, row) } }
      },
    },
    operation({
      method: 'POST',
      path: '/attachments',
      since,
      body: (minor) => (minor >= 54 ? createWithMode : plainCreate),
      async run(request, { attachment: body }) {
        const row = await createAttachment(block, request, {
          volumeId: body.volume_uuid,
          instanceId: body.instance_uuid ?? null,
          connector: body.connector ?? null,
          mode: 'mode' in body && typeof body.mode === 'string' ? body.mode : null,
        })
        return { status: 200, body: { attachment: detailView(block, row) } }
      },
    }),
    operation({
      method: 'PUT',
      path: '/attachments/:id',
      since,
      body: updateBody,
      async run(request, { attachment }) {
        const id = parameter(request, 'id')
        const row = await updateAttachmentConnector(block, request, id, attachment.connector)
        return { status: 200, body: { attachment: detailView(block, row) } }
      },
    }),
    {
      method: 'DELETE',
      path: '/attachments/:id',
      since,
      async run(request) {
        const remaining = await deleteAttachment(block, request, parameter(request, 'id'))
        return { status: 200, body: { attachments: remaining.map(plainView) } }
      },
    },
    {
      ...actionRoute('/attachments/:id/action', [
        action({
          name: 'os-complete',
          since: 44,
          body: noArgument,
          async run(request) {
            await completeAttachment(block, request, parameter(request, 'id'))
            return { status: 204 }
          },
        }),
      ]),
      since: 44,
    },
  ]
}

function plainView(row: AttachmentRow): object {
  return { id: row.id, status: row.attach_status, instance: row.instance_id, volume_id: row.volume_id }
}

function detailView(block: Block, row: AttachmentRow): object {
  return {
    ...plainView(row),
    attached_at: wireDate(row.attached_at) ?? '',
    detached_at: wireDate(row.detached_at) ?? '',
    attach_mode: row.attach_mode,
    connection_info:
      row.connection_info === null ? {} : unsealConnection(block.secrets, row.id, row.connection_info),
  }
}

async function list(block: Block, request: BlockRequest, detail: boolean): Promise<Answer> {
  const paging = readPaging(request.query, sortColumns, block.settings.osapiMaxLimit)
  const conditions: Condition[] = []
  if (!allTenants(request)) conditions.push(sql<SqlBool>`project_id = ${request.projectId}`)
  for (const [name, value] of readFilters(block, request, 'attachment', defaultFilters.attachment)) {
    const column = Object.hasOwn(filterColumns, name) ? filterColumns[name] : undefined
    conditions.push(column === undefined ? sql<SqlBool>`1 = 0` : sql<SqlBool>`${sql.ref(column)} = ${value}`)
  }
  const from = { table: 'volume_attachments', what: 'Volume attachment' }
  const rows = await selectPage<AttachmentRow>(block.db, from, conditions, paging)
  const path = detail ? '/attachments/detail' : '/attachments'
  const links = nextLink(request, path, { ids: rows.map((row) => row.id), paging })
  return {
    status: 200,
    body: {
      attachments: rows.map((row) => (detail ? detailView(block, row) : plainView(row))),
      ...(links === undefined ? {} : { attachments_links: links }),
    },
  }
}
