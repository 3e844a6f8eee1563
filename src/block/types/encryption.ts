import { randomUUID } from 'node:crypto'
import type { Selectable } from 'kysely'
import { Type } from 'typebox'
import { Invalid, NotFound } from '../../kernel/errors.ts'
import type { Block, BlockDb } from '../context.ts'
import type { VolumeTypeEncryptionsTable } from '../db/tables.ts'
import { InvalidState } from '../errors.ts'
import { wireDate } from '../links.ts'
import { accepted, type BlockRequest, type Operation, operation, parameter } from '../operation.ts'
import { authorize } from '../policy.ts'
import { closed, laxInteger, validator } from '../validation.ts'
import { getType, stringMapOf, type TypeRow } from './queries.ts'

export type EncryptionRow = Selectable<VolumeTypeEncryptionsTable>

const ControlLocation = Type.Union([Type.Literal('front-end'), Type.Literal('back-end')], {
  description: "is not one of ['front-end', 'back-end']",
})
const Provider = Type.String({ minLength: 1, maxLength: 255, description: 'is not the name of a provider' })
const optional = {
  cipher: Type.Optional(Type.Union([Type.String({ maxLength: 255 }), Type.Null()])),
  key_size: Type.Optional(Type.Union([laxInteger(0), Type.Null()])),
}
const createBody = validator(
  closed({
    encryption: Type.Object({ provider: Provider, control_location: ControlLocation, ...optional }),
  }),
)
const updateBody = validator(
  closed({
    encryption: Type.Object({
      provider: Type.Optional(Provider),
      control_location: Type.Optional(ControlLocation),
      ...optional,
    }),
  }),
)

/** How a type's volumes are encrypted; undefined when they are not. */
export async function findEncryption(db: BlockDb, typeId: string): Promise<EncryptionRow | undefined> {
  return await db
    .selectFrom('volume_type_encryptions')
    .selectAll()
    .where('volume_type_id', '=', typeId)
    .executeTakeFirst()
}

/** @throws Invalid: without a key manager the volume would silently not be encrypted */
export async function refuseEncrypted(db: BlockDb, type: TypeRow): Promise<void> {
  if ((await findEncryption(db, type.id)) === undefined) return
  throw new Invalid(
    `Volume type ${type.name} is encrypted, which needs a key manager: none is configured on this cloud.`,
  )
}

/**
 * `/types/{id}/encryption`. The last part of a URL below it is any text: older clients send `provider`, newer ones
 * the id.
 * @see block-storage-api specification 3.6, 5.5
 */
export function typeEncryptionOperations(block: Block): readonly Operation[] {
  const path = '/types/:id/encryption'
  return [
    {
      method: 'GET',
      path,
      async run(request) {
        return { status: 200, body: await show(block, request) }
      },
    },
    {
      method: 'GET',
      path: `${path}/:key`,
      async run(request) {
        const view: Readonly<Record<string, unknown>> = await show(block, request)
        const key = parameter(request, 'key')
        if (!Object.hasOwn(view, key)) {
          throw new NotFound(`Volume type encryption for type ${parameter(request, 'id')} has no ${key}.`)
        }
        return { status: 200, body: { [key]: view[key] } }
      },
    },
    operation({
      method: 'POST',
      path,
      body: createBody,
      async run(request, { encryption: body }) {
        authorize(request.identity, 'volume_extension:volume_type_encryption:create')
        const id = randomUUID()
        const typeId = parameter(request, 'id')
        await changeUnused(block, request, 'create', async (db, before, extraSpecs) => {
          if (before !== undefined) {
            throw new InvalidState(`Volume type encryption for type ${typeId} already exists.`)
          }
          if (/^<is>\s+true$/i.test(extraSpecs['multiattach'] ?? '')) {
            throw new Invalid('Multiattach cannot be used with encrypted volumes.')
          }
          await db
            .insertInto('volume_type_encryptions')
            .values({
              id,
              volume_type_id: typeId,
              provider: body.provider,
              control_location: body.control_location,
              cipher: body.cipher ?? null,
              key_size: numberOf(body.key_size),
              created_at: block.now().toISOString(),
              updated_at: null,
            })
            .execute()
        })
        return {
          status: 200,
          body: { encryption: { ...body, volume_type_id: typeId, encryption_id: id } },
        }
      },
    }),
    operation({
      method: 'PUT',
      path: `${path}/:key`,
      body: updateBody,
      async run(request, { encryption: body }) {
        authorize(request.identity, 'volume_extension:volume_type_encryption:update')
        await changeUnused(block, request, 'update', async (db, before, _extraSpecs, missing) => {
          if (before === undefined) throw missing
          await db
            .updateTable('volume_type_encryptions')
            .set({
              ...(body.provider === undefined ? {} : { provider: body.provider }),
              ...(body.control_location === undefined ? {} : { control_location: body.control_location }),
              ...(body.cipher === undefined ? {} : { cipher: body.cipher }),
              ...(body.key_size === undefined ? {} : { key_size: numberOf(body.key_size) }),
              updated_at: block.now().toISOString(),
            })
            .where('id', '=', before.id)
            .execute()
        })
        return { status: 200, body: { encryption: body } }
      },
    }),
    {
      method: 'DELETE',
      path: `${path}/:key`,
      async run(request) {
        authorize(request.identity, 'volume_extension:volume_type_encryption:delete')
        await changeUnused(block, request, 'delete', async (db, before, _extraSpecs, missing) => {
          if (before === undefined) throw missing
          await db.deleteFrom('volume_type_encryptions').where('id', '=', before.id).execute()
        })
        return accepted
      },
    },
  ]
}

const numberOf = (value: string | number | null | undefined) =>
  value === null || value === undefined ? null : Number(value)

async function show(block: Block, request: BlockRequest): Promise<Readonly<Record<string, unknown>>> {
  authorize(request.identity, 'volume_extension:volume_type_encryption:get')
  const { id } = await getType(block.db, request, parameter(request, 'id'))
  const row = await findEncryption(block.db, id)
  if (row === undefined) return {}
  return {
    encryption_id: row.id,
    volume_type_id: row.volume_type_id,
    provider: row.provider,
    cipher: row.cipher,
    key_size: row.key_size,
    control_location: row.control_location,
    created_at: wireDate(row.created_at),
    updated_at: wireDate(row.updated_at),
    deleted: false,
    deleted_at: null,
  }
}

/** @throws InvalidState while volumes are of the type */
async function changeUnused(
  block: Block,
  request: BlockRequest,
  verb: 'create' | 'update' | 'delete',
  change: (
    db: BlockDb,
    before: EncryptionRow | undefined,
    extraSpecs: Readonly<Record<string, string>>,
    missing: NotFound,
  ) => Promise<void>,
): Promise<void> {
  await block.db.transaction().execute(async (transaction) => {
    const type = await getType(transaction, request, parameter(request, 'id'))
    const user = await transaction
      .selectFrom('volumes')
      .select('id')
      .where('volume_type_id', '=', type.id)
      .limit(1)
      .executeTakeFirst()
    if (user !== undefined) {
      throw new InvalidState(`Cannot ${verb} encryption specs. Volume type in use.`)
    }
    const missing = new NotFound(`Volume type encryption for type ${type.id} does not exist.`)
    await change(
      transaction,
      await findEncryption(transaction, type.id),
      stringMapOf(type.extra_specs),
      missing,
    )
  })
}
