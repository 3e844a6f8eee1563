import type { Db } from '../../kernel/db/database.ts'
import { effectiveRoles, withImplied } from '../assignments/effective.ts'
import type { ApplicationCredentialRow, DomainRow, IdentityTables, TokenRow } from '../db/tables.ts'
import type { Named, NamedInDomain, Scope, TokenDetails } from './details.ts'

type IdentityDb = Db<IdentityTables>

/**
 * Says what a token means now.
 * @returns undefined when it means nothing any more: its user, project or domain is gone or disabled, or the user
 *   has no role there
 */
export async function loadToken(db: IdentityDb, row: TokenRow): Promise<TokenDetails | undefined> {
  const user = await enabledUser(db, row.user_id)
  if (user === undefined) return undefined
  const credential =
    row.application_credential_id === null
      ? undefined
      : await db
          .selectFrom('identity_application_credentials')
          .selectAll()
          .where('id', '=', row.application_credential_id)
          .executeTakeFirst()
  if (row.application_credential_id !== null && credential === undefined) return undefined
  const scoped = await resolveScope(db, row, credential)
  if (scoped === undefined) return undefined
  return {
    digest: row.digest,
    methods: JSON.parse(row.methods),
    user,
    auditIds: JSON.parse(row.audit_ids),
    issuedAt: row.issued_at,
    expiresAt: row.expires_at,
    ...scoped,
    applicationCredential: credential && {
      id: credential.id,
      name: credential.name,
      restricted: credential.unrestricted === 0,
    },
  }
}

/** A user who is enabled, in an enabled domain. */
async function enabledUser(db: IdentityDb, id: string): Promise<NamedInDomain | undefined> {
  const row = await db
    .selectFrom('identity_users as user')
    .innerJoin('identity_domains as domain', 'domain.id', 'user.domain_id')
    .select(['user.id', 'user.name', 'domain.id as domain_id', 'domain.name as domain_name'])
    .where('user.id', '=', id)
    .where('user.enabled', '=', 1)
    .where('domain.enabled', '=', 1)
    .executeTakeFirst()
  return row && { id: row.id, name: row.name, domain: { id: row.domain_id, name: row.domain_name } }
}

/** @returns undefined when the user may not have that scope */
async function resolveScope(
  db: IdentityDb,
  token: Pick<TokenRow, 'user_id' | 'scope_type' | 'scope_id'>,
  credential: ApplicationCredentialRow | undefined,
): Promise<{ scope: Scope; roles: readonly Named[] } | undefined> {
  switch (token.scope_type) {
    case 'unscoped':
      return { scope: { kind: 'unscoped' }, roles: [] }
    case 'system': {
      const roles = await effectiveRoles(db, token.user_id, { kind: 'system' })
      return roles.length === 0 ? undefined : { scope: { kind: 'system' }, roles }
    }
    case 'domain': {
      const domain = await enabledDomain(db, token.scope_id)
      if (domain === undefined) return undefined
      const roles = await effectiveRoles(db, token.user_id, { kind: 'domain', id: domain.id })
      const scope: Scope = { kind: 'domain', domain: { id: domain.id, name: domain.name } }
      return roles.length === 0 ? undefined : { scope, roles }
    }
    case 'project': {
      const project = await db
        .selectFrom('identity_projects')
        .selectAll()
        .where('id', '=', token.scope_id)
        .where('enabled', '=', 1)
        .executeTakeFirst()
      const domain = project && (await enabledDomain(db, project.domain_id))
      if (project === undefined || domain === undefined) return undefined
      let roles = await effectiveRoles(db, token.user_id, { kind: 'project', project })
      if (credential !== undefined) {
        // every role of the credential must still be the user's, and no other is granted
        const granted: readonly string[] = JSON.parse(credential.role_ids)
        if (!granted.every((id) => roles.some((role) => role.id === id))) return undefined
        roles = await withImplied(db, granted)
      }
      const scope: Scope = {
        kind: 'project',
        project: { id: project.id, name: project.name, domain: { id: domain.id, name: domain.name } },
      }
      return roles.length === 0 ? undefined : { scope, roles }
    }
  }
}

function enabledDomain(db: IdentityDb, id: string): Promise<DomainRow | undefined> {
  return db
    .selectFrom('identity_domains')
    .selectAll()
    .where('id', '=', id)
    .where('enabled', '=', 1)
    .executeTakeFirst()
}
