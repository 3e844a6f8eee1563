import assert from 'node:assert/strict'
import { createHash, randomUUID } from 'node:crypto'
import type { AppInstance } from '@emberglass/edf'
import { MemoryDevice } from '@emberglass/iscsi/device'
import { TestArray } from '../../../../packages/edf/src/client/array.test-support.ts'
import { uncancelled } from '../../../kernel/call.ts'
import { Secret } from '../../../kernel/secret.ts'
import type {
  BackendVolume,
  CloneableImage,
  NewVolume,
  VolumeBackend,
  VolumeTypeFacts,
} from '../../volume-driver.ts'
import { DateraDriver } from './driver.ts'
import { type DateraSettings, dateraOptions } from './options.ts'

export { TestArray }

export const ourInitiator = 'iqn.2026-01.org.emberglass:test-service'
export const GiB = 1024 ** 3

/** Settings as the options' defaults say. */
export function defaultSettings(): DateraSettings {
  const values = Object.entries(dateraOptions).map(([key, option]) => [key, option.default])
  // Sound: `dateraOptions` has exactly the properties of the settings, each with a default of its type.
  return Object.fromEntries(values) as DateraSettings
}

/** How to reach a test's array through its proxy, with one replica and quick retries. */
export function settingsFor(array: TestArray, changes: Partial<DateraSettings> = {}): DateraSettings {
  return {
    ...defaultSettings(),
    host: '127.0.0.1',
    apiPort: array.proxy.port,
    useSsl: false,
    login: array.node.login,
    password: new Secret(array.node.password),
    singleReplica: true,
    ...changes,
  }
}

/** A driver on a test's array; not started. */
export function driverOn(
  array: TestArray,
  changes: Partial<DateraSettings> = {},
  backend: Partial<VolumeBackend> = {},
): DateraDriver {
  return new DateraDriver(settingsFor(array, changes), {
    name: 'datera-1',
    volumeBackendName: 'datera',
    initiatorName: ourInitiator,
    stateDirectory: '/nonexistent',
    ...backend,
  })
}

/** A volume type with these extra specs. */
export function typeOf(
  extraSpecs: Readonly<Record<string, string>>,
  qosSpecs: Readonly<Record<string, string>> = {},
): VolumeTypeFacts {
  return { id: randomUUID(), name: 'gold', extraSpecs, qosSpecs }
}

export function newVolume(changes: Partial<NewVolume> = {}): NewVolume {
  return {
    id: randomUUID(),
    name: 'data',
    sizeBytes: GiB,
    projectId: '3d2c5a4f8b1e4c9db7a6f0e1d2c3b4a5',
    type: undefined,
    metadata: {},
    ...changes,
  }
}

/** A volume that was made, as the service hands it to the driver. */
export function made(volume: NewVolume, created: { providerLocation: string | undefined }): BackendVolume {
  return { ...volume, providerLocation: created.providerLocation }
}

/** A private raw image of these bytes, of the project of `newVolume`. */
export function imageOf(data: Uint8Array, changes: Partial<CloneableImage> = {}): CloneableImage {
  return {
    id: randomUUID(),
    name: 'image',
    status: 'active',
    visibility: 'private',
    ownerProjectId: newVolume().projectId,
    sizeBytes: data.byteLength,
    virtualSizeBytes: undefined,
    diskFormat: 'raw',
    containerFormat: 'bare',
    minDiskGib: 0,
    minRamMib: 0,
    checksum: createHash('md5').update(data).digest('hex'),
    osHashAlgo: 'sha512',
    osHashValue: createHash('sha512').update(data).digest('hex'),
    properties: {},
    acceptedBy: [],
    locations: [],
    open: async (call) => {
      const device = new MemoryDevice(Math.ceil(data.byteLength / 512) * 512)
      const padded = new Uint8Array(device.sizeBytes)
      padded.set(data)
      await device.write(0, padded, call)
      return device
    },
    ...changes,
  }
}

export const call = uncancelled()
export const hostA = { initiator: 'iqn.2026-01.example:host-a', host: 'host-a', ip: '127.0.0.1' }
export const hostB = { initiator: 'iqn.2026-01.example:host-b', host: 'host-b', ip: '127.0.0.1' }

/** A started driver, and what lies on its array. */
export class Rig implements AsyncDisposable {
  static async start(
    settings: Partial<DateraSettings> = {},
    options: { productVersion?: string } = {},
  ): Promise<Rig> {
    const array = await TestArray.start(options)
    const driver = driverOn(array, settings)
    await driver.start(call)
    return new Rig(array, driver, await array.connect())
  }

  readonly array
  readonly driver
  readonly client

  private constructor(
    array: TestArray,
    driver: ReturnType<typeof driverOn>,
    client: Awaited<ReturnType<TestArray['connect']>>,
  ) {
    this.array = array
    this.driver = driver
    this.client = client
  }

  async all(tenant = '/root'): Promise<AppInstance[]> {
    return await this.client.in(tenant).appInstances.list({}, call)
  }

  async only(tenant = '/root'): Promise<AppInstance> {
    const [first, ...others] = await this.all(tenant)
    assert.ok(first !== undefined && others.length === 0, 'there is one app instance')
    return first
  }

  async create(volume = newVolume()) {
    return made(volume, await this.driver.create(volume, call))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.driver[Symbol.asyncDispose]()
    await this.client.close()
    await this.array[Symbol.asyncDispose]()
  }
}

export const storageOf = (appInstance: AppInstance) => {
  const [storageInstance] = appInstance.storage_instances
  assert.ok(storageInstance !== undefined)
  return storageInstance
}
export const volumeOf = (appInstance: AppInstance) => {
  const [volume] = storageOf(appInstance).volumes
  assert.ok(volume !== undefined)
  return volume
}
