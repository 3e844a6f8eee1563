import { randomUUID } from 'node:crypto'
import { type SqlBool, sql } from 'kysely'
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
import { authorize } from '../policy.ts'
import { booleanOf, queryBoolean } from '../validation.ts'
import { mapCondition } from '../volumes/filters.ts'
import { defaultType } from './default.ts'
import { findTypeByName, getType, type TypeRow, visibleTypes } from './queries.ts'
import { createTypeBody, updateTypeBody } from './schemas.ts'
import { publicExtraSpecs, typeView } from './view.ts'

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
        const row = await defaultType(block, block.db, request.projectId)
        return { status: 200, body: { volume_type: typeView(row, request, 'show') } }
      },
    },
    {
      method: 'GET',
      path: '/types/:id',
      async run(request) {
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
        if (row.is_public === 0) {
          await block.db
            .insertInto('volume_type_projects')
            .values({ volume_type_id: row.id, project_id: request.projectId })
            .execute()
        }
        return { status: 200, body: { volume_type: typeView(row, request, 'create') } }
      },
    }),
    operation({
      method: 'PUT',
      path: '/types/:id',
      body: updateTypeBody,
      async run(request, { volume_type: body }) {
        authorize(request.identity, 'volume_extension:type_update')
        const { id, name: oldName } = await getType(block.db, request, parameter(request, 'id'))
        const name = body.name?.trim()
        if (name === '') throw new Invalid('Volume type name can not be empty.')
        if (name === undefined && body.description === undefined && body.is_public === undefined) {
          throw new Invalid('Specify volume type name, description, is_public or a combination thereof.')
        }
        if (name !== undefined && name !== oldName) await refuseTaken(block, name)
        const row = await block.db
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
    {
      method: 'GET',
      path: '/types/:id/encryption',
      async run(request) {
        authorize(request.identity, 'volume_extension:volume_type_encryption:get')
        await getType(block.db, request, parameter(request, 'id'))
        return { status: 200, body: {} } // no type is encrypted: there is no way to make one so yet
      },
    },
  ]
}

async function listTypes(block: Block, request: BlockRequest): Promise<Answer> {
  authorize(request.identity, 'volume_extension:type_get_all')
  const paging = readPaging(request.query, sortColumns, block.settings.osapiMaxLimit)
  const conditions: Condition[] = []
  const wanted = request.query.get('is_public')
  if (!request.isAdmin) conditions.push(visibleTypes(request.projectId))
  else if (wanted === null) conditions.push(sql<SqlBool>`is_public = 1`)
  else if (wanted.toLowerCase() !== 'none') {
    conditions.push(sql<SqlBool>`is_public = ${queryBoolean('is_public', wanted) ? 1 : 0}`)
  }
  const specs = request.query.get('extra_specs')
  if (specs !== null && request.minor >= 52) {
    conditions.push(mapCondition(block.engine, ['extra_specs'], specs))
    const hidden = !publicExtraSpecs.some((key) => specs.includes(key))
    if (!request.isAdmin && hidden) return { status: 200, body: { volume_types: [] } }
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

async function refuseTaken(block: Pick<Block, 'db'>, name: string): Promise<void> {
  if ((await findTypeByName(block.db, name)) !== undefined) {
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
  await refuseTaken(block, type.name)
  const row = await block.db
    .insertInto('volume_types')
    .values({
      id: randomUUID(),
      name: type.name,
      description: type.description,
      is_public: type.isPublic ? 1 : 0,
      extra_specs: JSON.stringify(type.extraSpecs),
      created_at: block.now().toISOString(),
      updated_at: null,
    })
    .onConflict((conflict) => conflict.column('name').doNothing())
    .returningAll()
    .executeTakeFirst()
  if (row === undefined) throw new Conflict(`Volume Type ${type.name} already exists.`)
  return row
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
    await transaction.deleteFrom('volume_types').where('id', '=', id).execute()
  })
}
