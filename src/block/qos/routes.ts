import { randomUUID } from 'node:crypto'
import { type SqlBool, sql } from 'kysely'
import { Type } from 'typebox'
import { Conflict, Invalid, NotFound } from '../../kernel/errors.ts'
import type { Block } from '../context.ts'
import { InvalidState } from '../errors.ts'
import { type Condition, never, nextLink, readPaging, type SortColumns, selectPage } from '../listing.ts'
import {
  type Answer,
  accepted,
  type BlockRequest,
  type Operation,
  operation,
  parameter,
} from '../operation.ts'
import { authorize } from '../policy.ts'
import { stringMapOf } from '../types/queries.ts'
import { closed, queryBoolean, validator } from '../validation.ts'
import { getQosSpecs, type QosRow, qosView } from './queries.ts'

const consumers = ['front-end', 'back-end', 'both'] as const
const Consumer = Type.Union(
  consumers.map((word) => Type.Literal(word)),
  { description: `is not one of ${consumers.join(', ')}` },
)
const Value = Type.String({ maxLength: 255, description: 'is not text of at most 255 characters' })
const specName = /^[a-zA-Z0-9\-_:.]{1,255}$/

const createBody = validator(
  closed({
    qos_specs: Type.Object(
      {
        name: Type.String({ minLength: 1, maxLength: 255, pattern: '\\S', description: 'is not a name' }),
        consumer: Type.Optional(Consumer),
      },
      { additionalProperties: Value },
    ),
  }),
)
const updateBody = validator(
  closed({ qos_specs: Type.Object({ consumer: Type.Optional(Consumer) }, { additionalProperties: Value }) }),
)
const deleteKeysBody = validator(closed({ keys: Type.Array(Type.String({ minLength: 1, maxLength: 255 })) }))

const sortColumns: SortColumns = {
  id: { column: 'id', kind: 'required' },
  name: { column: 'name', kind: 'required' },
  consumer: { column: 'consumer', kind: 'required' },
  created_at: { column: 'created_at', kind: 'required' },
  updated_at: { column: 'updated_at', kind: 'text' },
}

/** `/qos-specs`, without their associations. @see block-storage-api specification 3.7, 5.5 */
export function qosOperations(block: Block): readonly Operation[] {
  return [
    { method: 'GET', path: '/qos-specs', run: (request) => list(block, request) },
    operation({
      method: 'POST',
      path: '/qos-specs',
      body: createBody,
      async run(request, { qos_specs: body }) {
        authorize(request.identity, 'volume_extension:qos_specs_manage:create')
        const { name, consumer = 'back-end', ...specs } = body
        return answer(request, await insert(block, name.trim(), consumer, checked(specs)))
      },
    }),
    {
      method: 'GET',
      path: '/qos-specs/:id',
      async run(request) {
        authorize(request.identity, 'volume_extension:qos_specs_manage:get')
        return answer(request, await getQosSpecs(block.db, parameter(request, 'id')))
      },
    },
    operation({
      method: 'PUT',
      path: '/qos-specs/:id',
      body: updateBody,
      async run(request, { qos_specs: body }) {
        authorize(request.identity, 'volume_extension:qos_specs_manage:update')
        const { consumer, ...specs } = body
        checked(specs)
        await change(block, parameter(request, 'id'), (row) => ({
          consumer: consumer ?? row.consumer,
          specs: { ...stringMapOf(row.specs), ...specs },
        }))
        return { status: 200, body: { qos_specs: body } }
      },
    }),
    operation({
      method: 'PUT',
      path: '/qos-specs/:id/delete_keys',
      body: deleteKeysBody,
      async run(request, { keys }) {
        authorize(request.identity, 'volume_extension:qos_specs_manage:delete')
        await change(block, parameter(request, 'id'), (row) => {
          const before = stringMapOf(row.specs)
          const missing = keys.find((key) => !Object.hasOwn(before, key))
          if (missing !== undefined) {
            throw new NotFound(`QoS spec ${row.id} has no spec with key ${missing}.`)
          }
          const left = Object.entries(before).filter(([key]) => !keys.includes(key))
          return { consumer: row.consumer, specs: Object.fromEntries(left) }
        })
        return accepted
      },
    }),
    {
      method: 'DELETE',
      path: '/qos-specs/:id',
      async run(request) {
        authorize(request.identity, 'volume_extension:qos_specs_manage:delete')
        const force = request.query.get('force')
        await remove(block, parameter(request, 'id'), force !== null && queryBoolean('force', force))
        return accepted
      },
    },
  ]
}

/** The links stand beside the object. */
function answer(request: BlockRequest, row: QosRow): Answer {
  const links: unknown = JSON.parse(request.links.json('qos-specs', row.id))
  return { status: 200, body: { qos_specs: qosView(row), links } }
}

function checked(specs: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const wrong = Object.keys(specs).find((key) => !specName.test(key))
  if (wrong !== undefined) {
    throw new Invalid(
      `Invalid input for field/attribute qos_specs. '${wrong}' does not match any of the regexes: '${specName.source}'`,
    )
  }
  return specs
}

async function list(block: Block, request: BlockRequest): Promise<Answer> {
  authorize(request.identity, 'volume_extension:qos_specs_manage:get_all')
  const paging = readPaging(request.query, sortColumns, block.settings.osapiMaxLimit)
  const conditions: Condition[] = []
  const notFilters = ['limit', 'marker', 'offset', 'sort', 'sort_key', 'sort_dir']
  for (const [name, value] of request.query) {
    if (notFilters.includes(name)) continue
    const column = Object.hasOwn(sortColumns, name) ? sortColumns[name]?.column : undefined
    conditions.push(column === undefined ? never : sql<SqlBool>`${sql.ref(column)} = ${value}`)
  }
  const from = { table: 'volume_qos_specs', what: 'QoS spec' }
  const rows = await selectPage<QosRow>(block.db, from, conditions, paging)
  const links = nextLink(request, '/qos-specs', { ids: rows.map((row) => row.id), paging })
  return {
    status: 200,
    body: { qos_specs: rows.map(qosView), ...(links === undefined ? {} : { qos_specs_links: links }) },
  }
}

async function insert(
  block: Block,
  name: string,
  consumer: string,
  specs: Readonly<Record<string, string>>,
): Promise<QosRow> {
  const row = await block.db
    .insertInto('volume_qos_specs')
    .values({
      id: randomUUID(),
      name,
      consumer,
      specs: JSON.stringify(specs),
      created_at: block.now().toISOString(),
      updated_at: null,
    })
    .onConflict((conflict) => conflict.column('name').doNothing())
    .returningAll()
    .executeTakeFirst()
  if (row === undefined) throw new Conflict(`Qos Specs ${name} already exists.`)
  return row
}

async function change(
  block: Block,
  id: string,
  changed: (row: QosRow) => { consumer: string; specs: Readonly<Record<string, string>> },
): Promise<void> {
  await block.db.transaction().execute(async (transaction) => {
    const { consumer, specs } = changed(await getQosSpecs(transaction, id))
    await transaction
      .updateTable('volume_qos_specs')
      .set({ consumer, specs: JSON.stringify(specs), updated_at: block.now().toISOString() })
      .where('id', '=', id)
      .execute()
  })
}

/** @throws InvalidState while types are associated, unless it is forced, which ends the associations */
async function remove(block: Block, id: string, force: boolean): Promise<void> {
  await block.db.transaction().execute(async (transaction) => {
    await getQosSpecs(transaction, id)
    const associated = await transaction
      .selectFrom('volume_types')
      .select('id')
      .where('qos_specs_id', '=', id)
      .executeTakeFirst()
    if (associated !== undefined && !force) throw new InvalidState('Qos specs still in use.')
    await transaction
      .updateTable('volume_types')
      .set({ qos_specs_id: null })
      .where('qos_specs_id', '=', id)
      .execute()
    await transaction.deleteFrom('volume_qos_specs').where('id', '=', id).execute()
  })
}
