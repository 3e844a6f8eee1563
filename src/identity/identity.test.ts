import assert from 'node:assert/strict'
import { test } from 'node:test'
import { onEachEngine } from '../kernel/db/testing.ts'
import { silentLogger } from '../kernel/log.ts'
import type { IdentityTables } from './db/tables.ts'
import { createIdentityService } from './service.ts'
import { createTestIdentity, testBootstrap, testPassword } from './testing.ts'

onEachEngine((engine) => {
  test(`a second start moves the endpoints and keeps everything else, on ${engine.name}`, async () => {
    await using place = await engine.place()
    const start = async (port: number) => {
      await using database = await place.open<IdentityTables>()
      await using service = await createIdentityService({
        database,
        log: silentLogger(),
        bootstrap: testBootstrap(port),
      })
      void service
      const db = database.kysely
      const users = await db.selectFrom('identity_users').selectAll().orderBy('id').execute()
      const endpoints = await db.selectFrom('identity_endpoints').selectAll().orderBy('id').execute()
      const roles = await db.selectFrom('identity_assignments').selectAll().execute()
      return { users, endpoints, roles }
    }
    const first = await start(5000)
    const second = await start(6000)
    assert.equal(first.users.length, 2)
    assert.equal(first.roles.length, 4)
    assert.deepEqual(second.users, first.users)
    assert.deepEqual(second.roles, first.roles)
    assert.equal(second.endpoints.length, 9)
    const moved = second.endpoints.filter((row) => row.url === 'http://127.0.0.1:6000/v3')
    assert.equal(moved.length, 3)
    assert.equal(first.endpoints.filter((row) => row.url === 'http://127.0.0.1:6000/v3').length, 0)
    assert.deepEqual(
      second.endpoints.map((row) => row.id),
      first.endpoints.map((row) => row.id),
    )
  })

  test(`neither passwords, tokens nor secrets are in the database, on ${engine.name}`, async () => {
    await using database = await engine.open<IdentityTables>()
    await using service = await createIdentityService({
      database,
      log: silentLogger(),
      bootstrap: testBootstrap(1),
    })
    const answer = await service.api.inject({
      method: 'POST',
      url: '/v3/auth/tokens',
      payload: {
        auth: {
          identity: {
            methods: ['password'],
            password: { user: { name: 'admin', password: testPassword, domain: { id: 'default' } } },
          },
        },
      },
    })
    const token = String(answer.headers['x-subject-token'])
    const db = database.kysely
    const rows = [
      ...(await db.selectFrom('identity_users').selectAll().execute()),
      ...(await db.selectFrom('identity_tokens').selectAll().execute()),
    ]
    const text = JSON.stringify(rows)
    assert.equal(text.includes(token), false)
    assert.equal(text.includes(testPassword), false)
    assert.match(text, /scrypt/)
  })

  test(`users can be made, found, changed and deleted, on ${engine.name}`, async () => {
    await using identity = await createTestIdentity(engine)
    const { admin, call } = identity
    const made = await call('POST', '/v3/users', {
      token: admin,
      body: { user: { name: 'carol', password: 'x', email: 'c@example.org', description: 'hm' } },
    })
    assert.equal(made.status, 201)
    const { user } = made.body
    assert.deepEqual(user, {
      email: 'c@example.org',
      description: 'hm',
      id: user.id,
      name: 'carol',
      domain_id: 'default',
      enabled: true,
      password_expires_at: null,
      options: {},
      links: { self: `http://id.example:5000/v3/users/${user.id}` },
    })
    assert.match(user.id, /^[0-9a-f]{32}$/)
    assert.deepEqual((await call('GET', `/v3/users/${user.id}`, { token: admin })).body, { user })
    const found = await call('GET', '/v3/users?name=carol', { token: admin })
    assert.deepEqual(found.body.users, [user])
    assert.deepEqual((await call('GET', '/v3/users?enabled=false', { token: admin })).body.users, [])

    const twice = await call('POST', '/v3/users', { token: admin, body: { user: { name: 'carol' } } })
    assert.equal(twice.status, 409)
    assert.match(twice.body.error.message, /Duplicate entry found with name carol at domain ID default/)
    const url = `/v3/users/${user.id}`
    const changed = await call('PATCH', url, {
      token: admin,
      body: { user: { name: 'caroline', email: null } },
    })
    assert.equal(changed.body.user.name, 'caroline')
    assert.equal('email' in changed.body.user, false)
    assert.equal(changed.body.user.description, 'hm')
    for (const bad of [
      { domain_id: 'other' },
      { name: '' },
      { enabled: 'no' },
      { default_project_id: 'none' },
    ]) {
      assert.equal((await call('PATCH', url, { token: admin, body: { user: bad } })).status, 400)
    }
    assert.equal((await call('DELETE', url, { token: admin })).status, 204)
    const gone = await call('GET', url, { token: admin })
    assert.equal(gone.status, 404)
    assert.equal(gone.body.error.message, `Could not find user: ${user.id}.`)
  })

  test(`users change their own password with the old one, on ${engine.name}`, async () => {
    await using identity = await createTestIdentity(engine)
    const alice = await identity.person('alice', ['member'])
    const change = (original_password: string) =>
      identity.call('POST', `/v3/users/${alice.userId}/password`, {
        body: { user: { original_password, password: 'new' } },
      })
    assert.equal((await change('wrong')).status, 401)
    assert.equal((await change(alice.password)).status, 204)
    assert.equal((await identity.logIn('alice', alice.password)).status, 401)
    assert.equal((await identity.logIn('alice', 'new')).status, 201)
    assert.equal((await identity.call('GET', '/v3/auth/projects', { token: alice.token })).status, 401)
  })

  test(`who is no admin sees and changes only what is theirs, on ${engine.name}`, async () => {
    await using identity = await createTestIdentity(engine)
    const { call } = identity
    const alice = await identity.person('alice', ['manager', 'member'])
    const bob = await identity.person('bob', ['member'])
    const { token } = alice
    const allowed = [
      `/v3/users/${alice.userId}`,
      `/v3/users/${alice.userId}/projects`,
      `/v3/users/${alice.userId}/groups`,
      `/v3/users/${alice.userId}/application_credentials`,
      `/v3/projects/${alice.projectId}`,
      '/v3/domains/default',
      '/v3/regions',
    ]
    for (const url of allowed) assert.equal((await call('GET', url, { token })).status, 200, url)
    const forbidden = [
      '/v3/users',
      '/v3/projects',
      '/v3/domains',
      '/v3/roles',
      '/v3/groups',
      '/v3/services',
      '/v3/endpoints',
      '/v3/role_assignments',
      `/v3/users/${bob.userId}`,
      `/v3/users/${bob.userId}/application_credentials`,
      `/v3/projects/${bob.projectId}`,
      '/v3/users/none',
      '/v3/projects/none',
    ]
    for (const url of forbidden) assert.equal((await call('GET', url, { token })).status, 403, url)
    const writes = [
      ['POST', '/v3/users', { user: { name: 'x' } }],
      ['POST', '/v3/projects', { project: { name: 'x' } }],
      ['POST', '/v3/domains', { domain: { name: 'x' } }],
      ['POST', '/v3/roles', { role: { name: 'x' } }],
      ['POST', '/v3/groups', { group: { name: 'x' } }],
      ['POST', '/v3/services', { service: { type: 'x' } }],
      ['POST', '/v3/regions', { region: { id: 'x' } }],
      ['PATCH', `/v3/users/${alice.userId}`, { user: { name: 'x' } }],
      ['PATCH', `/v3/projects/${alice.projectId}`, { project: { name: 'x' } }],
      ['DELETE', `/v3/projects/${alice.projectId}`, undefined],
      ['PUT', `/v3/projects/${alice.projectId}/users/${alice.userId}/roles/x`, undefined],
      ['PUT', `/v3/system/users/${alice.userId}/roles/x`, undefined],
    ] as const
    for (const [method, url, body] of writes) {
      const answer = await call(method, url, { token, ...(body && { body }) })
      assert.equal(answer.status, 403, `${method} ${url}`)
      assert.match(
        answer.body.error.message,
        /^You are not authorized to perform the requested action: identity:/,
      )
    }
  })

  test(`projects nest, keep tags, and are deleted with what hangs on them, on ${engine.name}`, async () => {
    await using identity = await createTestIdentity(engine)
    const { admin, call } = identity
    const alice = await identity.person('alice', ['member'])
    const child = await call('POST', '/v3/projects', {
      token: admin,
      body: { project: { name: 'child', parent_id: alice.projectId, tags: ['a', 'b'] } },
    })
    assert.equal(child.status, 201)
    assert.equal(child.body.project.domain_id, 'default')
    const tagged = await call('GET', '/v3/projects?tags=b', { token: admin })
    assert.deepEqual(tagged.body.projects, [child.body.project])
    const url = `/v3/projects/${alice.projectId}`
    assert.equal((await call('DELETE', url, { token: admin })).status, 403)
    await call('DELETE', `/v3/projects/${child.body.project.id}`, { token: admin })
    assert.equal((await call('DELETE', url, { token: admin })).status, 204)
    assert.equal((await call('GET', '/v3/auth/projects', { token: alice.token })).status, 401)
    const user = await call('GET', `/v3/users/${alice.userId}`, { token: admin })
    assert.equal('default_project_id' in user.body.user, false)
    const assignments = await call('GET', `/v3/role_assignments?user.id=${alice.userId}`, { token: admin })
    assert.deepEqual(assignments.body.role_assignments, [])
    for (const bad of [{ name: '' }, { name: 'x'.repeat(65) }, { name: 'x', parent_id: 'none' }, {}]) {
      assert.equal((await call('POST', '/v3/projects', { token: admin, body: { project: bad } })).status, 400)
    }
  })

  test(`roles come through groups, inheritance and implication, on ${engine.name}`, async () => {
    await using identity = await createTestIdentity(engine)
    const { admin, call } = identity
    const alice = await identity.person('alice', [])
    const role = async (name: string) =>
      String((await call('GET', `/v3/roles?name=${name}`, { token: admin })).body.roles[0].id)
    const put = async (url: string) =>
      assert.equal((await call('PUT', url, { token: admin })).status, 204, url)
    const group = (await call('POST', '/v3/groups', { token: admin, body: { group: { name: 'g' } } })).body
      .group
    await put(`/v3/groups/${group.id}/users/${alice.userId}`)
    const rolesOf = async () => {
      const scope = { project: { id: alice.projectId } }
      const { status, body } = await identity.logIn('alice', alice.password, scope)
      return status === 201 ? body.token.roles.map((one: { name: string }) => one.name) : status
    }
    assert.equal(await rolesOf(), 401)
    await put(`/v3/projects/${alice.projectId}/groups/${group.id}/roles/${await role('member')}`)
    assert.deepEqual(await rolesOf(), ['member', 'reader'])
    const inherited = `/v3/OS-INHERIT/domains/default/users/${alice.userId}/roles`
    await put(`${inherited}/${await role('service')}/inherited_to_projects`)
    assert.deepEqual(await rolesOf(), ['member', 'reader', 'service'])

    const list = async (query: string) =>
      (await call('GET', `/v3/role_assignments?${query}`, { token: admin })).body.role_assignments
    const direct = await list(`group.id=${group.id}&include_names`)
    assert.equal(direct.length, 1)
    assert.equal(direct[0].group.name, 'g')
    assert.equal(direct[0].role.name, 'member')
    assert.deepEqual(direct[0].scope.project.domain, { id: 'default', name: 'Default' })
    const effective = await list(
      `effective&include_names=1&user.id=${alice.userId}&scope.project.id=${alice.projectId}`,
    )
    assert.deepEqual(effective.map((one: { role: { name: string } }) => one.role.name).sort(), [
      'member',
      'reader',
      'service',
    ])
    assert.equal(
      (await call('GET', '/v3/role_assignments?user.id=a&group.id=b', { token: admin })).status,
      400,
    )

    await call('DELETE', `/v3/groups/${group.id}/users/${alice.userId}`, { token: admin })
    assert.deepEqual(await rolesOf(), ['service'])
  })

  test(`a domain's reader sees that domain only, on ${engine.name}`, async () => {
    await using identity = await createTestIdentity(engine)
    const { admin, call } = identity
    const domain = (await call('POST', '/v3/domains', { token: admin, body: { domain: { name: 'd' } } })).body
      .domain
    const user = (
      await call('POST', '/v3/users', {
        token: admin,
        body: { user: { name: 'dora', password: 'x', domain_id: domain.id } },
      })
    ).body.user
    const reader = (await call('GET', '/v3/roles?name=reader', { token: admin })).body.roles[0]
    await call('PUT', `/v3/domains/${domain.id}/users/${user.id}/roles/${reader.id}`, { token: admin })
    const auth = {
      identity: { methods: ['password'], password: { user: { id: user.id, password: 'x' } } },
      scope: { domain: { id: domain.id } },
    }
    const login = await call('POST', '/v3/auth/tokens', { body: { auth } })
    assert.equal(login.status, 201)
    const token = String(login.headers['x-subject-token'])
    const users = await call('GET', '/v3/users', { token })
    assert.deepEqual(
      users.body.users.map((one: { name: string }) => one.name),
      ['dora'],
    )
    assert.deepEqual((await call('GET', '/v3/projects', { token })).body.projects, [])
    assert.equal((await call('POST', '/v3/users', { token, body: { user: { name: 'x' } } })).status, 403)
    assert.equal((await call('DELETE', `/v3/domains/${domain.id}`, { token: admin })).status, 403)
    await call('PATCH', `/v3/domains/${domain.id}`, { token: admin, body: { domain: { enabled: false } } })
    assert.equal((await call('GET', '/v3/users', { token })).status, 401)
    assert.equal((await call('DELETE', `/v3/domains/${domain.id}`, { token: admin })).status, 204)
    assert.equal((await call('GET', `/v3/users/${user.id}`, { token: admin })).status, 404)
  })

  test(`an application credential has its own secret and no more than its roles, on ${engine.name}`, async () => {
    await using identity = await createTestIdentity(engine)
    const { call } = identity
    const alice = await identity.person('alice', ['member'])
    const base = `/v3/users/${alice.userId}/application_credentials`
    const make = (body: object, token = alice.token) =>
      call('POST', base, { token, body: { application_credential: body } })
    const made = await make({ name: 'ci', roles: [{ name: 'reader' }] })
    assert.equal(made.status, 201)
    const { id, secret } = made.body.application_credential
    const shown = await call('GET', `${base}/${id}`, { token: alice.token })
    assert.equal('secret' in shown.body.application_credential, false)
    assert.equal((await make({ name: 'ci' })).status, 409)
    assert.equal((await make({ name: 'more', roles: [{ name: 'admin' }] })).status, 400)
    assert.equal((await make({ name: 'late', expires_at: '2001-01-01T00:00:00' })).status, 400)
    assert.equal((await make({ name: 'rules', access_rules: [{ path: '/' }] })).status, 501)
    assert.equal((await make({ name: 'for others' }, identity.admin)).status, 403)

    const logIn = (given: string, extra: object = {}) =>
      call('POST', '/v3/auth/tokens', {
        body: {
          auth: {
            identity: {
              methods: ['application_credential'],
              application_credential: { id, secret: given },
            },
            ...extra,
          },
        },
      })
    assert.equal((await logIn('wrong')).status, 401)
    assert.equal((await logIn(secret, { scope: { system: { all: true } } })).status, 401)
    const login = await logIn(secret)
    assert.equal(login.status, 201)
    assert.equal(login.body.token.project.id, alice.projectId)
    assert.deepEqual(
      login.body.token.roles.map((one: { name: string }) => one.name),
      ['reader'],
    )
    assert.deepEqual(login.body.token.application_credential, { id, name: 'ci', restricted: true })
    const token = String(login.headers['x-subject-token'])
    assert.equal((await make({ name: 'child' }, token)).status, 403)
    assert.equal((await call('DELETE', `${base}/${id}`, { token })).status, 403)
    const rescope = { auth: { identity: { methods: ['token'], token: { id: token } } } }
    assert.equal((await call('POST', '/v3/auth/tokens', { body: rescope })).status, 403)

    assert.equal((await call('DELETE', `${base}/${id}`, { token: alice.token })).status, 204)
    assert.equal((await call('GET', '/v3/auth/projects', { token })).status, 401)
    assert.equal((await logIn(secret)).status, 401)
  })

  test(`services, endpoints and regions make the catalog, on ${engine.name}`, async () => {
    await using identity = await createTestIdentity(engine)
    const { admin: token, call } = identity
    const service = (
      await call('POST', '/v3/services', { token, body: { service: { type: 'dns', name: 'designate' } } })
    ).body.service
    const endpoint = { service_id: service.id, interface: 'public', url: 'http://dns', region: 'Two' }
    assert.equal((await call('POST', '/v3/endpoints', { token, body: { endpoint } })).status, 400)
    assert.equal((await call('POST', '/v3/regions', { token, body: { region: { id: 'Two' } } })).status, 201)
    assert.equal((await call('POST', '/v3/regions', { token, body: { region: { id: 'Two' } } })).status, 409)
    assert.equal((await call('POST', '/v3/endpoints', { token, body: { endpoint } })).status, 201)
    const catalog = async () =>
      (await call('GET', '/v3/auth/catalog', { token })).body.catalog.find(
        (entry: { type: string }) => entry.type === 'dns',
      )
    assert.equal((await catalog()).endpoints[0].region_id, 'Two')
    assert.equal((await call('DELETE', '/v3/regions/Two', { token })).status, 403)
    await call('PATCH', `/v3/services/${service.id}`, { token, body: { service: { enabled: false } } })
    assert.equal(await catalog(), undefined)
    assert.equal((await call('DELETE', `/v3/services/${service.id}`, { token })).status, 204)
    assert.equal((await call('DELETE', '/v3/regions/Two', { token })).status, 204)
    const all = await call('GET', '/v3/endpoints?interface=public', { token })
    assert.equal(all.body.endpoints.length, 3)
  })

  test(`versions need no token, and bad requests are answered as Keystone does, on ${engine.name}`, async () => {
    await using identity = await createTestIdentity(engine)
    const { admin: token, call } = identity
    const root = await call('GET', '/')
    assert.equal(root.status, 300)
    assert.equal(root.body.versions.values[0].links[0].href, 'http://id.example:5000/v3/')
    assert.equal((await call('GET', '/v3/')).body.version.id, 'v3.14')
    const nowhere = await call('GET', '/v3/nowhere', { token })
    assert.deepEqual(nowhere.body.error, {
      code: 404,
      message: 'The resource could not be found.',
      title: 'Not Found',
    })
    const broken = await identity.service.api.inject({
      method: 'POST',
      url: '/v3/users',
      headers: { 'x-auth-token': token, 'content-type': 'application/json' },
      payload: '{"user": ',
    })
    assert.equal(broken.statusCode, 400)
    assert.equal(broken.json().error.title, 'Bad Request')
  })
})
