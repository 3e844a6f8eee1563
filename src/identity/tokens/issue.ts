import { randomBytes } from 'node:crypto'
import { randomToken, tokenDigest } from '../../kernel/crypto/tokens.ts'
import { Invalid, Unauthenticated } from '../../kernel/errors.ts'
import type { IdentityContext } from '../context.ts'
import type { TokenRow } from '../db/tables.ts'
import { requiresAuthentication } from '../faults.ts'
import { type Authenticated, authenticate, findDomainId } from './authenticate.ts'
import type { TokenDetails } from './details.ts'
import { loadToken } from './load.ts'
import { insertToken } from './queries.ts'
import type { IssueTokenBody, ScopePart } from './schemas.ts'

type ScopeColumns = Pick<TokenRow, 'scope_type' | 'scope_id'>
const unscoped: ScopeColumns = { scope_type: 'unscoped', scope_id: '' }

/**
 * Issues a token for whoever proves to be somebody.
 * @throws Unauthenticated for wrong credentials, and for a scope on which the user has no role
 */
export async function issueToken(
  context: IdentityContext,
  body: IssueTokenBody,
): Promise<{ token: string; details: TokenDetails }> {
  const who = await authenticate(context, body.auth.identity)
  const token = randomToken()
  const issuedAt = context.now()
  const base: Omit<TokenRow, 'scope_type' | 'scope_id'> = {
    digest: tokenDigest(token),
    user_id: who.user.id,
    methods: JSON.stringify(who.methods),
    audit_ids: JSON.stringify(auditIds(who.parent)),
    application_credential_id: who.applicationCredential?.id ?? null,
    issued_at: timestamp(issuedAt),
    expires_at:
      who.parent?.expires_at ??
      timestamp(new Date(issuedAt.getTime() + context.settings.tokenSeconds * 1_000)),
  }

  for (const scope of await scopesToTry(context, who, body.auth.scope)) {
    const row: TokenRow = { ...base, ...scope }
    const details = await loadToken(context.db, row)
    if (details === undefined) continue
    await insertToken(context.db, row)
    return { token, details }
  }
  throw new Unauthenticated(requiresAuthentication)
}

/** Keystone's form: microseconds, UTC. */
export function timestamp(date: Date): string {
  return date.toISOString().replace(/\.(\d{3})Z$/, '.$1000Z')
}

/** The first one that the user may have becomes the token's. */
async function scopesToTry(
  context: IdentityContext,
  who: Authenticated,
  scope: ScopePart,
): Promise<readonly ScopeColumns[]> {
  if (who.applicationCredential !== undefined) {
    if (scope !== undefined) {
      throw new Unauthenticated('Application credentials cannot request a scope.')
    }
    return [{ scope_type: 'project', scope_id: who.applicationCredential.project_id }]
  }
  if (scope === undefined) {
    const { default_project_id: id } = who.user
    return id === null ? [unscoped] : [{ scope_type: 'project', scope_id: id }, unscoped]
  }
  if (scope === 'unscoped' || scope.unscoped !== undefined) return [unscoped]
  const asked = [scope.project, scope.domain, scope.system].filter((part) => part !== undefined)
  if (asked.length !== 1) {
    throw new Invalid('A scope is exactly one of project, domain, system and unscoped.')
  }
  if (scope.project !== undefined) {
    const id = scope.project.id ?? (await findProjectId(context, scope.project))
    return id === undefined ? [] : [{ scope_type: 'project', scope_id: id }]
  }
  if (scope.domain !== undefined) {
    const id = await findDomainId(context.db, scope.domain)
    return id === undefined ? [] : [{ scope_type: 'domain', scope_id: id }]
  }
  if (scope.system?.all !== true) throw new Invalid("The only scope of the system is 'all': true.")
  return [{ scope_type: 'system', scope_id: 'all' }]
}

async function findProjectId(
  context: IdentityContext,
  project: { name?: string; domain?: { id?: string; name?: string } },
): Promise<string | undefined> {
  if (project.name === undefined) throw new Invalid("Expecting to find 'id' or 'name' in project.")
  const domainId = await findDomainId(context.db, project.domain)
  if (domainId === undefined) return undefined
  const row = await context.db
    .selectFrom('identity_projects')
    .select('id')
    .where('name', '=', project.name)
    .where('domain_id', '=', domainId)
    .executeTakeFirst()
  return row?.id
}

function auditIds(parent: TokenRow | undefined): readonly string[] {
  const own = randomBytes(16).toString('base64url')
  if (parent === undefined) return [own]
  const chain = (JSON.parse(parent.audit_ids) as string[]).at(-1)
  return chain === undefined ? [own] : [own, chain]
}
