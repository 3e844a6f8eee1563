import { randomUUID } from 'node:crypto'
import { type SqlBool, sql } from 'kysely'
import { Conflict, Invalid, NotFound } from '../../kernel/errors.ts'
import type { Block, BlockDb } from '../context.ts'
import { InvalidState } from '../errors.ts'
import {
  type Condition,
  never,
  nextLink,
  readFilters,
  readPaging,
  type SortColumns,
  selectPage,
} from '../listing.ts'
import {
  type Answer,
  accepted,
  type BlockRequest,
  type Operation,
  operation,
  parameter,
} from '../operation.ts'
import { authorize } from '../policy.ts'
import { removeTypeLimits, renameTypeLimits } from '../quotas/type-limits.ts'
import { booleanOf, queryBoolean } from '../validation.ts'
import { mapCondition } from '../volumes/filters.ts'
import { defaultType } from './default.ts'
import { findTypeByName, getType, type TypeRow, visibleTypes } from './queries.ts'
import { createTypeBody, type UpdateType, updateTypeBody } from './schemas.ts'
import { publicExtraSpecs, seesSensitive, typeView } from './view.ts'

const sortColumns: SortColumns = {
  id: { column: 'id', kind: 'required' },
  name: { column: 'name', kind: 'required' },
  created_at: { column: 'created_at', kind: 'required' },
  updated_at: { column: 'updated_at', kind: 'text' },
}

/** `/types`, without what lies below a type. @see block-storage-api specification 5.5 */
export function typeOperations(block: Block): readonly Operation[] {
  return [
    { method: 'GET', path: '/types', run: (request) => listTypes(block, request) },
    {
      method: 'GET',
      path: '/types/default',
      async run(request) {
        authorize(request.identity, 'volume_extension:type_get')
        const row = await defaultType(block, block.db, request.projectId)
        return { status: 200, body: { volume_type: typeView(row, request, 'show') } }
      },
    },
    {
      method: 'GET',
      path: '/types/:id',
      async run(request) {
        authorize(request.identity, 'volume_extension:type_get')
        const row = await getType(block.db, request, parameter(request, 'id'))
        return { status: 200, body: { volume_type: typeView(row, request, 'show') } }
      },
    },
    operation({
      method: 'POST',
      path: '/types',
      body: createTypeBody,
      async run(request, { volume_type: body }) {
        authorize(request.identity, 'volume_extension:type_create')
        const row = await insertType(block, {
          name: body.name.trim(),
          description: body.description ?? null,
          isPublic: booleanOf(body['os-volume-type-access:is_public'] ?? true),
          extraSpecs: body.extra_specs ?? {},
        })
        return { status: 200, body: { volume_type: typeView(row, request, 'create') } }
      },
    }),
    operation({
      method: 'PUT',
      path: '/types/:id',
      body: updateTypeBody,
      async run(request, { volume_type: body }) {
        authorize(request.identity, 'volume_extension:type_update')
        const row = await updateType(block, request, parameter(request, 'id'), body)
        return { status: 200, body: { volume_type: typeView(row, request, 'update') } }
      },
    }),
    {
      method: 'DELETE',
      path: '/types/:id',
      async run(request) {
        authorize(request.identity, 'volume_extension:type_delete')
        await deleteType(block, request, parameter(request, 'id'))
        return accepted
      },
    },
  ]
}

async function listTypes(block: Block, request: BlockRequest): Promise<Answer> {
  authorize(request.identity, 'volume_extension:type_get_all')
  const paging = readPaging(request.query, sortColumns, block.settings.osapiMaxLimit)
  const conditions: Condition[] = []
  if (!request.isAdmin) conditions.push(visibleTypes(request.projectId))
  else conditions.push(...publicity(request.query.get('is_public')))
  const allowed = request.minor >= 52 ? ['is_public', 'extra_specs'] : ['is_public']
  for (const [name, value] of readFilters(block, request, 'volume_type', allowed)) {
    if (name === 'is_public') continue
    if (name === 'extra_specs' && request.minor >= 52) {
      conditions.push(mapCondition(block.engine, ['extra_specs'], value))
      const hidden = !publicExtraSpecs.some((key) => value.includes(key))
      if (hidden && !seesSensitive(request)) return { status: 200, body: { volume_types: [] } }
    } else {
      const column = ['id', 'name', 'description'].includes(name)
      conditions.push(column ? sql<SqlBool>`${sql.ref(name)} = ${value}` : never)
    }
  }
  const rows = await selectPage<TypeRow>(
    block.db,
    { table: 'volume_types', what: 'Volume type' },
    conditions,
    paging,
  )
  const links = nextLink(request, '/types', { ids: rows.map((row) => row.id), paging })
  return {
    status: 200,
    body: {
      volume_types: rows.map((row) => typeView(row, request, 'show')),
      ...(links === undefined ? {} : { volume_type_links: links }),
    },
  }
}

/** What an admin is shown: public types unless asked otherwise; `None` is all. */
function publicity(wanted: string | null): readonly Condition[] {
  if (wanted === null) return [sql<SqlBool>`is_public = 1`]
  if (wanted.toLowerCase() === 'none') return []
  return [sql<SqlBool>`is_public = ${queryBoolean('is_public', wanted) ? 1 : 0}`]
}

async function refuseTaken(db: BlockDb, name: string): Promise<void> {
  if ((await findTypeByName(db, name)) !== undefined) {
    throw new Conflict(`Volume Type ${name} already exists.`)
  }
}

/** Records a new type. @throws Conflict when the name is taken */
export async function insertType(
  block: Pick<Block, 'db' | 'now'>,
  type: {
    name: string
    description: string | null
    isPublic: boolean
    extraSpecs: Readonly<Record<string, string>>
  },
): Promise<TypeRow> {
  await refuseTaken(block.db, type.name)
  const row = await block.db
    .insertInto('volume_types')
    .values({
      id: randomUUID(),
      name: type.name,
      description: type.description,
      is_public: type.isPublic ? 1 : 0,
      extra_specs: JSON.stringify(type.extraSpecs),
      qos_specs_id: null,
      created_at: block.now().toISOString(),
      updated_at: null,
    })
    .onConflict((conflict) => conflict.column('name').doNothing())
    .returningAll()
    .executeTakeFirst()
  if (row === undefined) throw new Conflict(`Volume Type ${type.name} already exists.`)
  return row
}

/** A new name takes the type's quotas along. @throws Invalid, Conflict */
async function updateType(
  block: Block,
  request: BlockRequest,
  id: string,
  body: UpdateType['volume_type'],
): Promise<TypeRow> {
  const name = body.name?.trim()
  if (name === '') throw new Invalid('Volume type name can not be empty.')
  if (name === undefined && body.description === undefined && body.is_public === undefined) {
    throw new Invalid('Specify volume type name, description, is_public or a combination thereof.')
  }
  return await block.db.transaction().execute(async (transaction) => {
    const before = await getType(transaction, request, id)
    if (name !== undefined && name !== before.name) {
      await refuseTaken(transaction, name)
      await renameTypeLimits(transaction, before.name, name)
    }
    return await transaction
      .updateTable('volume_types')
      .set({
        ...(name === undefined ? {} : { name }),
        ...(body.description === undefined ? {} : { description: body.description }),
        ...(body.is_public === undefined ? {} : { is_public: booleanOf(body.is_public) ? 1 : 0 }),
        updated_at: block.now().toISOString(),
      })
      .where('id', '=', id)
      .returningAll()
      .executeTakeFirstOrThrow()
  })
}

async function deleteType(block: Block, request: BlockRequest, id: string): Promise<void> {
  const row = await getType(block.db, request, id)
  if (row.name === block.settings.defaultVolumeType) {
    throw new InvalidState(`The volume type ${id} is a default volume type and cannot be deleted.`)
  }
  await block.db.transaction().execute(async (transaction) => {
    const { rows } = await sql<{ types: number; defaults: number; volumes: number }>`select
      (select count(*) from volume_types) as types,
      (select count(*) from default_volume_types where volume_type_id = ${id}) as defaults,
      (select count(*) from volumes where volume_type_id = ${id}) as volumes`.execute(transaction)
    const [counts] = rows
    if (counts === undefined) throw new NotFound(`Volume type ${id} could not be found.`)
    if (Number(counts.types) <= 1) throw new InvalidState('The last volume type cannot be deleted.')
    if (Number(counts.defaults) > 0) {
      throw new InvalidState(`The volume type ${id} is a project's default and cannot be deleted.`)
    }
    if (Number(counts.volumes) > 0) {
      throw new InvalidState(`Volume Type ${id} deletion is not allowed with volumes present with the type.`)
    }
    await transaction.deleteFrom('volume_type_projects').where('volume_type_id', '=', id).execute()
    await transaction.deleteFrom('volume_type_encryptions').where('volume_type_id', '=', id).execute()
    await removeTypeLimits(transaction, row.name)
    await transaction.deleteFrom('volume_types').where('id', '=', id).execute()
  })
}
