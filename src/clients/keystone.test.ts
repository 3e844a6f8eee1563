import assert from 'node:assert/strict'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { test } from 'node:test'
import { BackendError, Unauthenticated } from '../kernel/errors.ts'
import { Secret } from '../kernel/secret.ts'
import { keystoneSession, keystoneTokenValidator } from './keystone.ts'

const { signal } = new AbortController()
const credentials = {
  username: 'cinder',
  password: new Secret('right'),
  userDomainName: 'Default',
  projectName: 'service',
  projectDomainName: 'Default',
}

/** The part of Keystone that these clients use, and counters of what was asked. */
async function fakeKeystone() {
  const issued: string[] = []
  const revoked = new Set<string>()
  let validations = 0
  let calls = 0
  let broken = false
  let secondsLeft = 3_600
  const tokenOf = (name: string) => ({
    token: {
      expires_at: new Date(Date.now() + secondsLeft * 1_000).toISOString(),
      user: { id: `id-${name}`, name, domain: { id: 'default', name: 'Default' } },
      project: { id: 'p', name: 'project', domain: { id: 'default', name: 'Default' } },
      roles: [{ id: 'r', name: 'Member' }],
      catalog: [
        {
          type: 'image',
          name: 'glance',
          endpoints: [
            { interface: 'internal', region_id: 'One', url: 'http://inside/' },
            { interface: 'public', region_id: 'One', url: 'http://outside/' },
            { interface: 'public', region_id: 'Two', url: 'http://two/' },
          ],
        },
      ],
    },
  })

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const reply = (status: number, body: object, headers: Record<string, string> = {}) =>
      response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
    const own = String(request.headers['x-auth-token'] ?? '')
    if (broken) return void reply(503, {})
    if (request.url === '/v3/auth/tokens' && request.method === 'POST') {
      const { auth } = JSON.parse(Buffer.concat(chunks).toString())
      assert.deepEqual(auth.scope, { project: { name: 'service', domain: { name: 'Default' } } })
      if (auth.identity.password.user.password !== 'right') return void reply(401, {})
      const token = `service-${issued.length}`
      issued.push(token)
      return void reply(201, tokenOf('cinder'), { 'x-subject-token': token })
    }
    if (!issued.includes(own) || revoked.has(own)) return void reply(401, {})
    if (request.url === '/v3/auth/tokens?nocatalog') {
      validations++
      const subject = String(request.headers['x-subject-token'])
      if (!subject.startsWith('good')) return void reply(404, {})
      return void reply(200, tokenOf(subject))
    }
    calls++
    reply(200, { own })
  }

  const server = createServer((request, response) => {
    handle(request, response).catch((error: unknown) => response.destroy(error as Error))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  assert.ok(address !== null && typeof address === 'object')
  return {
    url: `http://127.0.0.1:${address.port}`,
    issued,
    revoked,
    count: () => ({ validations, calls }),
    break: (value: boolean) => {
      broken = value
    },
    live: (seconds: number) => {
      secondsLeft = seconds
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

test('a session logs in once for all who ask at the same time, and again before the token expires', async () => {
  await using keystone = await fakeKeystone()
  let ahead = 0
  const session = keystoneSession({
    authUrl: `${keystone.url}/v3/`,
    credentials,
    now: () => Date.now() + ahead,
  })
  const tokens = await Promise.all(Array.from({ length: 10 }, () => session.token(signal)))
  assert.deepEqual(new Set(tokens), new Set(['service-0']))
  assert.equal(keystone.issued.length, 1)
  ahead = 3_500_000
  assert.equal(await session.token(signal), 'service-1')
})

test('a call that is answered 401 is made again with a new token, once', async () => {
  await using keystone = await fakeKeystone()
  const session = keystoneSession({ authUrl: keystone.url, credentials })
  const first = await session.fetch(`${keystone.url}/thing`, { signal })
  assert.deepEqual(await first.json(), { own: 'service-0' })
  keystone.revoked.add('service-0')
  const second = await session.fetch(`${keystone.url}/thing`, { signal, method: 'POST', body: '{}' })
  assert.deepEqual(await second.json(), { own: 'service-1' })
  assert.equal(keystone.issued.length, 2)
})

test('endpoints come from the catalog by type, interface and region', async () => {
  await using keystone = await fakeKeystone()
  const session = keystoneSession({ authUrl: keystone.url, credentials })
  assert.equal(await session.endpoint({ type: 'image' }, signal), 'http://outside')
  assert.equal(await session.endpoint({ type: 'image', interface: 'internal' }, signal), 'http://inside')
  assert.equal(await session.endpoint({ type: 'image', name: 'glance', region: 'Two' }, signal), 'http://two')
  await assert.rejects(session.endpoint({ type: 'compute' }, signal), BackendError)
})

test('a valid token becomes an identity, and is asked about once while it is kept', async () => {
  await using keystone = await fakeKeystone()
  let ahead = 0
  const validator = keystoneTokenValidator({
    authUrl: keystone.url,
    credentials,
    now: () => Date.now() + ahead,
  })
  const identity = await validator.validate('good-1', signal)
  assert.equal(identity.userId, 'id-good-1')
  assert.equal(identity.projectId, 'p')
  assert.deepEqual(identity.roles, ['member'])
  await validator.validate('good-1', signal)
  assert.equal(keystone.count().validations, 1)
  ahead = 301_000
  await validator.validate('good-1', signal)
  assert.equal(keystone.count().validations, 2)
})

test('a token is never kept beyond its own expiry', async () => {
  await using keystone = await fakeKeystone()
  let ahead = 0
  const now = () => Date.now() + ahead
  const validator = keystoneTokenValidator({ authUrl: keystone.url, credentials, now })
  await validator.validate('good-service', signal)
  keystone.live(60)
  await validator.validate('good-1', signal)
  ahead = 61_000
  keystone.live(-1)
  await assert.rejects(validator.validate('good-1', signal), Unauthenticated)
})

test('an invalid token is Unauthenticated; when nobody can tell it is a BackendError', async () => {
  await using keystone = await fakeKeystone()
  const validator = keystoneTokenValidator({ authUrl: keystone.url, credentials })
  await assert.rejects(validator.validate('bad', signal), Unauthenticated)
  await assert.rejects(validator.validate('good\nx-evil: 1', signal), Unauthenticated)
  keystone.break(true)
  await assert.rejects(validator.validate('good-2', signal), BackendError)
  keystone.break(false)
  await validator.validate('good-2', signal)

  const wrong = { ...credentials, password: new Secret('wrong') }
  const refused = keystoneTokenValidator({ authUrl: keystone.url, credentials: wrong })
  await assert.rejects(refused.validate('good-1', signal), (error) => {
    assert.ok(error instanceof BackendError)
    assert.doesNotMatch(error.message, /wrong/)
    return true
  })
  const nowhere = keystoneTokenValidator({ authUrl: 'http://127.0.0.1:1', credentials })
  await assert.rejects(nowhere.validate('good-1', signal), BackendError)
})

test('an aborted caller is let go at once, and the others get their token', async () => {
  await using keystone = await fakeKeystone()
  const session = keystoneSession({ authUrl: keystone.url, credentials })
  const controller = new AbortController()
  const aborted = session.token(controller.signal)
  const other = session.token(signal)
  const reason = new Error('gone')
  controller.abort(reason)
  await assert.rejects(aborted, reason)
  assert.equal(await other, 'service-0')
})
