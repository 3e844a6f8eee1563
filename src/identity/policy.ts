import type { FastifyRequest } from 'fastify'
import { Unauthenticated } from '../kernel/errors.ts'
import type { IdentityContext } from './context.ts'
import { forbiddenAction, requiresAuthentication } from './faults.ts'
import type { TokenDetails } from './tokens/details.ts'
import { validateToken } from './tokens/validate.ts'

const callers = new WeakMap<FastifyRequest, TokenDetails>()

/** The hook of every route that needs a token. @throws Unauthenticated without a valid X-Auth-Token */
export async function authenticateRequest(context: IdentityContext, request: FastifyRequest): Promise<void> {
  const token = request.headers['x-auth-token']
  const details = typeof token === 'string' ? await validateToken(context, token) : undefined
  if (details === undefined) throw new Unauthenticated(requiresAuthentication)
  callers.set(request, details)
}

/** Whose token came with the request. */
export function callerOf(request: FastifyRequest): TokenDetails {
  const caller = callers.get(request)
  if (caller === undefined) throw new Unauthenticated(requiresAuthentication)
  return caller
}

/**
 * Upstream's default rules. The admin role allows everything; the rest is for those without.
 * @param rule.read also readers of the whole system, and of the domain `domainId`, may do it
 * @param rule.ownerId the user whose own thing it is
 * @param rule.projectId a token for that project may do it
 * @param rule.roles role names that may do it: `service` validates tokens
 * @throws Forbidden that names the action
 * @see keystone/common/policies/
 */
export function authorize(
  request: FastifyRequest,
  action: string,
  rule: {
    read?: boolean
    domainId?: string | undefined
    ownerId?: string | undefined
    projectId?: string | undefined
    roles?: readonly string[]
  } = {},
): TokenDetails {
  const caller = callerOf(request)
  const has = (role: string) => caller.roles.some((held) => held.name.toLowerCase() === role)
  if (has('admin')) return caller
  if (rule.roles?.some(has)) return caller
  if (rule.ownerId !== undefined && rule.ownerId === caller.user.id) return caller
  const { scope } = caller
  if (scope.kind === 'project' && rule.projectId === scope.project.id) return caller
  if (rule.read === true && has('reader')) {
    if (scope.kind === 'system') return caller
    if (scope.kind === 'domain' && rule.domainId === scope.domain.id) return caller
  }
  throw forbiddenAction(action)
}
