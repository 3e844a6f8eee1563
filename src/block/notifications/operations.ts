import type { Block } from '../context.ts'
import type { BlockRequest, Operation } from '../operation.ts'
import { readSubject, type SubjectKind } from './subjects.ts'

interface Told {
  readonly kind: SubjectKind
  /** `volume.update`; `.start` and `.end` are added. */
  readonly event: string
  /** Which resource it is about. */
  readonly id: (block: Block, request: BlockRequest) => Promise<string | undefined> | string | undefined
}

const own = (_block: Block, request: BlockRequest) => request.params['id']

/** The volume of the attachment in the URL. */
async function volumeOfAttachment(block: Block, request: BlockRequest): Promise<string | undefined> {
  const row = await block.db
    .selectFrom('volume_attachments')
    .select('volume_id')
    .where('id', '=', request.params['id'] ?? '')
    .executeTakeFirst()
  return row?.volume_id
}

/** The volume of the transfer in the URL. */
async function volumeOfTransfer(block: Block, request: BlockRequest): Promise<string | undefined> {
  const row = await block.db
    .selectFrom('volume_transfers')
    .select('volume_id')
    .where('id', '=', request.params['id'] ?? '')
    .executeTakeFirst()
  return row?.volume_id
}

/** A member of the one object in a body; bodies are not checked yet here. */
function inBody(request: BlockRequest, key: string, member: string): unknown {
  const body = request.body as Partial<Record<string, Record<string, unknown> | null>> | null | undefined
  return body?.[key]?.[member]
}

function newTransfer(_block: Block, request: BlockRequest): string | undefined {
  const id = inBody(request, 'transfer', 'volume_id')
  return typeof id === 'string' ? id : undefined
}

/** An attachment that is made with a connector attaches at once. */
function newAttachment(_block: Block, request: BlockRequest): string | undefined {
  const id = inBody(request, 'attachment', 'volume_uuid')
  return typeof id === 'string' && inBody(request, 'attachment', 'connector') ? id : undefined
}

const transfers = (path: string): Record<string, Told> => ({
  [`POST ${path}`]: { kind: 'volume', event: 'volume.transfer.create', id: newTransfer },
  [`POST ${path}/:id/accept`]: { kind: 'volume', event: 'volume.transfer.accept', id: volumeOfTransfer },
  [`DELETE ${path}/:id`]: { kind: 'volume', event: 'volume.transfer.delete', id: volumeOfTransfer },
})

/** What is told of requests, by method and path; actions by their name too. */
const told: Readonly<Record<string, Told>> = {
  'PUT /volumes/:id': { kind: 'volume', event: 'volume.update', id: own },
  'POST /volumes/:id/action os-attach': { kind: 'volume', event: 'volume.attach', id: own },
  'POST /volumes/:id/action os-detach': { kind: 'volume', event: 'volume.detach', id: own },
  'POST /volumes/:id/action os-force_detach': { kind: 'volume', event: 'volume.detach', id: own },
  'POST /volumes/:id/action os-reset_status': { kind: 'volume', event: 'volume.reset_status', id: own },
  'POST /attachments': { kind: 'volume', event: 'volume.attach', id: newAttachment },
  'PUT /attachments/:id': { kind: 'volume', event: 'volume.attach', id: volumeOfAttachment },
  'DELETE /attachments/:id': { kind: 'volume', event: 'volume.detach', id: volumeOfAttachment },
  'PUT /snapshots/:id': { kind: 'snapshot', event: 'snapshot.update', id: own },
  'POST /snapshots/:id/action os-reset_status': {
    kind: 'snapshot',
    event: 'snapshot.reset_status',
    id: own,
  },
  'PUT /groups/:id': { kind: 'group', event: 'group.update', id: own },
  ...transfers('/os-volume-transfer'),
  ...transfers('/volume-transfers'),
}

/** Operations that tell what they have done. One that is refused tells nothing. */
export function notifyingOperations(block: Block, operations: readonly Operation[]): readonly Operation[] {
  const { notifications } = block
  return operations.map((operation) => {
    if (operation.method === 'GET') return operation
    const route = `${operation.method} ${operation.path}`
    return {
      ...operation,
      async run(request) {
        const what = told[operation.path.endsWith('/action') ? `${route} ${actionOf(request)}` : route]
        if (what === undefined || !notifications.tells(what.event)) return await operation.run(request)
        const id = await what.id(block, request)
        const before = id === undefined ? undefined : await readSubject(block, what.kind, id)
        const answer = await operation.run(request)
        if (id === undefined || before === undefined) return answer
        notifications.emit(`${what.event}.start`, before.publisherId, before.payload)
        const after = (await readSubject(block, what.kind, id)) ?? before
        notifications.emit(`${what.event}.end`, after.publisherId, after.payload)
        return answer
      },
    }
  })
}

function actionOf(request: BlockRequest): string {
  return Object.keys(request.body ?? {})[0] ?? ''
}
