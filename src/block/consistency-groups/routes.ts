import { type Static, Type } from 'typebox'
import { Invalid } from '../../kernel/errors.ts'
import type { Block } from '../context.ts'
import { createGroup } from '../groups/create.ts'
import { createGroupFromSource, type GroupSource } from '../groups/create-from-source.ts'
import { deleteGroup } from '../groups/delete.ts'
import { groupSortColumns, listConditions } from '../groups/list.ts'
import { getGroup, groupsOf, listGroups, volumeTypesOf } from '../groups/queries.ts'
import { updateGroupFacts } from '../groups/update.ts'
import { consistencyGroupView, groupSummary } from '../groups/view.ts'
import { nextLink, readPaging } from '../listing.ts'
import {
  type Answer,
  accepted,
  type BlockRequest,
  type Operation,
  operation,
  parameter,
} from '../operation.ts'
import { authorize } from '../policy.ts'
import { booleanOf, LaxBoolean, Name, UuidOrNull, validator } from '../validation.ts'
import { cgsnapshotOperations } from './cgsnapshot-routes.ts'

const text = Type.Optional(Type.Union([Type.String(), Type.Null()]))

const createBody = validator(
  Type.Object({
    consistencygroup: Type.Object({
      volume_types: text,
      name: Type.Optional(Name),
      description: Type.Optional(Name),
      availability_zone: text,
    }),
  }),
)
const createFromBody = validator(
  Type.Object({
    'consistencygroup-from-src': Type.Object({
      cgsnapshot_id: Type.Optional(UuidOrNull),
      source_cgid: Type.Optional(UuidOrNull),
      name: Type.Optional(Name),
      description: Type.Optional(Name),
    }),
  }),
)
const UpdateBody = Type.Object({
  consistencygroup: Type.Object({
    name: Type.Optional(Name),
    description: Type.Optional(Name),
    add_volumes: text,
    remove_volumes: text,
  }),
})
const updateBody = validator(UpdateBody)
const deleteBody = validator(
  Type.Object({ consistencygroup: Type.Object({ force: Type.Optional(LaxBoolean) }) }),
)

/**
 * The older API of consistency groups: groups of one reserved type, seen through other URLs.
 * @see block-storage-api specification 5.13
 */
export function consistencyGroupOperations(block: Block): readonly Operation[] {
  const api = 'consistencygroup'
  const path = '/consistencygroups'
  const update = async (request: BlockRequest, { consistencygroup: body }: Static<typeof UpdateBody>) => {
    // from 3.6 on an empty text is a change, before it is none
    const changed = (value: string | null | undefined) => (request.minor < 6 && !value ? undefined : value)
    await updateGroupFacts(block, request, api, parameter(request, 'id'), {
      name: changed(body.name),
      description: changed(body.description),
      addVolumes: body.add_volumes ?? undefined,
      removeVolumes: body.remove_volumes ?? undefined,
    })
    return accepted
  }
  return [
    { method: 'GET', path, run: (request) => list(block, request, false) },
    { method: 'GET', path: `${path}/detail`, run: (request) => list(block, request, true) },
    {
      method: 'GET',
      path: `${path}/:id`,
      async run(request) {
        const row = await getGroup(block.db, request, api, parameter(request, 'id'))
        authorize(request.identity, 'group:get', row.project_id)
        const types = (await volumeTypesOf(block.db, [row.id])).get(row.id) ?? []
        return { status: 200, body: { consistencygroup: consistencyGroupView(row, types) } }
      },
    },
    operation({
      method: 'POST',
      path,
      body: createBody,
      async run(request, { consistencygroup: body }) {
        const volumeTypes = (body.volume_types ?? '').split(',').map((type) => type.trim())
        if (volumeTypes.every((type) => type === '')) {
          throw new Invalid(`volume_types must be provided to create consistency group ${body.name ?? ''}.`)
        }
        const row = await createGroup(block, request, api, {
          groupType: '',
          volumeTypes: volumeTypes.filter((type) => type !== ''),
          name: body.name ?? null,
          description: body.description ?? null,
          availabilityZone: body.availability_zone ?? null,
        })
        return { status: 202, body: { consistencygroup: groupSummary(row) } }
      },
    }),
    operation({
      method: 'POST',
      path: `${path}/create_from_src`,
      body: createFromBody,
      async run(request, { 'consistencygroup-from-src': body }) {
        const row = await createGroupFromSource(block, request, api, sourceOf(body), {
          name: body.name ?? null,
          description: body.description ?? null,
        })
        return { status: 202, body: { consistencygroup: groupSummary(row) } }
      },
    }),
    operation({ method: 'PUT', path: `${path}/:id`, body: updateBody, run: update }),
    operation({ method: 'PUT', path: `${path}/:id/update`, body: updateBody, run: update }),
    operation({
      method: 'POST',
      path: `${path}/:id/delete`,
      body: deleteBody,
      async run(request, { consistencygroup: { force } }) {
        await deleteGroup(block, request, api, parameter(request, 'id'), booleanOf(force ?? false))
        return accepted
      },
    }),
    ...cgsnapshotOperations(block),
  ]
}

function sourceOf(body: { cgsnapshot_id?: string | null; source_cgid?: string | null }): GroupSource {
  const { cgsnapshot_id: snapshot, source_cgid: group } = body
  if (snapshot && group) {
    throw new Invalid("Cannot provide both 'cgsnapshot_id' and 'source_cgid' to create a consistency group.")
  }
  if (snapshot) return { kind: 'group snapshot', id: snapshot }
  if (group) return { kind: 'group', id: group }
  throw new Invalid("Either 'cgsnapshot_id' or 'source_cgid' must be provided to create a consistency group.")
}

async function list(block: Block, request: BlockRequest, detail: boolean): Promise<Answer> {
  authorize(request.identity, 'group:get_all')
  const paging = readPaging(request.query, groupSortColumns, block.settings.osapiMaxLimit)
  const columns = ['id', 'name', 'description', 'status', 'availability_zone', 'host']
  const conditions = [
    ...listConditions(block, request, 'group', columns, columns),
    groupsOf('consistencygroup'),
  ]
  const rows = await listGroups(block.db, conditions, paging)
  const ids = rows.map((row) => row.id)
  const types = detail ? await volumeTypesOf(block.db, ids) : new Map<string, readonly string[]>()
  const path = detail ? '/consistencygroups/detail' : '/consistencygroups'
  const links = nextLink(request, path, { ids, paging })
  return {
    status: 200,
    body: {
      consistencygroups: rows.map((row) =>
        detail ? consistencyGroupView(row, types.get(row.id) ?? []) : groupSummary(row),
      ),
      ...(links === undefined ? {} : { consistencygroup_links: links }),
    },
  }
}
