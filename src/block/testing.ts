import { createHash, randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { MemoryDevice } from '@emberglass/iscsi/device'
import type { Bytes } from '../kernel/bytes.ts'
import type { Call } from '../kernel/call.ts'
import { loadConfig } from '../kernel/config/config.ts'
import type { Database } from '../kernel/db/database.ts'
import type { TestEngine } from '../kernel/db/testing.ts'
import { NotFound, Unauthenticated } from '../kernel/errors.ts'
import type { Identity, TokenValidator } from '../kernel/http/request-context.ts'
import type { JobQueue } from '../kernel/jobs/job-queue.ts'
import { jobMigrations } from '../kernel/jobs/migrations.ts'
import { openJobQueue } from '../kernel/jobs/open-job-queue.ts'
import { processLocks } from '../kernel/locks/locks.ts'
import { silentLogger } from '../kernel/log.ts'
import type { AnyBackupDriverDefinition } from './backup-driver.ts'
import memoryBackups from './backup-drivers/memory.ts'
import posixBackups from './backup-drivers/posix.ts'
import { blockMigrations } from './db/migrations.ts'
import type { Tables } from './db/tables.ts'
import type { ImageFacts, ImageService } from './image-service.ts'
import { createBlockService } from './service.ts'
import type { AnyVolumeDriverDefinition } from './volume-driver.ts'
import { defineVolumeDriver, type VolumeBackend } from './volume-driver.ts'
import { MemoryVolumeDriver } from './volume-drivers/memory.ts'

/** Projects of the tokens below. */
export const projects = { demo: 'a'.repeat(32), other: 'b'.repeat(32) } as const

/** Tokens that tests can use, and what they say. */
const roles: Readonly<Record<string, readonly [project: string, roles: readonly string[]]>> = {
  admin: [projects.demo, ['admin', 'member', 'reader']],
  member: [projects.demo, ['member', 'reader']],
  reader: [projects.demo, ['reader']],
  stranger: [projects.other, ['member', 'reader']],
  nobody: [projects.demo, []],
}

export type TestToken = 'admin' | 'member' | 'reader' | 'stranger' | 'nobody'

export const testTokens: TokenValidator = {
  async validate(token): Promise<Identity> {
    const found = roles[token]
    if (found === undefined) throw new Unauthenticated('no such token')
    return {
      userId: createHash('md5').update(token).digest('hex'),
      userName: token,
      userDomainId: 'default',
      projectId: found[0],
      projectName: 'demo',
      projectDomainId: 'default',
      domainId: undefined,
      systemScope: false,
      roles: found[1],
      expiresAt: new Date(Date.now() + 3_600_000),
    }
  },
}

/** So much of an uploaded volume is kept, in bytes: a test looks at its head. */
const keptOfUploads = 4 * 1024 * 1024

/** Images in memory. */
export class TestImages implements ImageService {
  readonly #images = new Map<string, { facts: ImageFacts; data: Uint8Array }>()
  /** Projects that accepted an image, by its id. */
  readonly accepted = new Map<string, readonly string[]>()
  /** Called before a device is opened; a test can wait here, or throw. */
  beforeOpen: (signal: AbortSignal) => Promise<void> = async () => {}

  add(data: Uint8Array, facts: Partial<ImageFacts> = {}): string {
    const id = facts.id ?? randomUUID()
    this.#images.set(id, {
      data,
      facts: {
        id,
        name: 'an image',
        status: 'active',
        visibility: 'public',
        ownerProjectId: projects.demo,
        sizeBytes: data.byteLength,
        virtualSizeBytes: undefined,
        diskFormat: 'raw',
        containerFormat: 'bare',
        minDiskGib: 0,
        minRamMib: 0,
        checksum: createHash('md5').update(data).digest('hex'),
        osHashAlgo: 'sha512',
        osHashValue: createHash('sha512').update(data).digest('hex'),
        locations: [],
        properties: {},
        ...facts,
      },
    })
    return id
  }

  async show(imageId: string): Promise<ImageFacts> {
    return this.#find(imageId).facts
  }

  async named(name: string): Promise<readonly ImageFacts[]> {
    const found = [...this.#images.values()].map(({ facts }) => facts)
    return found.filter((facts) => facts.name === name).slice(0, 2)
  }

  async acceptedBy(imageId: string): Promise<readonly string[]> {
    return this.accepted.get(imageId) ?? []
  }

  async open(imageId: string, call: Call): Promise<MemoryDevice> {
    await this.beforeOpen(call.signal)
    const { data } = this.#find(imageId)
    const device = new MemoryDevice(Math.ceil(data.byteLength / 512) * 512)
    const padded = new Uint8Array(device.sizeBytes)
    padded.set(data)
    device.write(0, padded, { signal: new AbortController().signal })
    return device
  }

  async *download(imageId: string): Bytes {
    yield this.#find(imageId).data
  }

  async create(image: Readonly<Record<string, string | number | boolean>>): Promise<ImageFacts> {
    const { id, name, disk_format, container_format, visibility, protected: _, ...properties } = image
    const text = (value: unknown) => (value === undefined ? undefined : String(value))
    const created = this.add(new Uint8Array(), {
      ...(id === undefined ? {} : { id: String(id) }),
      status: 'queued',
      name: text(name),
      diskFormat: text(disk_format),
      containerFormat: text(container_format),
      visibility: text(visibility) ?? 'shared',
      properties: Object.fromEntries(Object.entries(properties).map(([key, value]) => [key, String(value)])),
    })
    return this.#find(created).facts
  }

  async upload(imageId: string, data: Bytes): Promise<void> {
    const { facts } = this.#find(imageId)
    const kept: Uint8Array[] = []
    let keptBytes = 0
    let sizeBytes = 0
    for await (const chunk of data) {
      sizeBytes += chunk.byteLength
      if (keptBytes >= keptOfUploads) continue
      kept.push(chunk)
      keptBytes += chunk.byteLength
    }
    this.add(Buffer.concat(kept), { ...facts, status: 'active', sizeBytes })
  }

  async delete(imageId: string): Promise<void> {
    this.#images.delete(imageId)
  }

  #find(imageId: string) {
    const found = this.#images.get(imageId)
    if (found === undefined) throw new NotFound(`Image ${imageId} could not be found.`)
    return found
  }
}

/** An answer, with its JSON already parsed. */
export interface TestAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  // biome-ignore lint/suspicious/noExplicitAny: tests look into bodies of every shape
  readonly body: any
  readonly text: string
}

/** A whole service on a database of its own, with memory backends. */
export interface TestBlock extends AsyncDisposable {
  readonly service: Awaited<ReturnType<typeof createBlockService>>
  readonly database: Database<Tables>
  readonly images: TestImages
  /** The memory driver of the first backend. */
  readonly driver: MemoryVolumeDriver
  /** The memory drivers of all backends, in their order. */
  readonly drivers: readonly MemoryVolumeDriver[]
  request(
    token: TestToken | undefined,
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    path: string,
    options?: { body?: unknown; version?: string; headers?: Record<string, string>; unversioned?: boolean },
  ): Promise<TestAnswer>
  /** Resolves when no job is left to run. */
  idle(): Promise<void>
  /** Polls a resource until its status is the wanted one. */
  until(path: string, key: 'volume' | 'snapshot' | 'backup', status: string): Promise<TestAnswer>
}

/** A driver that tests can put in the place of the memory driver. */
export function driverDefinition(
  make: (backend: VolumeBackend) => MemoryVolumeDriver,
): AnyVolumeDriverDefinition {
  return defineVolumeDriver({
    name: 'memory',
    aliases: [],
    options: {},
    create: (_settings, backend) => make(backend),
  })
}

/**
 * Starts a service.
 * @param options.config values of `cinder.conf`; one memory backend named `first` without
 * @param options.runJobs false leaves jobs in the queue, as a process that died does
 */
export async function startTestBlock(
  engine: TestEngine,
  options: {
    config?: Readonly<Record<string, Readonly<Record<string, string>>>>
    drivers?: readonly AnyVolumeDriverDefinition[]
    backupDrivers?: readonly AnyBackupDriverDefinition[]
    database?: Database<Tables>
    driver?: MemoryVolumeDriver
    images?: TestImages
    runJobs?: boolean
  } = {},
): Promise<TestBlock> {
  const database =
    options.database ?? (await engine.open<Tables>({ jobs: jobMigrations, block: blockMigrations }))
  const stateDirectory = await mkdtemp(join(tmpdir(), 'emberglass-block-'))
  const log = silentLogger()
  const jobs: JobQueue = await openJobQueue({
    database: { ...database, kysely: database.kysely.$pickTables<'jobs'>() },
    log,
  })
  const images = options.images ?? new TestImages()
  const made: MemoryVolumeDriver[] = []
  const memory = driverDefinition((backend) => {
    const capacityBytes = 100 * 1024 ** 4
    const driver =
      made.length === 0 && options.driver !== undefined
        ? options.driver
        : new MemoryVolumeDriver({ poolName: backend.volumeBackendName, capacityBytes })
    made.push(driver)
    return driver
  })
  const service = await createBlockService({
    database,
    jobs,
    locks: processLocks(),
    log,
    config: await loadConfig({
      files: [],
      defaults: options.config ?? {
        DEFAULT: { enabled_backends: 'first' },
        first: { volume_driver: 'memory' },
      },
    }),
    tokens: testTokens,
    images,
    volumeDrivers: options.drivers ?? [memory],
    backupDrivers: options.backupDrivers ?? [posixBackups, memoryBackups],
    stateDirectory,
    host: 'node',
    initiatorName: 'iqn.2026-01.example:controller',
  })
  await service.start()
  await service.backendsTried(new AbortController().signal)
  if (options.runJobs !== false) await jobs.start(service.jobDefinitions)
  const [driver] = made
  const test: TestBlock = {
    service,
    database,
    images,
    driver: driver ?? new MemoryVolumeDriver({ poolName: 'none', capacityBytes: 0 }),
    drivers: made,
    async request(token, method, path, { body, version, headers, unversioned } = {}) {
      const answer = await service.api.inject({
        method,
        url: unversioned ? path : `/v3${path}`,
        headers: {
          ...(token === undefined ? {} : { 'x-auth-token': token }),
          ...(version === undefined ? {} : { 'openstack-api-version': `volume ${version}` }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(body === undefined ? {} : { payload: typeof body === 'string' ? body : JSON.stringify(body) }),
      })
      const json = answer.headers['content-type']?.toString().includes('json') === true
      return {
        status: answer.statusCode,
        headers: answer.headers,
        text: answer.body,
        body: json && answer.body !== '' ? answer.json() : undefined,
      }
    },
    idle: () => jobs.idle(),
    async until(path, key, status) {
      let last: TestAnswer | undefined
      for (let attempt = 0; attempt < 1_000; attempt++) {
        last = await test.request('admin', 'GET', path)
        if (last.body?.[key]?.status === status) return last
        await wait(10)
      }
      throw new Error(`${path} did not become ${status}: ${last?.text}`)
    },
    async [Symbol.asyncDispose]() {
      await jobs[Symbol.asyncDispose]()
      await service[Symbol.asyncDispose]()
      if (options.database === undefined) await database[Symbol.asyncDispose]()
      await rm(stateDirectory, { recursive: true, force: true })
    },
  }
  return test
}
