import type { Db } from '../../kernel/db/database.ts'
import type { IdentityTables, TokenRow } from '../db/tables.ts'

type IdentityDb = Db<IdentityTables>

export async function insertToken(db: IdentityDb, row: TokenRow): Promise<void> {
  await db.insertInto('identity_tokens').values(row).execute()
}

export function findToken(db: IdentityDb, digest: string): Promise<TokenRow | undefined> {
  return db.selectFrom('identity_tokens').selectAll().where('digest', '=', digest).executeTakeFirst()
}

export async function deleteToken(db: IdentityDb, digest: string): Promise<void> {
  await db.deleteFrom('identity_tokens').where('digest', '=', digest).execute()
}

/** Revokes every token of some users, projects, domains or application credentials. */
export async function revokeTokensOf(
  db: IdentityDb,
  what: { user: string } | { project: string } | { domain: string } | { applicationCredential: string },
): Promise<void> {
  const deletion = db.deleteFrom('identity_tokens')
  if ('user' in what) {
    await deletion.where('user_id', '=', what.user).execute()
  } else if ('project' in what) {
    await deletion.where('scope_type', '=', 'project').where('scope_id', '=', what.project).execute()
  } else if ('applicationCredential' in what) {
    await deletion.where('application_credential_id', '=', what.applicationCredential).execute()
  } else {
    const users = db.selectFrom('identity_users').select('id').where('domain_id', '=', what.domain)
    const projects = db.selectFrom('identity_projects').select('id').where('domain_id', '=', what.domain)
    await deletion
      .where((is) =>
        is.or([
          is('user_id', 'in', users),
          is.and([is('scope_type', '=', 'project'), is('scope_id', 'in', projects)]),
          is.and([is('scope_type', '=', 'domain'), is('scope_id', '=', what.domain)]),
        ]),
      )
      .execute()
  }
}

/** @param before ISO-8601 text. @returns how many there were */
export async function deleteExpiredTokens(db: IdentityDb, before: string): Promise<number> {
  const { numDeletedRows } = await db
    .deleteFrom('identity_tokens')
    .where('expires_at', '<=', before)
    .executeTakeFirst()
  return Number(numDeletedRows)
}
