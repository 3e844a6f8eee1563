import { Login } from '../../schemas/login.ts'
import { apiVersions } from '../../versions.ts'
import type { NodeContext } from '../context.ts'
import type { UserRow } from '../database/rows.ts'
import { authFailed } from '../errors.ts'
import type { NewEvent } from '../event-log.ts'
import type { Route } from '../http/route.ts'
import { ldapLogin } from '../ldap-directory.ts'
import type { SessionUser } from '../sessions.ts'
import { rootTenant } from './tenants.ts'
import { sessionUserOf } from './users.ts'

/** A hash of nothing that anybody knows: an unknown name takes as long as a wrong password. */
const decoy = `scrypt$16384$8$1$${'A'.repeat(22)}$${'A'.repeat(43)}`

export function loginRoutes(node: NodeContext): Route[] {
  return [
    {
      method: 'PUT',
      path: '/login',
      summary: 'Log in: the key goes into the header Auth-Token',
      body: Login,
      open: true,
      handle: async (request) => {
        const { name, password, remote_server } = request.body(Login)
        const user = remote_server
          ? await remoteLogin(node, remote_server, name, password)
          : await localLogin(node, name, password)
        if (user === undefined) {
          node.events.note(refusedLogin(name, remote_server, request.driver))
          throw authFailed()
        }
        const key = node.sessions.open(user)
        return { data: { key, version: `v${request.version}`, request_time: 0 }, bare: true }
      },
    },
    {
      method: 'PUT',
      path: '/logout',
      summary: 'Log out: the key is no longer valid',
      privilege: 'read',
      handle: (request) => {
        node.sessions.close(request.sessionKey)
        return { data: {}, bare: true }
      },
    },
    {
      method: 'GET',
      path: '/userinfo',
      summary: "Read the session's user",
      handle: ({ user, tenant }) => ({ data: { user_id: user.userId, roles: user.roles, tenant } }),
    },
    {
      method: 'GET',
      path: '/time',
      summary: "Read the system's time",
      handle: () => ({ data: { time: new Date().toISOString(), timezone: 'UTC' } }),
    },
  ]
}

async function localLogin(
  node: NodeContext,
  name: string,
  password: string,
): Promise<SessionUser | undefined> {
  const row = node.database.get<UserRow>('SELECT * FROM user WHERE user_id = ?', name)
  const known = row !== undefined && row.enabled === 1
  const right = await node.passwords.verify(known ? name : '', password, known ? row.password_hash : decoy)
  return known && right ? sessionUserOf(row) : undefined
}

async function remoteLogin(
  node: NodeContext,
  serverName: string,
  name: string,
  password: string,
): Promise<SessionUser | undefined> {
  const server = node.ldapServers.get(serverName)
  return server && (await ldapLogin(server, name, password))
}

function refusedLogin(name: string, server: string | undefined, driver: string): NewEvent {
  return {
    kind: 'system',
    code: 'LOGIN_REFUSED',
    severity: 'warning',
    // Somebody may have typed a password where the name belongs.
    description: `a login as ${/^\w{3,32}$/.test(name) ? name : 'somebody'} was refused`,
    tenant: rootTenant,
    objectPath: '/login',
    context: { driver, ...(server && { server }) },
  }
}

/** `GET /api_versions`: ascending; the legacy v2 is served, but not listed, as on the array. */
export function apiVersionsDocument(): { api_versions: string[] } {
  return {
    api_versions: apiVersions.filter((version) => version !== '2').map((version) => `v${version}`),
  }
}
