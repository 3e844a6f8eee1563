import { Type } from 'typebox'
import { Invalid, NotFound } from '../../kernel/errors.ts'
import type { Block } from '../context.ts'
import { accepted, type BlockRequest, type Operation, operation, parameter } from '../operation.ts'
import { authorize, type Rule } from '../policy.ts'
import { stringMapOf } from '../types/queries.ts'
import { closed, ExtraSpecs, validator } from '../validation.ts'
import { getGroupType } from './queries.ts'

type StringMap = Readonly<Record<string, string>>

const specsBody = validator(closed({ group_specs: ExtraSpecs }))
const specItemBody = validator(
  Type.Record(Type.String({ pattern: '^[a-zA-Z0-9\\-_:.]{1,255}$' }), Type.String({ maxLength: 255 }), {
    additionalProperties: false,
    minProperties: 1,
    description: 'is not an object of strings with valid keys',
  }),
)

/** What lies below a group type: its specs. */
export function groupSpecOperations(block: Block): readonly Operation[] {
  const since = 11
  const path = '/group_types/:id/group_specs'
  return [
    {
      method: 'GET',
      path,
      since,
      async run(request) {
        authorize(request.identity, 'group:group_types_specs:get_all')
        return { status: 200, body: { group_specs: await specsOf(block, request) } }
      },
    },
    operation({
      method: 'POST',
      path,
      since,
      body: specsBody,
      async run(request, body) {
        await change(block, request, 'group:group_types_specs:create', (before) => ({
          ...before,
          ...body.group_specs,
        }))
        return { status: 202, body }
      },
    }),
    {
      method: 'GET',
      path: `${path}/:key`,
      since,
      async run(request) {
        authorize(request.identity, 'group:group_types_specs:get')
        return { status: 200, body: item(await specsOf(block, request), request) }
      },
    },
    operation({
      method: 'PUT',
      path: `${path}/:key`,
      since,
      body: specItemBody,
      async run(request, body) {
        const keys = Object.keys(body)
        if (keys.length > 1) throw new Invalid('Request body contains too many items')
        if (keys[0] !== parameter(request, 'key')) throw new Invalid('Request body and URI mismatch')
        await change(block, request, 'group:group_types_specs:update', (before) => ({ ...before, ...body }))
        return { status: 200, body }
      },
    }),
    {
      method: 'DELETE',
      path: `${path}/:key`,
      since,
      async run(request) {
        await change(block, request, 'group:group_types_specs:delete', (before) => {
          item(before, request)
          const key = parameter(request, 'key')
          return Object.fromEntries(Object.entries(before).filter(([name]) => name !== key))
        })
        return accepted
      },
    },
  ]
}

async function specsOf(block: Block, request: BlockRequest): Promise<StringMap> {
  return stringMapOf((await getGroupType(block.db, request, parameter(request, 'id'))).group_specs)
}

/** One spec. @throws NotFound when there is none of that key */
function item(specs: StringMap, request: BlockRequest): StringMap {
  const key = parameter(request, 'key')
  const value = Object.hasOwn(specs, key) ? specs[key] : undefined
  if (value === undefined) {
    throw new NotFound(`Group Type ${parameter(request, 'id')} has no specs with key ${key}.`)
  }
  return { [key]: value }
}

async function change(
  block: Block,
  request: BlockRequest,
  rule: Rule,
  changed: (before: StringMap) => StringMap,
): Promise<void> {
  authorize(request.identity, rule)
  await block.db.transaction().execute(async (transaction) => {
    const type = await getGroupType(transaction, request, parameter(request, 'id'))
    await transaction
      .updateTable('volume_group_types')
      .set({
        group_specs: JSON.stringify(changed(stringMapOf(type.group_specs))),
        updated_at: block.now().toISOString(),
      })
      .where('id', '=', type.id)
      .execute()
  })
}
