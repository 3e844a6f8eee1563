import { type Static, Type } from 'typebox'
import type { Block } from '../context.ts'
import { wireDate } from '../links.ts'
import { allTenants, nextLink, readPaging, type SortColumns } from '../listing.ts'
import {
  type Answer,
  accepted,
  type BlockRequest,
  type Operation,
  operation,
  parameter,
} from '../operation.ts'
import { authorize } from '../policy.ts'
import { booleanOf, closed, LaxBoolean, Name, Uuid, validator } from '../validation.ts'
import { acceptTransfer } from './accept.ts'
import { createTransfer } from './create.ts'
import { getTransfer, listTransfers, type TransferRow } from './queries.ts'
import { withdrawTransfer } from './withdraw.ts'

const fields = { volume_id: Uuid, name: Type.Optional(Name) }
const olderCreateBody = validator(closed({ transfer: closed(fields) }))
const createBody = validator(
  closed({ transfer: closed({ ...fields, no_snapshots: Type.Optional(LaxBoolean) }) }),
)
const acceptBody = validator(
  closed({
    accept: closed({ auth_key: Type.Union([Type.String({ minLength: 1, maxLength: 255 }), Type.Integer()]) }),
  }),
)

interface CreateTransfer {
  readonly volume_id: string
  readonly name?: string | null
  readonly no_snapshots?: Static<typeof LaxBoolean>
}

const sortColumns: SortColumns = {
  id: { column: 'id', kind: 'required' },
  name: { column: 'name', kind: 'text' },
  volume_id: { column: 'volume_id', kind: 'required' },
  created_at: { column: 'created_at', kind: 'required' },
}

/**
 * Both families of transfers: `/os-volume-transfer`, where snapshots stay behind, and `/volume-transfers`.
 * @see block-storage-api specification 3.8, 5.12
 */
export function transferOperations(block: Block): readonly Operation[] {
  return [
    ...family(block, { path: '/os-volume-transfer', since: 0, body: olderCreateBody }),
    ...family(block, { path: '/volume-transfers', since: 55, body: createBody }),
  ]
}

function family(
  block: Block,
  { path, since, body }: { path: string; since: number; body: typeof olderCreateBody | typeof createBody },
): readonly Operation[] {
  const id = (request: BlockRequest) => parameter(request, 'id')
  return [
    { method: 'GET', path, since, run: (request) => list(block, request, path, summary) },
    {
      method: 'GET',
      path: `${path}/detail`,
      since,
      run: (request) => list(block, request, `${path}/detail`, view),
    },
    {
      method: 'GET',
      path: `${path}/:id`,
      since,
      async run(request) {
        const row = await getTransfer(block.db, request, id(request))
        authorize(request.identity, 'volume:get_transfer', row.source_project_id)
        return { status: 200, body: { transfer: view(row, request) } }
      },
    },
    operation<{ transfer: CreateTransfer }>({
      method: 'POST',
      path,
      since,
      body,
      async run(request, { transfer }) {
        const keepsSnapshots = booleanOf(transfer.no_snapshots ?? false)
        const { row, key } = await createTransfer(block, request, {
          volumeId: transfer.volume_id,
          name: transfer.name?.trim() ?? null,
          noSnapshots: since === 0 || keepsSnapshots,
        })
        return { status: 202, body: { transfer: { ...view(row, request), auth_key: key } } }
      },
    }),
    {
      method: 'DELETE',
      path: `${path}/:id`,
      since,
      async run(request) {
        await withdrawTransfer(block, request, id(request))
        return accepted
      },
    },
    operation({
      method: 'POST',
      path: `${path}/:id/accept`,
      since,
      body: acceptBody,
      async run(request, { accept }) {
        const row = await acceptTransfer(block, request, id(request), String(accept.auth_key))
        return { status: 202, body: { transfer: summary(row, request) } }
      },
    }),
  ]
}

function summary(row: TransferRow, request: BlockRequest): object {
  return {
    id: row.id,
    volume_id: row.volume_id,
    name: row.name,
    links: request.links.of(`/os-volume-transfer/${row.id}`),
  }
}

/** An open transfer: accepted ones are gone. */
function view(row: TransferRow, request: BlockRequest): object {
  const { minor } = request
  return {
    ...summary(row, request),
    created_at: wireDate(row.created_at),
    ...(minor >= 55 ? { no_snapshots: row.no_snapshots === 1 } : {}),
    ...(minor >= 57
      ? { source_project_id: row.source_project_id, destination_project_id: null, accepted: false }
      : {}),
  }
}

async function list(
  block: Block,
  request: BlockRequest,
  path: string,
  shown: (row: TransferRow, request: BlockRequest) => object,
): Promise<Answer> {
  authorize(request.identity, 'volume:get_all_transfers')
  const paging = readPaging(request.query, sortColumns, block.settings.osapiMaxLimit)
  const projectId = allTenants(request) ? undefined : request.projectId
  const rows = await listTransfers(block.db, projectId, paging)
  const links =
    request.minor >= 59 ? nextLink(request, path, { ids: rows.map((row) => row.id), paging }) : undefined
  return {
    status: 200,
    body: {
      transfers: rows.map((row) => shown(row, request)),
      ...(links === undefined ? {} : { transfers_links: links }),
    },
  }
}
