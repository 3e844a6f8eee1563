import type { InjectOptions } from 'fastify'
import type { TestEngine } from '../kernel/db/testing.ts'
import { silentLogger } from '../kernel/log.ts'
import { Secret } from '../kernel/secret.ts'
import type { IdentityTables } from './db/tables.ts'
import { createIdentityService, type IdentityService } from './service.ts'
import { defaultIdentitySettings } from './settings.ts'

/** What JSON the API answered; tests look into it without declaring its type. */
export type Answer = {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  // biome-ignore lint/suspicious/noExplicitAny: tests read answers as a client without types does
  readonly body: any
}

/** An identity service with an empty database, and a client of its API. */
export interface TestIdentity extends AsyncDisposable {
  readonly service: IdentityService
  /** An admin's token for project `admin`. */
  readonly admin: string
  /** Moves the service's clock. */
  advance(seconds: number): void
  call(
    method: string,
    url: string,
    options?: { token?: string; subject?: string; body?: object },
  ): Promise<Answer>
  /** A token by password; the status is that of the answer. */
  logIn(
    name: string,
    password: string,
    scope?: object | 'unscoped',
  ): Promise<Answer & { readonly token: string }>
  /** Makes a user with roles on a new project. */
  person(
    name: string,
    roles: readonly string[],
  ): Promise<{ userId: string; projectId: string; token: string; password: string }>
}

export const testPassword = 'correct horse'

export async function createTestIdentity(engine: TestEngine): Promise<TestIdentity> {
  const database = await engine.open<IdentityTables>()
  let aheadMs = 0
  const service = await createIdentityService({
    database,
    log: silentLogger(),
    settings: defaultIdentitySettings,
    now: () => new Date(Date.now() + aheadMs),
    bootstrap: testBootstrap(5000),
  })

  const call: TestIdentity['call'] = async (method, url, options = {}) => {
    const response = await service.api.inject({
      method: method as NonNullable<InjectOptions['method']>,
      url,
      headers: {
        host: 'id.example:5000',
        ...(options.token !== undefined && { 'x-auth-token': options.token }),
        ...(options.subject !== undefined && { 'x-subject-token': options.subject }),
      },
      ...(options.body !== undefined && { payload: options.body }),
    })
    const body = response.body === '' ? undefined : response.json()
    return { status: response.statusCode, headers: response.headers, body }
  }
  const logIn: TestIdentity['logIn'] = async (name, password, scope) => {
    const user = { name, password, domain: { id: 'default' } }
    const auth = { identity: { methods: ['password'], password: { user } }, ...(scope && { scope }) }
    const answer = await call('POST', '/v3/auth/tokens', { body: { auth } })
    return { ...answer, token: String(answer.headers['x-subject-token'] ?? '') }
  }
  const adminScope = { project: { name: 'admin', domain: { name: 'Default' } } }
  const { token: admin } = await logIn('admin', testPassword, adminScope)

  return {
    service,
    admin,
    call,
    logIn,
    advance: (seconds) => {
      aheadMs += seconds * 1_000
    },
    async person(name, roles) {
      const project = await call('POST', '/v3/projects', {
        token: admin,
        body: { project: { name: `${name}-project` } },
      })
      const projectId = String(project.body.project.id)
      const password = `password of ${name}`
      const user = await call('POST', '/v3/users', {
        token: admin,
        body: { user: { name, password, default_project_id: projectId } },
      })
      const userId = String(user.body.user.id)
      const all = await call('GET', '/v3/roles', { token: admin })
      for (const role of all.body.roles) {
        if (!roles.includes(role.name)) continue
        await call('PUT', `/v3/projects/${projectId}/users/${userId}/roles/${role.id}`, { token: admin })
      }
      const { token } = await logIn(name, password)
      return { userId, projectId, token, password }
    },
    async [Symbol.asyncDispose]() {
      await service[Symbol.asyncDispose]()
      await database[Symbol.asyncDispose]()
    },
  }
}

export function testBootstrap(port: number) {
  return {
    adminPassword: new Secret(testPassword),
    region: 'RegionOne',
    endpoints: [
      { type: 'identity', name: 'keystone', url: `http://127.0.0.1:${port}/v3` },
      { type: 'volumev3', name: 'cinderv3', url: 'http://127.0.0.1:8776/v3/$(project_id)s' },
      { type: 'image', name: 'glance', url: 'http://127.0.0.1:9292' },
    ],
    serviceUser: { name: 'emberglass', password: new Secret('service password') },
  }
}
