import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig } from '../kernel/config/config.ts'
import type { Database } from '../kernel/db/database.ts'
import { Unauthenticated } from '../kernel/errors.ts'
import type { Identity, TokenValidator } from '../kernel/http/request-context.ts'
import type { JobQueue, JobTables } from '../kernel/jobs/job-queue.ts'
import { openJobQueue } from '../kernel/jobs/open-job-queue.ts'
import { processLocks } from '../kernel/locks/locks.ts'
import { type Logger, silentLogger } from '../kernel/log.ts'
import type { ImageTables } from './db/tables.ts'
import type { ImageEndpoint } from './environment.ts'
import type { AnyImageStoreDefinition, StorePlace } from './image-store.ts'
import { createImageService, type ImageService } from './service.ts'
import { imageStores } from './stores/index.ts'

/** Callers of the tests, by their tokens. */
export const identities: Readonly<Record<string, Identity>> = {
  admin: identity('admin', 'project-admin', ['admin', 'member', 'reader']),
  alice: identity('alice', 'project-a', ['member', 'reader']),
  reader: identity('reader', 'project-a', ['reader']),
  bob: identity('bob', 'project-b', ['member', 'reader']),
  carol: identity('carol', 'project-c', ['member', 'reader']),
  service: identity('service', 'project-service', ['service']),
}

function identity(name: string, projectId: string, roles: readonly string[]): Identity {
  return {
    userId: `user-${name}`,
    userName: name,
    userDomainId: 'default',
    projectId,
    projectName: projectId,
    projectDomainId: 'default',
    domainId: undefined,
    systemScope: false,
    roles,
    expiresAt: new Date(Date.now() + 3_600_000),
  }
}

export const testTokens: TokenValidator = {
  async validate(token) {
    const found = identities[token]
    if (found === undefined) throw new Unauthenticated('The token is not valid.')
    return found
  },
}

/** Where a store of a test runs. */
export function testPlace(name: string, more: Partial<StorePlace> = {}): StorePlace {
  return {
    name,
    multiStore: true,
    initiatorName: 'iqn.2026-11.org.emberglass:test',
    stateDirectory: tmpdir(),
    log: silentLogger(),
    ...more,
  }
}

/** An image service for one test, with a directory of its own. */
export interface TestService extends AsyncDisposable {
  readonly service: ImageService
  readonly jobs: JobQueue
  readonly directory: string
  /** Sends a request; `as` names the caller. JSON bodies may be given as objects. */
  call(
    as: string | undefined,
    method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE',
    path: string,
    body?: object | string,
    headers?: Readonly<Record<string, string>>,
  ): Promise<TestAnswer>
  /** Begins to listen, on a port of its own. */
  listen(): Promise<string>
}

export interface TestAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | number | undefined>>
  readonly text: string
  readonly bytes: Buffer
  // the body of an answer is what each test expects it to be
  json<Body = Record<string, unknown>>(): Body
}

export interface TestServiceOptions {
  /** Text of a `glance-api.conf`. */
  readonly conf?: string
  readonly definitions?: readonly AnyImageStoreDefinition[]
  readonly log?: Logger
  /** The directory of an earlier service; it then stays when this one is disposed. */
  readonly directory?: string
  readonly now?: () => Date
  /** Finds other regions' Image services. */
  readonly imageEndpoint?: ImageEndpoint
}

export async function startTestService(
  database: Database<ImageTables>,
  options: TestServiceOptions = {},
): Promise<TestService> {
  const directory = options.directory ?? (await mkdtemp(join(tmpdir(), 'image-service-')))
  const log = options.log ?? silentLogger()
  const confPath = join(directory, 'glance-api.conf')
  await writeFile(confPath, (options.conf ?? '').replaceAll('$DIRECTORY', directory))
  const config = await loadConfig({ files: [confPath] })
  const jobs = await openJobQueue({ database: database as unknown as Database<JobTables>, log }) // fewer tables
  const service = await createImageService({
    database,
    jobs,
    locks: processLocks(),
    log,
    config,
    tokens: testTokens,
    imageStores: options.definitions ?? imageStores,
    stateDirectory: directory,
    initiatorName: 'iqn.2026-11.org.emberglass:test',
    ...(options.now === undefined ? {} : { now: options.now }),
    ...(options.imageEndpoint === undefined ? {} : { imageEndpoint: options.imageEndpoint }),
  })
  config.check()
  await service.start()
  await jobs.start(service.jobDefinitions)
  return {
    service,
    jobs,
    directory,
    async call(as, method, path, body, headers = {}) {
      const response = await service.api.inject({
        method,
        url: path,
        headers: { ...(as === undefined ? {} : { 'x-auth-token': as }), ...headers },
        ...(body === undefined
          ? {}
          : { payload: typeof body === 'object' && !Buffer.isBuffer(body) ? JSON.stringify(body) : body }),
      })
      return {
        status: response.statusCode,
        headers: response.headers,
        text: response.payload,
        bytes: response.rawPayload,
        json: () => JSON.parse(response.payload),
      }
    },
    async listen() {
      await service.api.listen({ host: '127.0.0.1', port: 0 })
      const { port } = service.api.server.address() as AddressInfo // it listens on TCP
      return `http://127.0.0.1:${port}`
    },
    async [Symbol.asyncDispose]() {
      await service.api.close()
      await jobs[Symbol.asyncDispose]()
      await service[Symbol.asyncDispose]()
      if (options.directory === undefined) await rm(directory, { recursive: true, force: true })
    },
  }
}
