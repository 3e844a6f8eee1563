import { Conflict, Invalid, NotFound } from '../../kernel/errors.ts'
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
import { findEncryption, typeEncryptionOperations } from './encryption.ts'
import { getType, getTypeByIdOrName, stringMapOf, type TypeRow } from './queries.ts'
import { defaultTypeBody, extraSpecItemBody, extraSpecsBody, projectArgument } from './schemas.ts'
import { visibleExtraSpecs } from './view.ts'

type StringMap = Readonly<Record<string, string>>

/** What lies below a type: extra specs and access; and the projects' default types. */
export function typeDetailOperations(block: Block): readonly Operation[] {
  return [
    ...extraSpecOperations(block),
    ...accessOperations(block),
    ...typeEncryptionOperations(block),
    ...defaultTypeOperations(block),
  ]
}

function extraSpecOperations(block: Block): readonly Operation[] {
  const path = '/types/:id/extra_specs'
  const show = async (request: BlockRequest, rule: Rule) => {
    authorize(request.identity, rule)
    return visibleExtraSpecs(await getType(block.db, request, parameter(request, 'id')), request)
  }
  return [
    {
      method: 'GET',
      path,
      run: async (request) => ({
        status: 200,
        body: { extra_specs: await show(request, 'volume_extension:types_extra_specs:index') },
      }),
    },
    operation({
      method: 'POST',
      path,
      body: extraSpecsBody,
      async run(request, body) {
        await changeSpecs(block, request, 'volume_extension:types_extra_specs:create', (before) => ({
          ...before,
          ...body.extra_specs,
        }))
        return { status: 200, body }
      },
    }),
    {
      method: 'GET',
      path: `${path}/:key`,
      async run(request) {
        const specs = await show(request, 'volume_extension:types_extra_specs:show')
        return { status: 200, body: item(specs, parameter(request, 'key'), parameter(request, 'id')) }
      },
    },
    operation({
      method: 'PUT',
      path: `${path}/:key`,
      body: extraSpecItemBody,
      async run(request, body) {
        const keys = Object.keys(body)
        if (keys.length > 1) throw new Invalid('Request body contains too many items')
        if (keys[0] !== parameter(request, 'key')) throw new Invalid('Request body and URI mismatch')
        await changeSpecs(block, request, 'volume_extension:types_extra_specs:update', (before) => ({
          ...before,
          ...body,
        }))
        return { status: 200, body }
      },
    }),
    {
      method: 'DELETE',
      path: `${path}/:key`,
      async run(request) {
        const key = parameter(request, 'key')
        await changeSpecs(block, request, 'volume_extension:types_extra_specs:delete', (before) => {
          item(before, key, parameter(request, 'id'))
          return Object.fromEntries(Object.entries(before).filter(([name]) => name !== key))
        })
        return accepted
      },
    },
  ]
}

function item(specs: StringMap, key: string, typeId: string): StringMap {
  const value = Object.hasOwn(specs, key) ? specs[key] : undefined
  if (value === undefined) throw new NotFound(`Volume Type ${typeId} has no extra specs with key ${key}.`)
  return { [key]: value }
}

/** @throws InvalidState while volumes are of the type */
async function changeSpecs(
  block: Block,
  request: BlockRequest,
  rule: Rule,
  changed: (before: StringMap) => StringMap,
): Promise<void> {
  authorize(request.identity, rule)
  const id = parameter(request, 'id')
  await block.db.transaction().execute(async (transaction) => {
    const type = await getType(transaction, request, id)
    const after = changed(stringMapOf(type.extra_specs))
    if (isTrue(after['multiattach']) && isTrue(after['cacheable'])) {
      throw new Invalid('cacheable cannot be set with multiattach.')
    }
    if (isTrue(after['multiattach']) && (await findEncryption(transaction, id)) !== undefined) {
      throw new Invalid('Multiattach cannot be used with encrypted volumes.')
    }
    const user = await transaction
      .selectFrom('volumes')
      .select('id')
      .where('volume_type_id', '=', id)
      .limit(1)
      .executeTakeFirst()
    const isDeletion = rule === 'volume_extension:types_extra_specs:delete'
    if (user !== undefined && !isDeletion) throw new InvalidState('Volume Type is currently in use.')
    await transaction
      .updateTable('volume_types')
      .set({ extra_specs: JSON.stringify(after), updated_at: block.now().toISOString() })
      .where('id', '=', id)
      .execute()
  })
}

function isTrue(value: string | undefined): boolean {
  return /^<is>\s+true$/i.test(value ?? '')
}

function accessOperations(block: Block): readonly Operation[] {
  const privateType = async (request: BlockRequest): Promise<TypeRow> =>
    await getType(block.db, request, parameter(request, 'id'))
  return [
    {
      method: 'GET',
      path: '/types/:id/os-volume-type-access',
      async run(request) {
        authorize(request.identity, 'volume_extension:volume_type_access:get_all_for_type')
        const type = await privateType(request)
        if (type.is_public === 1) throw new NotFound('Access list not available for public volume types.')
        const access = await block.db
          .selectFrom('volume_type_projects')
          .select(['volume_type_id', 'project_id'])
          .where('volume_type_id', '=', type.id)
          .execute()
        return { status: 200, body: { volume_type_access: access } }
      },
    },
    actionRoute('/types/:id/action', [
      action({
        name: 'addProjectAccess',
        body: projectArgument,
        async run(request, { project }) {
          authorize(request.identity, 'volume_extension:volume_type_access:addProjectAccess')
          const type = await privateType(request)
          if (type.is_public === 1) {
            throw new Invalid(
              'Invalid volume type: Type access modification is not applicable to public volume type.',
            )
          }
          const added = await block.db
            .insertInto('volume_type_projects')
            .values({ volume_type_id: type.id, project_id: project })
            .onConflict((conflict) => conflict.columns(['volume_type_id', 'project_id']).doNothing())
            .returningAll()
            .executeTakeFirst()
          if (added === undefined) {
            throw new Conflict(`Volume type access for ${type.id} / ${project} combination already exists.`)
          }
          return accepted
        },
      }),
      action({
        name: 'removeProjectAccess',
        body: projectArgument,
        async run(request, { project }) {
          authorize(request.identity, 'volume_extension:volume_type_access:removeProjectAccess')
          const type = await privateType(request)
          if (type.is_public === 1) {
            throw new Invalid(
              'Invalid volume type: Type access modification is not applicable to public volume type.',
            )
          }
          const removed = await block.db
            .deleteFrom('volume_type_projects')
            .where('volume_type_id', '=', type.id)
            .where('project_id', '=', project)
            .returningAll()
            .executeTakeFirst()
          if (removed === undefined) {
            throw new NotFound(`Volume type access not found for ${type.id} / ${project} combination.`)
          }
          return accepted
        },
      }),
    ]),
  ]
}

/** Projects' own default types, from 3.62 on. */
function defaultTypeOperations(block: Block): readonly Operation[] {
  const since = 62
  const path = '/default-types/:target'
  return [
    {
      method: 'GET',
      path: '/default-types',
      since,
      async run(request) {
        authorize(request.identity, 'volume_extension:default_get_all')
        const rows = await block.db.selectFrom('default_volume_types').selectAll().execute()
        return { status: 200, body: { default_types: rows } }
      },
    },
    {
      method: 'GET',
      path,
      since,
      async run(request) {
        authorize(request.identity, 'volume_extension:default_get')
        const target = parameter(request, 'target')
        const row = await block.db
          .selectFrom('default_volume_types')
          .selectAll()
          .where('project_id', '=', target)
          .executeTakeFirst()
        if (row === undefined) throw new NotFound(`Default type for project ${target} not found.`)
        return { status: 200, body: { default_type: row } }
      },
    },
    operation({
      method: 'PUT',
      path,
      since,
      body: defaultTypeBody,
      async run(request, { default_type: body }) {
        authorize(request.identity, 'volume_extension:default_set_or_update')
        const target = parameter(request, 'target')
        const type = await getTypeByIdOrName(block.db, request, body.volume_type)
        const row = { project_id: target, volume_type_id: type.id }
        await block.db
          .insertInto('default_volume_types')
          .values(row)
          .onConflict((conflict) => conflict.column('project_id').doUpdateSet({ volume_type_id: type.id }))
          .execute()
        return { status: 200, body: { default_type: row } }
      },
    }),
    {
      method: 'DELETE',
      path,
      since,
      async run(request) {
        authorize(request.identity, 'volume_extension:default_unset')
        const target = parameter(request, 'target')
        await block.db.deleteFrom('default_volume_types').where('project_id', '=', target).execute()
        return { status: 204 }
      },
    },
  ]
}
