import type { Client } from 'ldapts'
import { type Static, Type } from 'typebox'
import { Value } from 'typebox/value'
import { EdfNodeStartError, messageOf, notConnected } from './errors.ts'
import { privilegesOf, type RoleName, roleNames } from './roles.ts'
import type { SessionUser } from './sessions.ts'

/** A directory whose users may log in: they name it as `remote_server`. */
export const LdapServer = Type.Object(
  {
    /** What clients send as `remote_server`. */
    name: Type.String({ minLength: 1 }),
    /** `ldap://host:port` or `ldaps://host:port`. */
    url: Type.String({ pattern: '^ldaps?://' }),
    /** Whether a connection to `ldap://` is encrypted before anything is sent over it. Default: no. */
    start_tls: Type.Optional(Type.Boolean()),
    /** PEM of the authorities that may have signed the directory's certificate. Default: the system's. */
    ca: Type.Optional(Type.String()),
    /** Whom to look users up as. Default: nobody, an anonymous bind. */
    bind_dn: Type.Optional(Type.String()),
    bind_password: Type.Optional(Type.String()),
    /** Where users are, in whatever depth. */
    users_dn: Type.String({ minLength: 1 }),
    /** The attribute that holds the login name. Default: `uid`. */
    user_attribute: Type.Optional(Type.String({ pattern: '^[a-zA-Z][a-zA-Z0-9-]*$' })),
    /** Where groups are. */
    groups_dn: Type.Optional(Type.String()),
    /** The role that a group (by its `cn`) gives. */
    roles: Type.Optional(Type.Record(Type.String(), Type.Enum([...roleNames]))),
    /** The role of those who have none by a group. Default: they may not log in. */
    default_role: Type.Optional(Type.Enum([...roleNames])),
    /** Tenants in which these users may act, with all below them. Default: `/root`. */
    tenants: Type.Optional(Type.Array(Type.String({ pattern: '^/root' }), { minItems: 1 })),
  },
  { additionalProperties: false },
)
export type LdapServer = Static<typeof LdapServer>

const connectTimeoutMs = 5000
const answerTimeoutMs = 10_000

/** @throws EdfNodeStartError `EINVAL` that names what is wrong */
export function checkLdapServers(servers: readonly LdapServer[]): Map<string, LdapServer> {
  const byName = new Map<string, LdapServer>()
  for (const [index, server] of servers.entries()) {
    const [error] = Value.Errors(LdapServer, server)
    if (error !== undefined) {
      const where = `LDAP server ${index + 1}${error.instancePath}`
      throw new EdfNodeStartError('EINVAL', `${where}: ${error.message}`)
    }
    if (byName.has(server.name)) {
      throw new EdfNodeStartError('EINVAL', `two LDAP servers have the name ${server.name}`)
    }
    byName.set(server.name, server)
  }
  return byName
}

/**
 * Looks a user up and binds as that user (RFC 4513, section 5.1.3).
 * @returns undefined when name or password is wrong, or no role is given
 * @throws ApiError 503 when the directory does not answer
 */
export async function ldapLogin(
  server: LdapServer,
  name: string,
  password: string,
): Promise<SessionUser | undefined> {
  // A bind with a name and no password succeeds, and proves nothing (RFC 4513, section 5.1.2).
  if (name === '' || password === '') return undefined
  // Loaded when it is used: most nodes know no directory.
  const { Client, InvalidCredentialsError } = await import('ldapts')
  const tlsOptions = server.ca === undefined ? {} : { ca: server.ca }
  const client = new Client({
    url: server.url,
    timeout: answerTimeoutMs,
    connectTimeout: connectTimeoutMs,
    tlsOptions,
    strictDN: false,
  })
  try {
    if (server.start_tls) await client.startTLS(tlsOptions)
    if (server.bind_dn !== undefined) await client.bind(server.bind_dn, server.bind_password ?? '')
    const dn = await findUser(client, server, name)
    if (dn === undefined) return undefined
    const names = await rolesOf(client, server, dn, name)
    try {
      await client.bind(dn, password)
    } catch (error) {
      if (error instanceof InvalidCredentialsError) return undefined
      throw error
    }
    if (names.length === 0) return undefined
    return {
      userId: `${name}@${server.name}`,
      tenants: server.tenants ?? ['/root'],
      roles: names,
      privileges: privilegesOf(names),
    }
  } catch (error) {
    throw notConnected(`The LDAP server ${server.name} does not answer as it should: ${messageOf(error)}`)
  } finally {
    await client.unbind().catch(() => undefined)
  }
}

async function findUser(client: Client, server: LdapServer, name: string): Promise<string | undefined> {
  const { EqualityFilter } = await import('ldapts')
  const { searchEntries } = await client.search(server.users_dn, {
    scope: 'sub',
    filter: new EqualityFilter({ attribute: server.user_attribute ?? 'uid', value: name }),
    attributes: ['1.1'],
    sizeLimit: 2,
  })
  const [entry] = searchEntries
  return searchEntries.length === 1 ? entry?.dn : undefined
}

/** By the groups that hold the user, in the forms `groupOfNames`, `groupOfUniqueNames` and `posixGroup`. */
async function rolesOf(client: Client, server: LdapServer, dn: string, name: string): Promise<RoleName[]> {
  const { EqualityFilter, OrFilter } = await import('ldapts')
  const given = new Set<RoleName>()
  if (server.groups_dn !== undefined) {
    const { searchEntries } = await client.search(server.groups_dn, {
      scope: 'sub',
      filter: new OrFilter({
        filters: [
          new EqualityFilter({ attribute: 'member', value: dn }),
          new EqualityFilter({ attribute: 'uniqueMember', value: dn }),
          new EqualityFilter({ attribute: 'memberUid', value: name }),
        ],
      }),
      attributes: ['cn'],
    })
    for (const { cn } of searchEntries) {
      for (const group of [cn ?? []].flat()) {
        const role = server.roles?.[String(group)]
        if (role !== undefined) given.add(role)
      }
    }
  }
  if (given.size === 0 && server.default_role !== undefined) given.add(server.default_role)
  return [...given]
}
