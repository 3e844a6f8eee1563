import { Type } from 'typebox'
import { Invalid, NotFound } from '../../kernel/errors.ts'
import type { Block } from '../context.ts'
import { wireDate } from '../links.ts'
import { type Answer, type BlockRequest, type Operation, operation } from '../operation.ts'
import { authorize } from '../policy.ts'
import { closed, validator } from '../validation.ts'

const text = Type.Optional(Type.Union([Type.String({ minLength: 1, maxLength: 255 }), Type.Null()]))
const fields = {
  host: Type.String({ minLength: 1, maxLength: 255 }),
  binary: text,
  service: text,
  cluster: text,
}
const toggleBody = validator(closed(fields))
const reasonBody = validator(
  closed({
    ...fields,
    disabled_reason: Type.String({
      minLength: 1,
      maxLength: 255,
      pattern: '\\S',
      description: 'is not a reason',
    }),
  }),
)

/** `/os-services`. @see block-storage-api specification 3.12, 5.2 */
export function serviceOperations(block: Block): readonly Operation[] {
  return [
    { method: 'GET', path: '/os-services', run: (request) => listServices(block, request) },
    operation({
      method: 'PUT',
      path: '/os-services/enable',
      body: toggleBody,
      run: (request, body) => setDisabled(block, request, body, false, null),
    }),
    operation({
      method: 'PUT',
      path: '/os-services/disable',
      body: toggleBody,
      run: (request, body) => setDisabled(block, request, body, true, null),
    }),
    operation({
      method: 'PUT',
      path: '/os-services/disable-log-reason',
      body: reasonBody,
      run: (request, body) => setDisabled(block, request, body, true, body.disabled_reason),
    }),
  ]
}

async function listServices(block: Block, request: BlockRequest): Promise<Answer> {
  authorize(request.identity, 'volume_extension:services:index')
  const { query, minor } = request
  let select = block.db.selectFrom('volume_services').selectAll().orderBy('binary').orderBy('host')
  const host = query.get('host')
  if (host !== null)
    select = select.where((is) => is.or([is('host', '=', host), is('host', 'like', `${host}@%`)]))
  const binary = query.get('binary') ?? query.get('service')
  if (binary !== null) select = select.where('binary', '=', binary)
  const oldest = block.now().getTime() - block.settings.serviceDownSeconds * 1000
  const services = (await select.execute()).map((row) => ({
    binary: row.binary,
    host: row.host,
    zone: row.availability_zone,
    status: row.disabled === 1 ? 'disabled' : 'enabled',
    state: Date.parse(row.updated_at) >= oldest && row.backend_state !== 'down' ? 'up' : 'down',
    updated_at: wireDate(row.updated_at),
    disabled_reason: row.disabled_reason,
    ...(row.binary === 'cinder-volume'
      ? {
          replication_status: row.replication_status ?? 'disabled',
          active_backend_id: row.active_backend_id,
          frozen: row.frozen === 1,
          ...(minor >= 49 ? { backend_state: row.backend_state ?? 'down' } : {}),
        }
      : {}),
    ...(minor >= 7 ? { cluster: null } : {}),
  }))
  return { status: 200, body: { services } }
}

async function setDisabled(
  block: Block,
  request: BlockRequest,
  body: { host: string; binary?: string | null; service?: string | null },
  disabled: boolean,
  reason: string | null,
): Promise<Answer> {
  authorize(request.identity, 'volume_extension:services:update')
  const binary = body.binary ?? body.service
  if (!binary) throw new Invalid('Missing required element host and service or binary.')
  const row = await block.db
    .updateTable('volume_services')
    .set({ disabled: disabled ? 1 : 0, disabled_reason: reason })
    .where('host', '=', body.host)
    .where('binary', '=', binary)
    .returningAll()
    .executeTakeFirst()
  if (row === undefined) throw new NotFound(`Service ${binary} could not be found on host ${body.host}.`)
  return {
    status: 200,
    body: {
      host: row.host,
      service: body.service ?? '',
      binary: body.binary ?? '',
      status: disabled ? 'disabled' : 'enabled',
      disabled,
      ...(disabled && reason === null ? {} : { disabled_reason: reason }),
    },
  }
}
