import { tokenDigest } from '../../kernel/crypto/tokens.ts'
import { Unauthenticated } from '../../kernel/errors.ts'
import type { TokenValidator } from '../../kernel/http/request-context.ts'
import type { IdentityContext } from '../context.ts'
import { requiresAuthentication } from '../faults.ts'
import type { TokenDetails } from './details.ts'
import { loadToken } from './load.ts'
import { findToken } from './queries.ts'

/** What a token means now; undefined when it is unknown, revoked, expired, or means nothing any more. */
export async function validateToken(
  context: IdentityContext,
  token: string,
): Promise<TokenDetails | undefined> {
  const digest = tokenDigest(token)
  const details = await context.cache.get(digest, async () => {
    const row = await findToken(context.db, digest)
    return row && loadToken(context.db, row)
  })
  if (details === undefined || Date.parse(details.expiresAt) <= context.now().getTime()) return undefined
  return details
}

/** For the other services of this process. */
export function localTokenValidator(context: IdentityContext): TokenValidator {
  return {
    async validate(token, signal) {
      signal.throwIfAborted()
      const details = await validateToken(context, token)
      if (details === undefined) throw new Unauthenticated(requiresAuthentication)
      const { scope } = details
      return {
        userId: details.user.id,
        userName: details.user.name,
        userDomainId: details.user.domain.id,
        projectId: scope.kind === 'project' ? scope.project.id : undefined,
        projectName: scope.kind === 'project' ? scope.project.name : undefined,
        projectDomainId: scope.kind === 'project' ? scope.project.domain.id : undefined,
        domainId: scope.kind === 'domain' ? scope.domain.id : undefined,
        systemScope: scope.kind === 'system',
        roles: details.roles.map((role) => role.name.toLowerCase()),
        expiresAt: new Date(details.expiresAt),
      }
    },
  }
}
