import { Type } from 'typebox'
import { Invalid } from '../../kernel/errors.ts'
import type { Block } from '../context.ts'
import {
  type Action,
  accepted,
  action,
  actionRoute,
  type BlockRequest,
  type Operation,
  operation,
  parameter,
} from '../operation.ts'
import { authorize } from '../policy.ts'
import { booleanOf, closed, LaxBoolean, Name, UuidOrNull, validator } from '../validation.ts'
import { noArgument } from '../volumes/schemas.ts'
import { createGroup } from './create.ts'
import { createGroupFromSource, type GroupSource } from './create-from-source.ts'
import { deleteGroup } from './delete.ts'
import { answerGroupList, groupStatusOf, wantsVolumes } from './list.ts'
import { getGroup, lockGroup, memberIdsOf, updateGroup, volumeTypesOf } from './queries.ts'
import { changeReplication, replicationTargets } from './replication.ts'
import { updateGroupFacts } from './update.ts'
import { groupSummary, groupView } from './view.ts'

const word = Type.String({ minLength: 1, maxLength: 255 })
const list = Type.Optional(Type.Union([Type.String(), Type.Null()]))

const createBody = validator(
  closed({
    group: closed({
      group_type: word,
      volume_types: Type.Array(word, { minItems: 1, uniqueItems: true }),
      name: Type.Optional(Name),
      description: Type.Optional(Name),
      availability_zone: Type.Optional(Type.Union([word, Type.Null()])),
    }),
  }),
)

const updateBody = validator(
  closed({
    group: closed({
      name: Type.Optional(Name),
      description: Type.Optional(Name),
      add_volumes: list,
      remove_volumes: list,
    }),
  }),
)

const fromSourceArgument = validator(
  closed({
    name: Type.Optional(Name),
    description: Type.Optional(Name),
    group_snapshot_id: Type.Optional(UuidOrNull),
    source_group_id: Type.Optional(UuidOrNull),
  }),
)
const deleteArgument = validator(closed({ 'delete-volumes': Type.Optional(LaxBoolean) }))
const statusArgument = validator(closed({ status: word }))
const failoverArgument = validator(
  closed({
    allow_attached_volume: Type.Optional(LaxBoolean),
    secondary_backend_id: Type.Optional(Type.Union([word, Type.Null()])),
  }),
)

const since = 13

/** `/groups`. @see block-storage-api specification 3.10, 4.6, 5.13 */
export function groupOperations(block: Block): readonly Operation[] {
  return [
    { method: 'GET', path: '/groups', since, run: (request) => answerGroupList(block, request, false) },
    {
      method: 'GET',
      path: '/groups/detail',
      since,
      run: (request) => answerGroupList(block, request, true),
    },
    {
      method: 'GET',
      path: '/groups/:id',
      since,
      async run(request) {
        const row = await getGroup(block.db, request, 'group', parameter(request, 'id'))
        authorize(request.identity, 'group:get', row.project_id)
        const volumeTypes = (await volumeTypesOf(block.db, [row.id])).get(row.id) ?? []
        const volumes = wantsVolumes(request)
          ? ((await memberIdsOf(block.db, [row.id])).get(row.id) ?? [])
          : undefined
        return { status: 200, body: { group: groupView(row, request, { volumeTypes, volumes }) } }
      },
    },
    operation({
      method: 'POST',
      path: '/groups',
      since,
      body: createBody,
      async run(request, { group: body }) {
        const row = await createGroup(block, request, 'group', {
          groupType: body.group_type,
          volumeTypes: body.volume_types,
          name: body.name?.trim() ?? null,
          description: body.description?.trim() ?? null,
          availabilityZone: body.availability_zone ?? null,
        })
        return { status: 202, body: { group: groupSummary(row) } }
      },
    }),
    operation({
      method: 'PUT',
      path: '/groups/:id',
      since,
      body: updateBody,
      async run(request, { group: body }) {
        await updateGroupFacts(block, request, 'group', parameter(request, 'id'), {
          name: body.name?.trim(),
          description: body.description?.trim(),
          addVolumes: body.add_volumes ?? undefined,
          removeVolumes: body.remove_volumes ?? undefined,
        })
        return accepted
      },
    }),
    {
      ...actionRoute('/groups/action', [
        action({
          name: 'create-from-src',
          since: 14,
          body: fromSourceArgument,
          async run(request, body) {
            const row = await createGroupFromSource(block, request, 'group', sourceOf(body), {
              name: body.name?.trim() ?? null,
              description: body.description?.trim() ?? null,
            })
            return { status: 202, body: { group: groupSummary(row) } }
          },
        }),
      ]),
      since: 14,
    },
    { ...actionRoute('/groups/:id/action', groupActions(block)), since },
  ]
}

function sourceOf(body: { group_snapshot_id?: string | null; source_group_id?: string | null }): GroupSource {
  const { group_snapshot_id: snapshot, source_group_id: group } = body
  if (snapshot && !group) return { kind: 'group snapshot', id: snapshot }
  if (group && !snapshot) return { kind: 'group', id: group }
  throw new Invalid(
    'Invalid input for field/attribute create-from-src. Exactly one of group_snapshot_id and source_group_id is required.',
  )
}

function groupActions(block: Block): readonly Action[] {
  const id = (request: BlockRequest) => parameter(request, 'id')
  return [
    action({
      name: 'delete',
      body: deleteArgument,
      async run(request, body) {
        await deleteGroup(block, request, 'group', id(request), booleanOf(body['delete-volumes'] ?? false))
        return accepted
      },
    }),
    action({
      name: 'reset_status',
      since: 20,
      body: statusArgument,
      async run(request, { status }) {
        await block.db.transaction().execute(async (transaction) => {
          const group = await lockGroup(transaction, request, 'group', id(request))
          authorize(request.identity, 'group:reset_status', group.project_id)
          const updated_at = block.now().toISOString()
          await updateGroup(transaction, group.id, { status: groupStatusOf(status), updated_at })
        })
        return accepted
      },
    }),
    ...(['enable', 'disable'] as const).map((change) =>
      action({
        name: `${change}_replication`,
        since: 38,
        body: noArgument,
        async run(request) {
          await changeReplication(block, request, id(request), change)
          return accepted
        },
      }),
    ),
    action({
      name: 'failover_replication',
      since: 38,
      body: failoverArgument,
      async run(request) {
        await changeReplication(block, request, id(request), 'failover')
        return accepted
      },
    }),
    action({
      name: 'list_replication_targets',
      since: 38,
      body: noArgument,
      async run(request) {
        const targets = await replicationTargets(block, request, id(request))
        return { status: 200, body: { replication_targets: targets } }
      },
    }),
  ]
}
