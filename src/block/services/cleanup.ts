import { Type } from 'typebox'
import { Invalid } from '../../kernel/errors.ts'
import type { Block } from '../context.ts'
import { type Operation, operation } from '../operation.ts'
import { authorize } from '../policy.ts'
import { booleanOf, closed, LaxBoolean, UuidOrNull, validator } from '../validation.ts'

const text = Type.Optional(Type.Union([Type.String({ maxLength: 255 }), Type.Null()]))
const flag = Type.Optional(Type.Union([LaxBoolean, Type.Null()]))
const cleanupBody = validator(
  closed({
    cluster_name: text,
    host: text,
    binary: Type.Optional(
      Type.Union([Type.Literal('cinder-volume'), Type.Literal('cinder-scheduler')], {
        description: "is not one of ['cinder-volume', 'cinder-scheduler']",
      }),
    ),
    is_up: flag,
    disabled: flag,
    resource_id: Type.Optional(UuidOrNull),
    resource_type: Type.Optional(
      Type.Union([Type.Literal('Volume'), Type.Literal('Snapshot'), Type.Null()], {
        description: "is not one of ['Volume', 'Snapshot']",
      }),
    ),
    service_id: Type.Optional(Type.Union([Type.Integer(), UuidOrNull])),
  }),
)

/**
 * `POST workers/cleanup`, from 3.24 on. Interrupted work lies in the queue, which gives it to whoever is alive: a
 * service that is up is already cleaning, and one that is down has to be started again.
 * @see block-storage-api specification 5.16
 */
export function cleanupOperations(block: Block): readonly Operation[] {
  return [
    operation({
      method: 'POST',
      path: '/workers/cleanup',
      since: 24,
      body: cleanupBody,
      async run(request, body) {
        authorize(request.identity, 'workers:cleanup')
        if (body.resource_id && !body.resource_type && !body.service_id && !body.host && !body.binary) {
          throw new Invalid('Invalid input received: resource_type must be specified with resource_id.')
        }
        let select = block.db.selectFrom('volume_services').selectAll().orderBy('binary').orderBy('host')
        if (body.host) select = select.where('host', '=', body.host)
        if (body.binary) select = select.where('binary', '=', body.binary)
        else select = select.where('binary', 'in', ['cinder-volume', 'cinder-scheduler'])
        if (body.service_id) select = select.where('id', '=', String(body.service_id))
        if (body.disabled !== undefined && body.disabled !== null) {
          select = select.where('disabled', '=', booleanOf(body.disabled) ? 1 : 0)
        }
        const oldest = block.now().getTime() - block.settings.serviceDownSeconds * 1000
        const wantsUp = body.is_up ? booleanOf(body.is_up) : false
        const services = body.cluster_name ? [] : await select.execute()
        const chosen = services
          .filter((row) => Date.parse(row.updated_at) >= oldest === wantsUp)
          .map((row) => ({ id: row.id, host: row.host, binary: row.binary, cluster_name: null }))
        const answer = wantsUp ? { cleaning: chosen, unavailable: [] } : { cleaning: [], unavailable: chosen }
        return { status: 202, body: answer }
      },
    }),
  ]
}
