import { type SqlBool, sql } from 'kysely'
import { Type } from 'typebox'
import { Conflict, Invalid, NotFound } from '../../kernel/errors.ts'
import type { Block } from '../context.ts'
import { InvalidState } from '../errors.ts'
import { type Condition, nextLink, readPaging, type SortColumns, selectPage } from '../listing.ts'
import {
  type Answer,
  accepted,
  type BlockRequest,
  type Operation,
  operation,
  parameter,
} from '../operation.ts'
import { authorize, isAllowed } from '../policy.ts'
import { stringMapOf } from '../types/queries.ts'
import { booleanOf, closed, ExtraSpecs, LaxBoolean, Name, queryBoolean, validator } from '../validation.ts'
import { findGroupTypeByName, type GroupTypeRow, getGroupType, insertGroupType } from './queries.ts'
import { groupSpecOperations } from './spec-routes.ts'

const typeName = Type.String({
  minLength: 1,
  maxLength: 255,
  pattern: '\\S',
  description: 'is not a valid name',
})

const createBody = validator(
  closed({
    group_type: closed({
      name: typeName,
      description: Type.Optional(Name),
      is_public: Type.Optional(LaxBoolean),
      group_specs: Type.Optional(Type.Union([ExtraSpecs, Type.Null()])),
    }),
  }),
)

const updateBody = validator(
  closed({
    group_type: closed({
      name: Type.Optional(Type.Union([Type.String({ maxLength: 255 }), Type.Null()])),
      description: Type.Optional(Name),
      is_public: Type.Optional(LaxBoolean),
    }),
  }),
)

const sortColumns: SortColumns = {
  id: { column: 'id', kind: 'required' },
  name: { column: 'name', kind: 'required' },
  created_at: { column: 'created_at', kind: 'required' },
  updated_at: { column: 'updated_at', kind: 'text' },
}

const since = 11

/** `/group_types`. @see block-storage-api specification 3.10, 5.5 */
export function groupTypeOperations(block: Block): readonly Operation[] {
  return [
    { method: 'GET', path: '/group_types', since, run: (request) => listGroupTypes(block, request) },
    {
      method: 'GET',
      path: '/group_types/default',
      since,
      async run(request) {
        const name = block.settings.defaultGroupType
        const row = name === undefined ? undefined : await findGroupTypeByName(block.db, name)
        if (row === undefined) throw new NotFound('Default group type can not be found.')
        return { status: 200, body: { group_type: view(row, request) } }
      },
    },
    {
      method: 'GET',
      path: '/group_types/:id',
      since,
      async run(request) {
        const row = await getGroupType(block.db, request, parameter(request, 'id'))
        return { status: 200, body: { group_type: view(row, request) } }
      },
    },
    operation({
      method: 'POST',
      path: '/group_types',
      since,
      body: createBody,
      async run(request, { group_type: body }) {
        authorize(request.identity, 'group:group_types:create')
        const row = await insertGroupType(block, {
          name: body.name.trim(),
          description: body.description ?? null,
          isPublic: booleanOf(body.is_public ?? true),
          groupSpecs: body.group_specs ?? {},
        })
        return { status: 202, body: { group_type: view(row, request) } }
      },
    }),
    operation({
      method: 'PUT',
      path: '/group_types/:id',
      since,
      body: updateBody,
      async run(request, { group_type: body }) {
        authorize(request.identity, 'group:group_types:update')
        const before = await getGroupType(block.db, request, parameter(request, 'id'))
        const name = body.name?.trim()
        if (name === '') throw new Invalid('Group type name can not be empty.')
        if (name === undefined && body.description === undefined && body.is_public === undefined) {
          throw new Invalid('Specify group type name, description or a combination thereof.')
        }
        if (name !== undefined && name !== before.name) await refuseTaken(block, name)
        const row = await block.db
          .updateTable('volume_group_types')
          .set({
            ...(name === undefined ? {} : { name }),
            ...(body.description === undefined ? {} : { description: body.description }),
            ...(body.is_public === undefined ? {} : { is_public: booleanOf(body.is_public) ? 1 : 0 }),
            updated_at: block.now().toISOString(),
          })
          .where('id', '=', before.id)
          .returningAll()
          .executeTakeFirstOrThrow()
        return { status: 200, body: { group_type: view(row, request) } }
      },
    }),
    {
      method: 'DELETE',
      path: '/group_types/:id',
      since,
      async run(request) {
        authorize(request.identity, 'group:group_types:delete')
        await deleteGroupType(block, request, parameter(request, 'id'))
        return accepted
      },
    },
    ...groupSpecOperations(block),
  ]
}

function view(row: GroupTypeRow, request: BlockRequest): object {
  const seesSpecs = isAllowed(request.identity, 'group:access_group_types_specs', request.projectId)
  return {
    id: row.id,
    name: row.name,
    description: row.description,
    is_public: row.is_public === 1,
    ...(seesSpecs ? { group_specs: stringMapOf(row.group_specs) } : {}),
  }
}

async function listGroupTypes(block: Block, request: BlockRequest): Promise<Answer> {
  const paging = readPaging(request.query, sortColumns, block.settings.osapiMaxLimit)
  const conditions: Condition[] = []
  const wanted = request.query.get('is_public')
  if (!request.isAdmin || wanted === null) conditions.push(sql<SqlBool>`is_public = 1`)
  else if (wanted.toLowerCase() !== 'none') {
    conditions.push(sql<SqlBool>`is_public = ${queryBoolean('is_public', wanted) ? 1 : 0}`)
  }
  const from = { table: 'volume_group_types', what: 'Group type' }
  const rows = await selectPage<GroupTypeRow>(block.db, from, conditions, paging)
  const links = nextLink(request, '/group_types', { ids: rows.map((row) => row.id), paging })
  return {
    status: 200,
    body: {
      group_types: rows.map((row) => view(row, request)),
      ...(links === undefined ? {} : { group_type_links: links }),
    },
  }
}

async function refuseTaken(block: Block, name: string): Promise<void> {
  if ((await findGroupTypeByName(block.db, name)) !== undefined) {
    throw new Conflict(`Group Type ${name} already exists.`)
  }
}

async function deleteGroupType(block: Block, request: BlockRequest, id: string): Promise<void> {
  await block.db.transaction().execute(async (transaction) => {
    const row = await getGroupType(transaction, request, id)
    const user = await transaction
      .selectFrom('volume_groups')
      .select('id')
      .where('group_type_id', '=', row.id)
      .limit(1)
      .executeTakeFirst()
    if (user !== undefined) throw new InvalidState('Target group type is still in use.')
    await transaction.deleteFrom('volume_group_types').where('id', '=', row.id).execute()
  })
}
