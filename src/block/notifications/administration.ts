import type { Block } from '../context.ts'
import type { Answer, BlockRequest, Operation } from '../operation.ts'
import { stringMapOf } from '../types/queries.ts'

type Payload = Readonly<Record<string, unknown>>

/** What is told of a request of administration: once, when it is done. */
interface Told {
  readonly event: string
  /** First part of the publisher's name; the host follows. */
  readonly publisher: string
  /** Read before the operation, for what it removes. */
  readonly before?: (block: Block, request: BlockRequest) => Promise<object | undefined>
  readonly payload: (about: { request: BlockRequest; answer: Answer; before: object | undefined }) => Payload
}

const typeEvents = { publisher: 'volumeType' }
const accessEvents = { publisher: 'volume_type_project' }
const extraSpecEvents = { publisher: 'volumeTypeExtraSpecs' }
const encryptionEvents = { publisher: 'volumeTypeEncryption' }
const qosEvents = { publisher: 'QoSSpecs' }

const id = (request: BlockRequest) => request.params['id']
/** A member of a body that was accepted, and so has it. */
const member = (body: unknown, key: string): unknown => (body as Readonly<Record<string, unknown>>)[key]
const typeOfAnswer = ({ answer }: { answer: Answer }) => ({
  volume_types: member(answer.body, 'volume_type'),
})
const ofType = ({ request }: { request: BlockRequest }) => ({
  type_id: id(request),
  id: request.params['key'],
})

const extraSpecs = '/types/:id/extra_specs'
const encryption = '/types/:id/encryption'

/** By method and path; actions by their name too. @see block-storage-api specification 5.15 */
const told: Readonly<Record<string, Told>> = {
  'POST /types': { ...typeEvents, event: 'volume_type.create', payload: typeOfAnswer },
  'PUT /types/:id': { ...typeEvents, event: 'volume_type.update', payload: typeOfAnswer },
  'DELETE /types/:id': {
    ...typeEvents,
    event: 'volume_type.delete',
    before: readType,
    payload: ({ before }) => ({ volume_types: before }),
  },
  'POST /types/:id/action addProjectAccess': {
    ...accessEvents,
    event: 'volume_type_project.access.add',
    payload: accessPayload,
  },
  'POST /types/:id/action removeProjectAccess': {
    ...accessEvents,
    event: 'volume_type_project.access.remove',
    payload: accessPayload,
  },
  [`POST ${extraSpecs}`]: {
    ...extraSpecEvents,
    event: 'volume_type_extra_specs.create',
    payload: ({ request }) => ({ type_id: id(request), specs: member(request.body, 'extra_specs') }),
  },
  [`PUT ${extraSpecs}/:key`]: {
    ...extraSpecEvents,
    event: 'volume_type_extra_specs.update',
    payload: ofType,
  },
  [`DELETE ${extraSpecs}/:key`]: {
    ...extraSpecEvents,
    event: 'volume_type_extra_specs.delete',
    payload: ofType,
  },
  [`POST ${encryption}`]: {
    ...encryptionEvents,
    event: 'volume_type_encryption.create',
    payload: encryptionPayload,
  },
  [`PUT ${encryption}/:key`]: {
    ...encryptionEvents,
    event: 'volume_type_encryption.update',
    payload: encryptionPayload,
  },
  [`DELETE ${encryption}/:key`]: {
    ...encryptionEvents,
    event: 'volume_type_encryption.delete',
    payload: ofType,
  },
  'POST /qos-specs': {
    ...qosEvents,
    event: 'qos_specs.create',
    payload: ({ answer }) => ({
      name: member(member(answer.body, 'qos_specs'), 'name'),
      specs: member(member(answer.body, 'qos_specs'), 'specs'),
    }),
  },
  'PUT /qos-specs/:id': {
    ...qosEvents,
    event: 'qos_specs.update',
    payload: ({ request }) => ({ id: id(request), specs: member(request.body, 'qos_specs') }),
  },
  'PUT /qos-specs/:id/delete_keys': {
    ...qosEvents,
    event: 'qos_specs.delete_keys',
    payload: qosPayload,
  },
  'DELETE /qos-specs/:id': { ...qosEvents, event: 'qos_specs.delete', payload: qosPayload },
  'GET /qos-specs/:id/associate': {
    ...qosEvents,
    event: 'qos_specs.associate',
    payload: ({ request }) => ({ id: id(request), type_id: request.query.get('vol_type_id') }),
  },
  'GET /qos-specs/:id/disassociate': {
    ...qosEvents,
    event: 'qos_specs.disassociate',
    payload: ({ request }) => ({ id: id(request), type_id: request.query.get('vol_type_id') }),
  },
  'GET /qos-specs/:id/disassociate_all': {
    ...qosEvents,
    event: 'qos_specs.disassociate_all',
    payload: qosPayload,
  },
}

async function readType({ db }: Block, request: BlockRequest): Promise<object | undefined> {
  const columns = ['id', 'name', 'description', 'is_public', 'extra_specs'] as const
  const row = await db
    .selectFrom('volume_types')
    .select(columns)
    .where('id', '=', id(request) ?? '')
    .executeTakeFirst()
  return row && { ...row, is_public: row.is_public === 1, extra_specs: stringMapOf(row.extra_specs) }
}

function accessPayload({ request }: { request: BlockRequest }): Payload {
  const [change] = Object.values(request.body ?? {})
  return { volume_type_id: id(request), project_id: member(change, 'project') }
}

function encryptionPayload({ request }: { request: BlockRequest }): Payload {
  return { type_id: id(request), specs: member(request.body, 'encryption') }
}

function qosPayload({ request }: { request: BlockRequest }): Payload {
  return { id: id(request) }
}

/** Operations on volume types and QoS specs that tell what they have done. One that is refused tells nothing. */
export function notifyingAdministration(
  block: Block,
  host: string,
  operations: readonly Operation[],
): readonly Operation[] {
  return operations.map((operation) => {
    const route = `${operation.method} ${operation.path}`
    const isAction = operation.path.endsWith('/action')
    if (!Object.keys(told).some((key) => key === route || (isAction && key.startsWith(`${route} `)))) {
      return operation
    }
    return {
      ...operation,
      async run(request) {
        const what = told[isAction ? `${route} ${Object.keys(request.body ?? {})[0]}` : route]
        if (what === undefined || !block.notifications.tells(what.event)) return await operation.run(request)
        const before = await what.before?.(block, request)
        const answer = await operation.run(request)
        block.notifications.emit(
          what.event,
          `${what.publisher}.${host}`,
          what.payload({ request, answer, before }),
        )
        return answer
      },
    }
  })
}
