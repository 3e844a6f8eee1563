import { Type } from 'typebox'
import { Invalid } from '../../kernel/errors.ts'
import type { Block } from '../context.ts'
import { accepted, type BlockRequest, type Operation, operation } from '../operation.ts'
import { authorize } from '../policy.ts'
import { closed, validator } from '../validation.ts'

const host = Type.Optional(Type.Union([Type.String({ minLength: 1, maxLength: 255 }), Type.Null()]))
const freezeBody = validator(closed({ host, cluster: host }))
const failoverBody = validator(closed({ host, cluster: host, backend_id: host }))

interface Named {
  readonly host?: string | null
  readonly cluster?: string | null
}

/** Freezing and failing over of backends. @see block-storage-api specification 5.2 */
export function replicationOperations(block: Block): readonly Operation[] {
  const freeze = (verb: 'freeze' | 'thaw', frozen: 0 | 1) =>
    operation({
      method: 'PUT',
      path: `/os-services/${verb}`,
      body: freezeBody,
      async run(request, body) {
        authorize(request.identity, `volume:${verb}_host`)
        await setFrozen(hostOf(request, body), frozen)
        return { status: 200 }
      },
    })
  const failover = (path: string, since: number) =>
    operation({
      method: 'PUT',
      path: `/os-services/${path}`,
      since,
      body: failoverBody,
      async run(request, body) {
        authorize(request.identity, 'volume:failover_host')
        await failOver(hostOf(request, body))
        return accepted
      },
    })
  return [freeze('freeze', 1), freeze('thaw', 0), failover('failover_host', 0), failover('failover', 26)]

  async function setFrozen(backendHost: string, frozen: 0 | 1): Promise<void> {
    const changed = await block.db
      .updateTable('volume_services')
      .set({ frozen })
      .where('host', '=', backendHost)
      .where('binary', '=', 'cinder-volume')
      .where('frozen', '=', 1 - frozen)
      .returning('id')
      .executeTakeFirst()
    if (changed !== undefined) return
    const expected = frozen === 1 ? 'False' : 'True'
    throw new Invalid(
      `Invalid input received: frozen of the service ${backendHost} must be ${expected}, or there is no such service.`,
    )
  }

  /** No driver here replicates: upstream refuses in the same way when `replication_device` is not set. */
  async function failOver(backendHost: string): Promise<never> {
    throw new Invalid(
      `Invalid input received: replication_status of the service ${backendHost} must be enabled or failed-over, or there is no such service.`,
    )
  }
}

/** Exactly one of host and, from 3.26 on, cluster; a cluster is never known here. */
function hostOf(request: BlockRequest, { host: named, cluster }: Named): string {
  if (request.minor < 26 && cluster !== undefined) {
    throw new Invalid(
      "Invalid input for field/attribute body. Additional properties are not allowed ('cluster' was unexpected)",
    )
  }
  if (named && cluster) throw new Invalid('Invalid input received: Cannot specify both host and cluster')
  if (cluster) throw new Invalid(`Invalid input received: No cluster ${cluster} found`)
  if (!named) throw new Invalid("Missing required element 'host' in request body.")
  return named
}
