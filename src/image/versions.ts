import type { FastifyReply, FastifyRequest } from 'fastify'
import { requestBase } from '../kernel/http/request-base.ts'

/** What decides which versions are offered. */
export interface VersionFacts {
  readonly multiStore: boolean
  readonly publicEndpoint: string | undefined
  readonly parsesProxyHeaders: boolean
  /** `image_cache_dir` is set. */
  readonly hasCache: boolean
}

const multiStoreOnly = ['2.13', '2.12', '2.11', '2.10', '2.8'] as const
const always = ['2.7', '2.6', '2.5', '2.4', '2.3', '2.2', '2.1', '2.0'] as const

const cacheOnly = ['2.14', '2.16', '2.18'] as const

/** The versions that the document lists, in upstream's order. @see image-api specification 1.2 */
function listed({ multiStore, hasCache }: VersionFacts): readonly string[] {
  return [
    ...(hasCache ? ['2.18', '2.17', '2.16', '2.15', '2.14'] : ['2.15']),
    ...(multiStore ? ['2.13', '2.12', '2.11', '2.10', '2.9', '2.8'] : ['2.9']),
    ...(hasCache ? [] : ['2.17']),
    ...always,
  ]
}

function currentOf({ hasCache }: VersionFacts): string {
  return hasCache ? '2.18' : '2.17'
}

/** Is `v2.9` a name that a path or an `Accept` header may begin with? */
export function isAcceptedVersion(name: string, facts: VersionFacts): boolean {
  if (name === 'v2') return true
  const number = name.slice(1)
  if (!name.startsWith('v')) return false
  if (number === '2.9' || number === '2.15' || number === '2.17') return true
  if (always.some((version) => version === number)) return true
  if (facts.hasCache && cacheOnly.some((version) => version === number)) return true
  return facts.multiStore && multiStoreOnly.some((version) => version === number)
}

export function sendVersions(
  request: FastifyRequest,
  reply: FastifyReply,
  status: 200 | 300,
  facts: VersionFacts,
): FastifyReply {
  const base = facts.publicEndpoint ?? requestBase(request, facts.parsesProxyHeaders)
  const versions = listed(facts).map((version) => ({
    id: `v${version}`,
    status: version === currentOf(facts) ? 'CURRENT' : 'SUPPORTED',
    links: [{ rel: 'self', href: `${base}/v2/` }],
  }))
  return reply.code(status).type('application/json').send(JSON.stringify({ versions }))
}
