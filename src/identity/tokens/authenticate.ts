import { pretendToVerifyPassword, verifyPassword } from '../../kernel/crypto/passwords.ts'
import { tokenDigest } from '../../kernel/crypto/tokens.ts'
import type { Db } from '../../kernel/db/database.ts'
import { Forbidden, Invalid, Unauthenticated } from '../../kernel/errors.ts'
import { Secret } from '../../kernel/secret.ts'
import type { IdentityContext } from '../context.ts'
import type { ApplicationCredentialRow, IdentityTables, TokenRow, UserRow } from '../db/tables.ts'
import { requiresAuthentication } from '../faults.ts'
import { loadToken } from './load.ts'
import { findToken } from './queries.ts'
import type { DomainPart, IdentityPart } from './schemas.ts'

/** Who somebody has proved to be, and what limits the new token. */
export interface Authenticated {
  readonly user: UserRow
  readonly methods: readonly string[]
  /** The token that was presented: the new one expires with it and belongs to its chain. */
  readonly parent: TokenRow | undefined
  readonly applicationCredential: ApplicationCredentialRow | undefined
}

const unauthenticated = (cause?: unknown) => new Unauthenticated(requiresAuthentication, { cause })

/**
 * Checks every method that the client names; all must speak of the same user.
 * @throws Unauthenticated when any fails, without saying why; Invalid when the request makes no sense
 */
export async function authenticate(context: IdentityContext, identity: IdentityPart): Promise<Authenticated> {
  if (identity.methods.length === 0) throw unauthenticated()
  let user: UserRow | undefined
  let parent: TokenRow | undefined
  let applicationCredential: ApplicationCredentialRow | undefined
  const methods = new Set<string>()
  for (const method of identity.methods) {
    let proved: UserRow
    switch (method) {
      case 'password':
        proved = await byPassword(context.db, identity.password)
        break
      case 'token': {
        const found = await byToken(context, identity.token)
        proved = found.user
        parent = found.token
        for (const earlier of JSON.parse(found.token.methods) as string[]) methods.add(earlier)
        break
      }
      case 'application_credential': {
        const found = await byApplicationCredential(context, identity.application_credential)
        proved = found.user
        applicationCredential = found.credential
        break
      }
      default:
        throw new Unauthenticated('Attempted to authenticate with an unsupported method.')
    }
    if (user !== undefined && user.id !== proved.id) throw unauthenticated()
    user = proved
    methods.add(method)
  }
  if (user === undefined) throw unauthenticated()
  return { user, methods: [...methods], parent, applicationCredential }
}

async function byPassword(db: Db<IdentityTables>, part: IdentityPart['password']): Promise<UserRow> {
  if (part === undefined) throw new Invalid("Expecting to find 'password' in identity.")
  const password = new Secret(part.user.password)
  const user = await findUser(db, part.user)
  if (user?.password_hash == null) {
    await pretendToVerifyPassword(password)
    throw unauthenticated()
  }
  if (!(await verifyPassword(password, user.password_hash))) throw unauthenticated()
  return checkEnabled(db, user)
}

async function byToken(
  context: IdentityContext,
  part: IdentityPart['token'],
): Promise<{ user: UserRow; token: TokenRow }> {
  if (part === undefined) throw new Invalid("Expecting to find 'token' in identity.")
  const token = await findToken(context.db, tokenDigest(part.id))
  if (token === undefined || Date.parse(token.expires_at) <= context.now().getTime()) throw unauthenticated()
  if ((await loadToken(context.db, token)) === undefined) throw unauthenticated()
  if (token.application_credential_id !== null) {
    throw new Forbidden(
      'You are not authorized to perform the requested action: rescope a token of an application credential.',
    )
  }
  const user = await findUser(context.db, { id: token.user_id })
  if (user === undefined) throw unauthenticated()
  return { user, token }
}

async function byApplicationCredential(
  context: IdentityContext,
  part: IdentityPart['application_credential'],
): Promise<{ user: UserRow; credential: ApplicationCredentialRow }> {
  if (part === undefined) throw new Invalid("Expecting to find 'application_credential' in identity.")
  const { db } = context
  const secret = new Secret(part.secret)
  const select = db.selectFrom('identity_application_credentials').selectAll()
  let credential: ApplicationCredentialRow | undefined
  if (part.id !== undefined) {
    credential = await select.where('id', '=', part.id).executeTakeFirst()
  } else {
    if (part.name === undefined || part.user === undefined) {
      throw new Invalid('An application credential is given by its id, or by its name and its user.')
    }
    const owner = await findUser(db, part.user)
    credential =
      owner && (await select.where('user_id', '=', owner.id).where('name', '=', part.name).executeTakeFirst())
  }
  if (credential === undefined) {
    await pretendToVerifyPassword(secret)
    throw unauthenticated()
  }
  if (!(await verifyPassword(secret, credential.secret_hash))) throw unauthenticated()
  if (credential.expires_at !== null && Date.parse(credential.expires_at) <= context.now().getTime()) {
    throw unauthenticated()
  }
  const user = await findUser(db, { id: credential.user_id })
  if (user === undefined) throw unauthenticated()
  return { user: await checkEnabled(db, user), credential }
}

/** @throws Invalid when there is neither an id nor a name with a domain */
export async function findUser(
  db: Db<IdentityTables>,
  reference: { id?: string; name?: string; domain?: DomainPart },
): Promise<UserRow | undefined> {
  const select = db.selectFrom('identity_users').selectAll()
  if (reference.id !== undefined) return select.where('id', '=', reference.id).executeTakeFirst()
  if (reference.name === undefined) throw new Invalid("Expecting to find 'id' or 'name' in user.")
  const domainId = await findDomainId(db, reference.domain)
  if (domainId === undefined) return undefined
  return select.where('name', '=', reference.name).where('domain_id', '=', domainId).executeTakeFirst()
}

export async function findDomainId(
  db: Db<IdentityTables>,
  domain: DomainPart | undefined,
): Promise<string | undefined> {
  if (domain?.id !== undefined) return domain.id
  if (domain?.name === undefined) throw new Invalid("Expecting to find 'domain' with an 'id' or a 'name'.")
  const row = await db
    .selectFrom('identity_domains')
    .select('id')
    .where('name', '=', domain.name)
    .executeTakeFirst()
  return row?.id
}

async function checkEnabled(db: Db<IdentityTables>, user: UserRow): Promise<UserRow> {
  const domain = await db
    .selectFrom('identity_domains')
    .select('enabled')
    .where('id', '=', user.domain_id)
    .executeTakeFirst()
  if (user.enabled === 0 || domain?.enabled !== 1) throw unauthenticated()
  return user
}
