import type { Db } from '../../kernel/db/database.ts'
import type { IdentityTables, UserRow } from '../db/tables.ts'
import { couldNotFind } from '../faults.ts'
import { revokeTokensOf } from '../tokens/queries.ts'

type IdentityDb = Db<IdentityTables>

/** @throws NotFound */
export async function getUser(db: IdentityDb, id: string): Promise<UserRow> {
  const row = await db.selectFrom('identity_users').selectAll().where('id', '=', id).executeTakeFirst()
  if (row === undefined) throw couldNotFind('user', id)
  return row
}

/** With all that was the user's: tokens, roles, memberships, application credentials. */
export async function deleteUser(db: IdentityDb, id: string): Promise<void> {
  await revokeTokensOf(db, { user: id })
  await db
    .deleteFrom('identity_assignments')
    .where('actor_type', '=', 'user')
    .where('actor_id', '=', id)
    .execute()
  await db.deleteFrom('identity_group_members').where('user_id', '=', id).execute()
  await db.deleteFrom('identity_application_credentials').where('user_id', '=', id).execute()
  await db.deleteFrom('identity_users').where('id', '=', id).execute()
}
