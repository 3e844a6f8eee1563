import type { BlockDevice } from '@emberglass/iscsi'
import type { Call } from '../kernel/call.ts'
import type { OptionSet } from '../kernel/config/options.ts'

/** What a driver is told of a volume's type. Extra specs keep their prefixes (`DF:replica_count`). */
export interface VolumeTypeFacts {
  readonly id: string
  readonly name: string
  readonly extraSpecs: Readonly<Record<string, string>>
  /** Of the associated QoS specs whose consumer is `back-end` or `both`. */
  readonly qosSpecs: Readonly<Record<string, string>>
}

/** A volume to be made. Names on the backend derive from `id`, so that an orphan can be recognised. */
export interface NewVolume {
  readonly id: string
  readonly name: string
  readonly sizeBytes: number
  readonly projectId: string
  readonly type: VolumeTypeFacts | undefined
  readonly metadata: Readonly<Record<string, string>>
}

/** A volume that a backend has made, with what the driver asked to be remembered about it. */
export interface BackendVolume extends NewVolume {
  /** Cinder's `provider_location`; only the driver reads it. */
  readonly providerLocation: string | undefined
}

/** A snapshot to be made of `volume`, or one that was. */
export interface BackendSnapshot {
  readonly id: string
  readonly name: string
  readonly volume: BackendVolume
  readonly providerLocation: string | undefined
}

/** What the driver wants to be remembered: it comes back as `BackendVolume` or `BackendSnapshot`. */
export interface Created {
  readonly providerLocation: string | undefined
}

/** Who wants to attach, as os-brick describes a host. */
export interface Connector {
  /** Initiator IQN. */
  readonly initiator?: string | undefined
  readonly host?: string | undefined
  readonly ip?: string | undefined
  readonly multipath?: boolean | undefined
  readonly [key: string]: unknown
}

/** Cinder's `connection_info`: `driver_volume_type` and `data` on the wire. */
export interface Connection {
  readonly driverVolumeType: 'iscsi' | 'rbd' | 'local' | 'memory'
  readonly data: Readonly<Record<string, unknown>>
}

/** What the scheduler knows of a pool. */
export interface Pool {
  readonly name: string
  readonly totalBytes: number
  readonly freeBytes: number
  /** As `get_pools` reports them, without the capacities: `vendor_name`, `storage_protocol`, `QoS_support`… */
  readonly capabilities: Readonly<Record<string, unknown>>
}

/**
 * A backend of volumes. The service wraps it with locks (one call per volume at a time), retries and logs: a
 * driver contains none of them. Each verb can be repeated: after a crash it is called again with the same ids.
 * Only kernel errors escape. Optional features are optional objects.
 */
export interface VolumeDriver extends AsyncDisposable {
  /** Checks the configuration and that the backend answers. @throws Misconfigured, BackendError */
  start(call: Call): Promise<void>
  pools(call: Call): Promise<readonly Pool[]>
  /** Same id again: same volume. New bytes read as zeroes. @throws NoCapacity, BackendError */
  create(volume: NewVolume, call: Call): Promise<Created>
  /** Already gone: fine. Detaches everybody first. @throws Conflict when snapshots depend on it */
  delete(volume: BackendVolume, call: Call): Promise<void>
  /** Grows a volume, attached or not. Already that large: fine. @param sizeBytes the new total */
  extend(volume: BackendVolume, sizeBytes: number, call: Call): Promise<void>
  /** Lets a connector in, and says how to connect. Twice for the same connector: the same answer. */
  attach(volume: BackendVolume, to: Connector, call: Call): Promise<Connection>
  /** Shuts a connector out; others stay. Not attached: fine. */
  detach(volume: BackendVolume, from: Connector | 'everyone', call: Call): Promise<void>
  /** The volume's bytes, for our own data path. Whoever opens it closes it; closing detaches. */
  open(volume: BackendVolume, mode: 'r' | 'rw', call: Call): Promise<BlockDevice>
  readonly snapshots?: Snapshots
  readonly clones?: Clones
}

export interface Snapshots {
  /** Same id again: same snapshot. */
  create(snapshot: Omit<BackendSnapshot, 'providerLocation'>, call: Call): Promise<Created>
  /** Already gone: fine. Volumes made from it live on. */
  delete(snapshot: BackendSnapshot, call: Call): Promise<void>
  /** A new volume with the snapshot's bytes; may be larger: the rest reads as zeroes. */
  createVolume(snapshot: BackendSnapshot, volume: NewVolume, call: Call): Promise<Created>
}

export interface Clones {
  /** A new volume with the source's bytes as they are now; may be larger; outlives its source. */
  create(source: BackendVolume, volume: NewVolume, call: Call): Promise<Created>
}

/** A driver's default export: its name, the names `volume_driver =` may have, its options, its factory. */
export interface VolumeDriverDefinition<Settings> {
  readonly name: string
  /** What existing `cinder.conf` files write: `cinder.volume.drivers.datera.datera_iscsi.DateraDriver`. */
  readonly aliases: readonly string[]
  /** Read from the backend's own section. */
  readonly options: OptionSet<Settings>
  create(settings: Settings, backend: VolumeBackend): VolumeDriver
}

/** Where a driver stands. */
export interface VolumeBackend {
  /** The section's name in `cinder.conf`, one of `enabled_backends`. */
  readonly name: string
  /** `volume_backend_name`, or the section's name. */
  readonly volumeBackendName: string
  /** Our own initiator name, for `open`. */
  readonly initiatorName: string
  /** A directory the driver may keep state in. */
  readonly stateDirectory: string
}

/** A definition of whatever settings, as lists of definitions have it. */
export type AnyVolumeDriverDefinition = VolumeDriverDefinition<object>

export function defineVolumeDriver<Settings>(
  definition: VolumeDriverDefinition<Settings>,
): VolumeDriverDefinition<Settings> {
  return definition
}
