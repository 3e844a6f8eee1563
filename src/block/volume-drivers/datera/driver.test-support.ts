import { createHash, randomUUID } from 'node:crypto'
import { MemoryDevice } from '@emberglass/iscsi'
import { TestArray } from '../../../../packages/edf/src/client/array.test-support.ts'
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
