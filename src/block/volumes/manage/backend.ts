import { Invalid, NotFound, Unsupported } from '../../../kernel/errors.ts'
import type { Backend } from '../../backends.ts'
import type { Block } from '../../context.ts'
import type { BlockRequest } from '../../operation.ts'

/**
 * The backend that a request to manage something names, checked to be of use now.
 * @param host `host@backend` or `host@backend#pool`
 * @throws NotFound for an unknown one; Invalid for one that is disabled or down @see specification 5.8
 */
export async function backendToManage(block: Block, request: BlockRequest, host: string): Promise<Backend> {
  const backendHost = host.split('#', 1)[0] ?? host
  const backend = block.backends.all.find((candidate) => candidate.host === backendHost)
  if (backend === undefined) {
    throw new NotFound(`Service cinder-volume could not be found on host ${host}.`)
  }
  const service = await block.db
    .selectFrom('volume_services')
    .select('disabled')
    .where('host', '=', backendHost)
    .where('binary', '=', 'cinder-volume')
    .executeTakeFirst()
  if (service?.disabled === 1 || backend.state !== 'up') {
    request.log.warn({ backend: backend.name, state: backend.state }, 'nothing can be managed there now')
    throw new Invalid('Service is unavailable at this time.')
  }
  return backend
}

/**
 * The host in a request: exactly one of `host` and, from 3.16 on, `cluster`, of which there are none here.
 * @throws Invalid, NotFound
 */
export function hostIn(
  minor: number,
  since: number,
  given: { host?: string | null; cluster?: string | null },
): string {
  const { host, cluster } = given
  if (minor >= since && host && cluster) {
    throw new Invalid('Invalid input received: host and cluster are mutually exclusive.')
  }
  if (minor >= since && cluster) throw new NotFound(`Cluster ${cluster} could not be found.`)
  if (!host) throw new Invalid("Missing required element 'host' in request body.")
  return host
}

/** @throws Unsupported when the feature is absent */
export function needFeature<Feature>(feature: Feature | undefined, what: string): Feature {
  if (feature === undefined) throw new Unsupported(`The backend cannot ${what}.`)
  return feature
}
