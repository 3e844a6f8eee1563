import type { NewEvent } from './event-log.ts'
import type { Answer, ApiRequest, Route } from './http/route.ts'

const verbs: Readonly<Record<string, string>> = { POST: 'CREATED', PUT: 'UPDATED', DELETE: 'DELETED' }
/** Those that change nothing, or tell of themselves. */
const silent = new Set(['/login', '/logout', '/logs_upload'])

/** The audit trail's entry for a request that was carried out; undefined when it changed nothing. */
export function auditEvent(route: Route, request: ApiRequest, answer: Answer): NewEvent | undefined {
  const verb = verbs[route.method]
  if (verb === undefined || silent.has(route.path)) return undefined
  const kind = kindOf(route.path)
  const path = answer.path ?? request.path
  return {
    kind: 'user',
    code: `${kind.toUpperCase()}_${verb}`,
    description: `${kind.replaceAll('_', ' ')} ${path} ${verb.toLowerCase()} by ${request.user.userId}`,
    tenant: answer.tenant ?? request.tenant,
    objectPath: path,
    context: { user: request.user.userId, driver: request.driver, version: `v${request.version}` },
  }
}

/** What a route is about: the last fixed segment of its path, singular. */
function kindOf(path: string): string {
  if (path.startsWith('/root')) return 'tenant'
  const fixed = path.split('/').filter((segment) => /^[a-z]/.test(segment))
  return singular(fixed.at(-1) ?? 'system')
}

function singular(noun: string): string {
  if (noun.endsWith('ies')) return `${noun.slice(0, -3)}y`
  return noun.endsWith('s') && noun !== 'dns' ? noun.slice(0, -1) : noun
}
