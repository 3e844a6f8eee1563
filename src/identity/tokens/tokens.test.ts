import assert from 'node:assert/strict'
import { test } from 'node:test'
import { onEachEngine } from '../../kernel/db/testing.ts'
import { Unauthenticated } from '../../kernel/errors.ts'
import { createTestIdentity, testPassword } from '../testing.ts'

const signal = new AbortController().signal
const names = (list: readonly { name: string }[]) => list.map((item) => item.name)

onEachEngine((engine) => {
  test(`an admin's token tells user, project, implied roles and the catalog, on ${engine.name}`, async () => {
    await using identity = await createTestIdentity(engine)
    const scope = { project: { name: 'admin', domain: { id: 'default' } } }
    const answer = await identity.logIn('admin', testPassword, scope)
    assert.equal(answer.status, 201)
    const { token } = answer.body
    assert.deepEqual(token.methods, ['password'])
    assert.equal(token.user.name, 'admin')
    assert.deepEqual(token.user.domain, { id: 'default', name: 'Default' })
    assert.equal(token.project.name, 'admin')
    assert.deepEqual(names(token.roles), ['admin', 'manager', 'member', 'reader'])
    assert.match(token.expires_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/)
    assert.equal(Date.parse(token.expires_at) - Date.parse(token.issued_at), 3_600_000)
    const volumes = token.catalog.find((entry: { type: string }) => entry.type === 'volumev3')
    assert.equal(volumes.endpoints.length, 3)
    assert.equal(volumes.endpoints[0].url, `http://127.0.0.1:8776/v3/${token.project.id}`)
    assert.equal(volumes.endpoints[0].region, 'RegionOne')

    const shown = await identity.call('GET', '/v3/auth/tokens', {
      token: answer.token,
      subject: answer.token,
    })
    assert.equal(shown.status, 200)
    assert.deepEqual(shown.body, answer.body)
    const short = await identity.call('GET', '/v3/auth/tokens?nocatalog', {
      token: answer.token,
      subject: answer.token,
    })
    assert.equal('catalog' in short.body.token, false)

    const known = await identity.service.tokens.validate(answer.token, signal)
    assert.equal(known.projectId, token.project.id)
    assert.equal(known.userName, 'admin')
    assert.deepEqual(known.roles, ['admin', 'manager', 'member', 'reader'])
    assert.equal(known.systemScope, false)
  })

  test(`scopes are project, domain, system, or none, each only with a role there, on ${engine.name}`, async () => {
    await using identity = await createTestIdentity(engine)
    const system = await identity.logIn('admin', testPassword, { system: { all: true } })
    assert.deepEqual(system.body.token.system, { all: true })
    assert.equal('project' in system.body.token, false)
    const volumes = system.body.token.catalog.find((entry: { type: string }) => entry.type === 'volumev3')
    assert.deepEqual(volumes.endpoints, []) // its URL needs a project
    assert.equal((await identity.service.tokens.validate(system.token, signal)).systemScope, true)

    const none = await identity.logIn('admin', testPassword, 'unscoped')
    assert.equal(none.status, 201)
    for (const key of ['project', 'roles', 'catalog']) assert.equal(key in none.body.token, false)

    const domain = { domain: { name: 'Default' } }
    assert.equal((await identity.logIn('admin', testPassword, domain)).status, 401)
    const { body } = await identity.call('GET', '/v3/roles?name=reader', { token: identity.admin })
    const { user } = system.body.token
    const grant = `/v3/domains/default/users/${user.id}/roles/${body.roles[0].id}`
    assert.equal((await identity.call('PUT', grant, { token: identity.admin })).status, 204)
    const scoped = await identity.logIn('admin', testPassword, domain)
    assert.deepEqual(scoped.body.token.domain, { id: 'default', name: 'Default' })
    assert.deepEqual(names(scoped.body.token.roles), ['reader'])

    const other = await identity.person('alice', ['member'])
    assert.equal(
      (await identity.logIn('admin', testPassword, { project: { id: other.projectId } })).status,
      401,
    )
    assert.equal((await identity.logIn('admin', testPassword, { project: { id: 'none' } })).status, 401)
    const both = { project: { id: 'x' }, domain: { id: 'default' } }
    assert.equal((await identity.logIn('admin', testPassword, both)).status, 400)
  })

  test(`without a scope the default project is taken, if there is a role, on ${engine.name}`, async () => {
    await using identity = await createTestIdentity(engine)
    const alice = await identity.person('alice', ['member'])
    const scoped = await identity.logIn('alice', alice.password)
    assert.equal(scoped.body.token.project.id, alice.projectId)
    assert.deepEqual(names(scoped.body.token.roles), ['member', 'reader'])
    const bob = await identity.person('bob', [])
    const answer = await identity.logIn('bob', bob.password)
    assert.equal(answer.status, 201)
    assert.equal('project' in answer.body.token, false)
  })

  test(`wrong credentials of any kind get the same answer, on ${engine.name}`, async () => {
    await using identity = await createTestIdentity(engine)
    const answers = [
      await identity.logIn('admin', 'wrong'),
      await identity.logIn('nobody', testPassword),
      await identity.call('GET', '/v3/auth/projects'),
      await identity.call('GET', '/v3/auth/projects', { token: 'invented' }),
    ]
    for (const answer of answers) {
      assert.equal(answer.status, 401)
      assert.deepEqual(answer.body, {
        error: {
          code: 401,
          message: 'The request you have made requires authentication.',
          title: 'Unauthorized',
        },
      })
      assert.equal(answer.headers['www-authenticate'], 'Keystone uri="http://id.example:5000/v3"')
    }
    const method = { auth: { identity: { methods: ['oauth1'] } } }
    assert.equal((await identity.call('POST', '/v3/auth/tokens', { body: method })).status, 401)
    for (const body of [{}, { auth: {} }, { auth: { identity: { methods: 'password' } } }]) {
      assert.equal((await identity.call('POST', '/v3/auth/tokens', { body })).status, 400)
    }
    await assert.rejects(identity.service.tokens.validate('invented', signal), Unauthenticated)
  })

  test(`a token buys another with a narrower scope that expires with it, on ${engine.name}`, async () => {
    await using identity = await createTestIdentity(engine)
    const alice = await identity.person('alice', ['member'])
    const first = await identity.logIn('alice', alice.password, 'unscoped')
    identity.advance(600)
    const rescope = (token: string) => ({
      auth: {
        identity: { methods: ['token'], token: { id: token } },
        scope: { project: { id: alice.projectId } },
      },
    })
    const second = await identity.call('POST', '/v3/auth/tokens', { body: rescope(first.token) })
    assert.equal(second.status, 201)
    assert.deepEqual(second.body.token.methods, ['password', 'token'])
    assert.equal(second.body.token.expires_at, first.body.token.expires_at)
    assert.equal(second.body.token.audit_ids[1], first.body.token.audit_ids[0])
    identity.advance(3_000)
    const late = await identity.call('POST', '/v3/auth/tokens', { body: rescope(first.token) })
    assert.equal(late.status, 401)
  })

  test(`a token ends when it expires, is revoked, or loses its ground, on ${engine.name}`, async () => {
    await using identity = await createTestIdentity(engine)
    const { admin } = identity
    const alive = async (token: string) =>
      (await identity.call('GET', '/v3/auth/tokens', { token: admin, subject: token })).status
    const alice = await identity.person('alice', ['member'])
    assert.equal(await alive(alice.token), 200)
    const revoked = await identity.call('DELETE', '/v3/auth/tokens', {
      token: alice.token,
      subject: alice.token,
    })
    assert.equal(revoked.status, 204)
    assert.equal(await alive(alice.token), 404)

    const change = async (url: string, body: object) =>
      assert.equal((await identity.call('PATCH', url, { token: admin, body })).status, 200)
    const fresh = async (password = alice.password) => (await identity.logIn('alice', password)).token
    let token = await fresh()
    assert.equal(await alive(token), 200)
    await change(`/v3/users/${alice.userId}`, { user: { enabled: false } })
    assert.equal(await alive(token), 404)
    assert.equal((await identity.logIn('alice', alice.password)).status, 401)
    await change(`/v3/users/${alice.userId}`, { user: { enabled: true } })
    assert.equal(await alive(token), 404) // enabling again does not bring it back

    token = await fresh()
    await change(`/v3/projects/${alice.projectId}`, { project: { enabled: false } })
    assert.equal(await alive(token), 404)
    await change(`/v3/projects/${alice.projectId}`, { project: { enabled: true } })

    token = await fresh()
    await change(`/v3/users/${alice.userId}`, { user: { password: 'new' } })
    assert.equal(await alive(token), 404)

    token = await fresh('new')
    assert.equal(await alive(token), 200)
    const roles = await identity.call('GET', '/v3/roles?name=member', { token: admin })
    const grant = `/v3/projects/${alice.projectId}/users/${alice.userId}/roles/${roles.body.roles[0].id}`
    await identity.call('DELETE', grant, { token: admin })
    assert.equal(await alive(token), 404)
    await identity.call('PUT', grant, { token: admin })
    assert.equal(await alive(token), 200)

    identity.advance(3_601)
    const late = await identity.logIn('admin', testPassword, { system: { all: true } })
    const gone = await identity.call('GET', '/v3/auth/tokens', { token: late.token, subject: token })
    assert.equal(gone.status, 404)
    assert.equal((await identity.call('GET', '/v3/users', { token: admin })).status, 401)
  })

  test(`only oneself, services and readers of the system may look at a token, on ${engine.name}`, async () => {
    await using identity = await createTestIdentity(engine)
    const alice = await identity.person('alice', ['member'])
    const bob = await identity.person('bob', ['member'])
    const look = async (token: string, subject: string) =>
      (await identity.call('HEAD', '/v3/auth/tokens', { token, subject })).status
    assert.equal(await look(alice.token, alice.token), 200)
    assert.equal(await look(bob.token, alice.token), 403)
    assert.equal(await look(bob.token, 'invented'), 403)
    const scope = { project: { name: 'service', domain: { id: 'default' } } }
    const service = await identity.logIn('emberglass', 'service password', scope)
    assert.deepEqual(names(service.body.token.roles), ['admin', 'manager', 'member', 'reader', 'service'])
    assert.equal(await look(service.token, alice.token), 200)
    const revoke = await identity.call('DELETE', '/v3/auth/tokens', {
      token: bob.token,
      subject: alice.token,
    })
    assert.equal(revoke.status, 403)
  })

  test(`projects and domains on which one has a role are listed, on ${engine.name}`, async () => {
    await using identity = await createTestIdentity(engine)
    const alice = await identity.person('alice', ['member'])
    const { body } = await identity.call('GET', '/v3/auth/projects', { token: alice.token })
    assert.deepEqual(names(body.projects), ['alice-project'])
    assert.deepEqual(body.links, {
      next: null,
      self: 'http://id.example:5000/v3/auth/projects',
      previous: null,
    })
    const domains = await identity.call('GET', '/v3/auth/domains', { token: alice.token })
    assert.deepEqual(domains.body.domains, [])
    const catalog = await identity.call('GET', '/v3/auth/catalog', { token: alice.token })
    assert.deepEqual(names(catalog.body.catalog), ['keystone', 'glance', 'cinderv3'])
  })
})
