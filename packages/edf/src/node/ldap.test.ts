import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { EdfClient } from '../client/edf-client.ts'
import { EdfAuth } from '../client/errors.ts'
import { EdfNodeStartError } from './errors.ts'
import { checkLdapServers, type LdapServer } from './ldap-directory.ts'
import { NodeUnderTest } from './testing.ts'

const run = promisify(execFile)

/** A real slapd on loopback, shared by whoever needs one; undefined where none can be had. */
async function slapd(t: TestContext): Promise<LdapServer | undefined> {
  if (!existsSync('/usr/sbin/slapd') && process.getuid?.() !== 0) {
    t.skip('slapd is not installed')
    return undefined
  }
  const script = fileURLToPath(new URL('../../../../test/servers/ldap-up.sh', import.meta.url))
  const stateDirectory = join(tmpdir(), 'emberglass-servers', 'ldap')
  await mkdir(stateDirectory, { recursive: true })
  // --close: the server must not inherit, and so keep, the lock
  const lock = ['--close', '--wait', '180', join(stateDirectory, 'up.lock')]
  const { stdout } = await run('flock', [...lock, 'bash', script], { timeout: 300_000 })
  const settings = Object.fromEntries(
    stdout.split('\n').map((line) => [line.split('=', 1)[0] ?? '', line.slice(line.indexOf('=') + 1)]),
  )
  return {
    name: 'ldap1',
    url: settings['LDAP_URL'] ?? '',
    bind_dn: settings['LDAP_BIND_DN'] ?? '',
    bind_password: settings['LDAP_BIND_PASSWORD'] ?? '',
    users_dn: settings['LDAP_USERS_DN'] ?? '',
    groups_dn: settings['LDAP_GROUPS_DN'] ?? '',
    roles: { 'storage-admins': 'admin', 'storage-users': 'operator' },
  }
}

test('users of a directory log in with its name, and may do what their groups allow', async (t) => {
  const server = await slapd(t)
  if (server === undefined) return
  const anonymous = { ...server, name: 'open', default_role: 'viewer' as const }
  const { bind_dn, bind_password, ...withoutBind } = anonymous
  const unreachable = { ...server, name: 'gone', url: 'ldap://127.0.0.1:1' }
  const edf = await NodeUnderTest.start(t, { ldapServers: [server, withoutBind, unreachable] })
  const login = (name: string, password: string, remote_server: string) =>
    edf.call('PUT', '/login', { name, password, remote_server })
  const as = async (name: string, password: string, remote_server = 'ldap1') => {
    const { status, body } = await login(name, password, remote_server)
    assert.equal(status, 200, JSON.stringify(body))
    return { headers: { 'auth-token': body.key } }
  }

  const alice = await as('alice', 'alicepass')
  const info = await edf.ok('GET', '/userinfo', undefined, alice)
  assert.deepEqual([info.user_id, info.tenant], ['alice@ldap1', '/root'])
  assert.deepEqual([...info.roles].sort(), ['admin', 'operator'])
  await edf.ok('GET', '/users', undefined, alice)
  const bob = await as('bob', 'bobpass')
  await edf.ok('POST', '/initiators', { id: 'iqn.1993-08.org.debian:01:bob', name: 'bob' }, bob)
  await edf.refused(403, 'PermissionDeniedError', 'GET', '/users', undefined, bob)
  const carol = await as('carol', 'carolpass', 'open')
  await edf.refused(403, 'PermissionDeniedError', 'POST', '/app_instances', { name: 'no' }, carol)

  const refusals: [string, string, string][] = [
    ['alice', 'wrong', 'ldap1'],
    ['alice', '', 'ldap1'],
    ['*', 'alicepass', 'ldap1'],
    ['alice)(uid=*', 'alicepass', 'ldap1'],
    ['nobody', 'alicepass', 'ldap1'],
    ['carol', 'carolpass', 'ldap1'],
    ['alice', 'alicepass', 'other'],
    ['admin', edf.node.password, 'ldap1'],
  ]
  for (const [name, password, remote] of refusals) {
    const { status, body } = await login(name, password, remote)
    assert.deepEqual([status, body.name], [401, 'AuthFailedError'], `${name} at ${remote}`)
  }
  const { port } = new URL(edf.node.httpUrl)
  const connection = { host: '127.0.0.1', port: Number(port), tls: false as const, driver: 'Test-1.0' }
  const credentials = { login: 'alice', password: 'alicepass', ldapServer: 'ldap1' }
  const call = { signal: AbortSignal.timeout(30_000) }
  await using client = await EdfClient.connect({ ...connection, ...credentials }, call)
  assert.ok((await client.in('/root').tenants.list({}, call)).length > 0)
  const wrong = EdfClient.connect({ ...connection, ...credentials, ldapServer: 'other' }, call)
  await assert.rejects(wrong, EdfAuth)

  const { status, body } = await login('alice', 'alicepass', 'gone')
  assert.deepEqual([status, body.name], [503, 'NotConnectedError'])
})

test('what is wrong with the settings of a directory is said at the start', () => {
  const right: LdapServer = { name: 'a', url: 'ldap://127.0.0.1', users_dn: 'dc=example' }
  assert.equal(checkLdapServers([right]).get('a'), right)
  const refused = (servers: readonly LdapServer[], what: RegExp) =>
    assert.throws(
      () => checkLdapServers(servers),
      (error: unknown) => error instanceof EdfNodeStartError && what.test(error.message),
    )
  refused([right, right], /two LDAP servers/)
  refused([{ ...right, url: 'http://127.0.0.1' }], /LDAP server 1\/url/)
})
