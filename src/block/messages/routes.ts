import { type SqlBool, sql } from 'kysely'
import { NotFound } from '../../kernel/errors.ts'
import type { Block } from '../context.ts'
import { wireDate } from '../links.ts'
import {
  type Condition,
  nextLink,
  readFilters,
  readPaging,
  type SortColumns,
  selectPage,
} from '../listing.ts'
import { type Answer, type BlockRequest, type Operation, parameter } from '../operation.ts'
import { authorize } from '../policy.ts'
import { defaultFilters } from '../resource-filters.ts'
import type { MessageRow } from './queries.ts'

const actionTexts: Readonly<Record<string, string>> = {
  '001': 'schedule allocate volume',
  '002': 'attach volume',
  '003': 'copy volume to image',
  '004': 'update attachment',
  '005': 'copy image to volume',
  '006': 'unmanage volume',
  '007': 'extend volume',
  '008': 'create volume from backend storage',
  '009': 'create snapshot',
  '010': 'delete snapshot',
  '011': 'update snapshot',
  '012': 'update snapshot metadata',
  '013': 'create backup',
  '014': 'delete backup',
  '015': 'restore backup',
  '016': 'reimage volume',
}

const detailTexts: Readonly<Record<string, string>> = {
  '001': 'An unknown error occurred.',
  '002': 'Driver is not initialized at present.',
  '003': 'Could not find any available weighted backend.',
  '004': 'Failed to upload volume to image at backend.',
  '006': 'Not enough quota resource for operation.',
  '007': 'Image used for creating volume exceeds available space.',
  '008': 'Unmanaging encrypted volumes is not supported.',
  '009': 'Compute service failed to extend volume.',
  '010': 'Driver failed to extend the volume.',
  '011': 'Image signature verification failed.',
  '012': 'Driver failed to create the volume.',
  '013': 'Snapshot failed to be created.',
  '015': 'Snapshot is busy, cannot be deleted.',
  '016': 'Snapshot failed to be deleted.',
  '021': 'Failed to attach the volume.',
  '018': 'Backup service is down.',
  '020': 'Backup driver failed to create backup.',
  '024': 'Backup failed to schedule.',
  '025': 'Backup driver failed to delete backup.',
  '026': 'Failed to restore the backup.',
  '027': 'Volume status is invalid for this operation.',
  '028': 'Compute service failed to reimage volume.',
  '029': 'The format of the image is not acceptable.',
}

const sortColumns: SortColumns = {
  id: { column: 'id', kind: 'required' },
  created_at: { column: 'created_at', kind: 'required' },
  guaranteed_until: { column: 'expires_at', kind: 'required' },
  event_id: { column: 'event_id', kind: 'required' },
  resource_type: { column: 'resource_type', kind: 'required' },
  resource_uuid: { column: 'resource_uuid', kind: 'text' },
  request_id: { column: 'request_id', kind: 'required' },
  message_level: { column: 'message_level', kind: 'required' },
}

const filters: readonly string[] = defaultFilters.message

/** `/messages`. @see block-storage-api specification 3.11, 5.14 */
export function messageOperations(block: Block): readonly Operation[] {
  const since = 3
  const get = async (request: BlockRequest) => {
    const id = parameter(request, 'id')
    const row = await block.db
      .selectFrom('volume_messages')
      .selectAll()
      .where('id', '=', id)
      .executeTakeFirst()
    if (row === undefined || (!request.isAdmin && row.project_id !== request.projectId)) {
      throw new NotFound(`Message ${id} could not be found.`)
    }
    return row
  }
  return [
    { method: 'GET', path: '/messages', since, run: (request) => list(block, request) },
    {
      method: 'GET',
      path: '/messages/:id',
      since,
      async run(request) {
        const row = await get(request)
        authorize(request.identity, 'message:get', row.project_id)
        return { status: 200, body: { message: view(row, request) } }
      },
    },
    {
      method: 'DELETE',
      path: '/messages/:id',
      since,
      async run(request) {
        const row = await get(request)
        authorize(request.identity, 'message:delete', row.project_id)
        await block.db.deleteFrom('volume_messages').where('id', '=', row.id).execute()
        return { status: 204 }
      },
    },
  ]
}

async function list(block: Block, request: BlockRequest): Promise<Answer> {
  authorize(request.identity, 'message:get_all')
  const query = request.minor >= 5 ? request.query : new URLSearchParams()
  const paging = readPaging(query, sortColumns, block.settings.osapiMaxLimit)
  const conditions: Condition[] = [
    sql<SqlBool>`project_id = ${request.projectId}`,
    sql<SqlBool>`expires_at > ${block.now().toISOString()}`,
  ]
  for (const [name, value] of request.minor >= 5 ? readFilters(block, request, 'message', filters) : []) {
    conditions.push(filters.includes(name) ? sql<SqlBool>`${sql.ref(name)} = ${value}` : sql<SqlBool>`1 = 0`)
  }
  const from = { table: 'volume_messages', what: 'Message' }
  const rows = await selectPage<MessageRow>(block.db, from, conditions, paging)
  const links = nextLink(request, '/messages', { ids: rows.map((row) => row.id), paging })
  return {
    status: 200,
    body: {
      messages: rows.map((row) => view(row, request)),
      ...(links === undefined ? {} : { messages_links: links }),
    },
  }
}

function view(row: MessageRow, request: BlockRequest): object {
  const general = `${actionTexts[row.action_id] ?? row.action_id}:${detailTexts[row.detail_id] ?? row.detail_id}`
  return {
    id: row.id,
    event_id: row.event_id,
    user_message: row.sentence === null ? general : `${general} ${row.sentence}`,
    message_level: row.message_level,
    created_at: wireDate(row.created_at),
    guaranteed_until: wireDate(row.expires_at),
    request_id: row.request_id,
    links: request.links.of(`/messages/${row.id}`),
    resource_type: row.resource_type,
    resource_uuid: row.resource_uuid,
  }
}
