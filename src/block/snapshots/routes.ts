import { Type } from 'typebox'
import { Invalid } from '../../kernel/errors.ts'
import type { Block } from '../context.ts'
import { InvalidState } from '../errors.ts'
import {
  accepted,
  action,
  actionRoute,
  type BlockRequest,
  type Operation,
  operation,
  parameter,
} from '../operation.ts'
import { authorize, type Rule } from '../policy.ts'
import { stringMapOf } from '../types/queries.ts'
import { closed, Name, SnapshotMetadata, validator } from '../validation.ts'
import { metadataItem, onlyItem, without } from '../volumes/metadata.ts'
import { noArgument } from '../volumes/schemas.ts'
import { createSnapshot, createSnapshotBody } from './create.ts'
import { deleteSnapshot } from './delete.ts'
import { answerSnapshotList } from './list.ts'
import { unmanageSnapshot } from './manage/unmanage.ts'
import { getSnapshot, lockSnapshot, type SnapshotRow, updateSnapshot } from './queries.ts'
import { snapshotJson } from './view.ts'

const updateBody = validator(
  closed({
    snapshot: closed({
      name: Type.Optional(Name),
      display_name: Type.Optional(Name),
      description: Type.Optional(Name),
      display_description: Type.Optional(Name),
    }),
  }),
)
const metadataBody = validator(closed({ metadata: SnapshotMetadata }))
const metadataItemBody = validator(closed({ meta: SnapshotMetadata }))
const statusArgument = validator(closed({ status: Type.String({ minLength: 1, maxLength: 255 }) }))
const progressArgument = validator(
  closed({
    status: Type.String({ minLength: 1, maxLength: 255 }),
    progress: Type.Optional(
      Type.Union([Type.String({ pattern: '^(100|[0-9]{1,2})%$' }), Type.Null()], {
        description: 'is not a percentage',
      }),
    ),
  }),
)

const statuses = ['creating', 'available', 'deleting', 'deleted', 'error', 'error_deleting', 'updating', 'unmanaging', 'backing-up', 'restoring'] // biome-ignore format: one list

type StringMap = Readonly<Record<string, string>>

/** Everything under `/snapshots`. @see block-storage-api specification 4.3, 5.10 */
export function snapshotOperations(block: Block): readonly Operation[] {
  return [
    ...resourceOperations(block),
    ...metadataOperations(block),
    actionRoute('/snapshots/:id/action', actionsOf(block)),
  ]
}

function resourceOperations(block: Block): readonly Operation[] {
  return [
    { method: 'GET', path: '/snapshots', run: (request) => answerSnapshotList(block, request, false) },
    { method: 'GET', path: '/snapshots/detail', run: (request) => answerSnapshotList(block, request, true) },
    operation({
      method: 'POST',
      path: '/snapshots',
      body: createSnapshotBody,
      async run(request, { snapshot }) {
        const row = await createSnapshot(block, request, snapshot)
        return { status: 202, body: `{"snapshot":${snapshotJson(row, request, 'create')}}` }
      },
    }),
    {
      method: 'GET',
      path: '/snapshots/:id',
      async run(request) {
        const row = await getSnapshot(block.db, request, parameter(request, 'id'))
        authorize(request.identity, 'volume:get_snapshot', row.project_id)
        return { status: 200, body: `{"snapshot":${snapshotJson(row, request, 'show')}}` }
      },
    },
    operation({
      method: 'PUT',
      path: '/snapshots/:id',
      body: updateBody,
      async run(request, { snapshot: body }) {
        if (Object.keys(body).length === 0) throw new Invalid('None of the fields to update were given.')
        const name = body.name === undefined ? body.display_name : body.name
        const description = body.description === undefined ? body.display_description : body.description
        const row = await change(block, request, 'volume:update_snapshot', () => ({
          ...(name === undefined ? {} : { name: name?.trim() ?? null }),
          ...(description === undefined ? {} : { description: description?.trim() ?? null }),
        }))
        return { status: 200, body: `{"snapshot":${snapshotJson(row, request, 'create')}}` }
      },
    }),
    {
      method: 'DELETE',
      path: '/snapshots/:id',
      async run(request) {
        await deleteSnapshot(block, request, parameter(request, 'id'))
        return accepted
      },
    },
  ]
}

/** Changes a snapshot's row, locked. */
async function change(
  block: Block,
  request: BlockRequest,
  rule: Rule,
  changed: (row: SnapshotRow) => Partial<SnapshotRow>,
): Promise<SnapshotRow> {
  const id = parameter(request, 'id')
  return await block.db.transaction().execute(async (transaction) => {
    const before = await lockSnapshot(transaction, request, id)
    authorize(request.identity, rule, before.project_id)
    const set = { ...changed(before), updated_at: block.now().toISOString() }
    return (await updateSnapshot(transaction, id, set)) ?? before
  })
}

async function changeMetadata(
  block: Block,
  request: BlockRequest,
  rule: Rule,
  changed: (metadata: StringMap) => StringMap,
): Promise<StringMap> {
  const row = await change(block, request, rule, (before) => ({
    metadata: JSON.stringify(changed(stringMapOf(before.metadata))),
  }))
  return stringMapOf(row.metadata)
}

function metadataOperations(block: Block): readonly Operation[] {
  const path = '/snapshots/:id/metadata'
  const rule = 'volume:update_snapshot_metadata'
  const show = async (request: BlockRequest) => {
    const row = await getSnapshot(block.db, request, parameter(request, 'id'))
    authorize(request.identity, 'volume:get_snapshot_metadata', row.project_id)
    return stringMapOf(row.metadata)
  }
  return [
    {
      method: 'GET',
      path,
      run: async (request) => ({ status: 200, body: { metadata: await show(request) } }),
    },
    operation({
      method: 'POST',
      path,
      body: metadataBody,
      async run(request, body) {
        const metadata = await changeMetadata(block, request, rule, (before) => ({
          ...before,
          ...body.metadata,
        }))
        return { status: 200, body: { metadata } }
      },
    }),
    operation({
      method: 'PUT',
      path,
      body: metadataBody,
      async run(request, body) {
        const metadata = await changeMetadata(block, request, rule, () => body.metadata)
        return { status: 200, body: { metadata } }
      },
    }),
    {
      method: 'GET',
      path: `${path}/:key`,
      async run(request) {
        const meta = metadataItem(await show(request), parameter(request, 'key'))
        return { status: 200, body: { meta } }
      },
    },
    operation({
      method: 'PUT',
      path: `${path}/:key`,
      body: metadataItemBody,
      async run(request, { meta }) {
        const item = onlyItem(meta, parameter(request, 'key'))
        await changeMetadata(block, request, rule, (before) => ({ ...before, ...item }))
        return { status: 200, body: { meta: item } }
      },
    }),
    {
      method: 'DELETE',
      path: `${path}/:key`,
      async run(request) {
        const key = parameter(request, 'key')
        await changeMetadata(block, request, 'volume:delete_snapshot_metadata', (before) =>
          without(before, key),
        )
        return { status: 200 }
      },
    },
  ]
}

function actionsOf(block: Block) {
  return [
    action({
      name: 'os-reset_status',
      body: statusArgument,
      async run(request, { status }) {
        const word = status.toLowerCase()
        if (!statuses.includes(word)) throw new Invalid(`Must specify a valid status, not '${status}'.`)
        await change(block, request, 'volume_extension:snapshot_admin_actions:reset_status', () => ({
          status: word,
        }))
        return accepted
      },
    }),
    action({
      name: 'os-force_delete',
      body: noArgument,
      async run(request) {
        await deleteSnapshot(block, request, parameter(request, 'id'), true)
        return accepted
      },
    }),
    action({
      name: 'os-unmanage',
      body: noArgument,
      async run(request) {
        await unmanageSnapshot(block, request, parameter(request, 'id'))
        return accepted
      },
    }),
    action({
      name: 'os-update_snapshot_status',
      body: progressArgument,
      async run(request, { status, progress }) {
        const next: Readonly<Record<string, readonly string[]>> = {
          creating: ['creating', 'available', 'error'],
          deleting: ['deleting', 'error_deleting'],
        }
        await change(
          block,
          request,
          'snapshot_extension:snapshot_actions:update_snapshot_status',
          (before) => {
            if (!next[before.status]?.includes(status)) {
              throw new InvalidState(
                `Provided snapshot status ${status} not allowed for snapshot with status ${before.status}.`,
              )
            }
            return { status, ...(progress ? { progress } : {}) }
          },
        )
        return accepted
      },
    }),
  ]
}
