import type { BlockDevice } from '@emberglass/iscsi/device'
import type { Call } from '../kernel/call.ts'
import type { OptionSet } from '../kernel/config/options.ts'
import type { ImageFacts } from './image-service.ts'

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
  /** What the user calls it, for people who look at the backend. */
  readonly displayName?: string | undefined
  readonly bootable?: boolean | undefined
  readonly availabilityZone?: string | undefined
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
  /**
   * As `get_pools` reports them, without the capacities: `vendor_name`, `storage_protocol`, `QoS_support`…, and
   * `filter_function` and `goodness_function` where the driver has its own defaults for them.
   */
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
  /**
   * Already gone: fine. Detaches everybody first. The service has deleted the snapshots that it knows: what others
   * have taken on the backend goes with the volume, or is a reason to refuse.
   * @throws Conflict when snapshots depend on it
   */
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
  readonly retype?: Retype
  readonly manage?: Manage
  readonly manageSnapshots?: ManageSnapshots
  readonly migration?: Migration
  readonly imageClones?: ImageClones
  readonly groups?: Groups
  readonly capabilities?: Capabilities
  readonly moments?: Moments
}

/**
 * Frozen states of a volume that backups are read from, and what was written between two of them. They are known by
 * the ids of backups, are no snapshots to the users, and go with the volume.
 */
export interface Moments {
  /** Keeps the volume's bytes as they are now, also while hosts write. Same id again: same moment. */
  create(volume: BackendVolume, id: string, call: Call): Promise<void>
  /** The bytes of a moment, for reading. Whoever opens it closes it. @throws NotFound */
  open(volume: BackendVolume, id: string, call: Call): Promise<BlockDevice>
  /**
   * All that may differ between two moments, in order and never overlapping.
   * @returns undefined when nobody can tell, as when the earlier moment is gone
   */
  changed(
    volume: BackendVolume,
    between: { readonly since: string; readonly until: string },
    call: Call,
  ): Promise<readonly { readonly offset: number; readonly length: number }[] | undefined>
  /** Already gone, or its volume is: fine. */
  remove(volume: BackendVolume, id: string, call: Call): Promise<void>
  /** Removes every other moment of the volume. */
  keepOnly(volume: BackendVolume, id: string, call: Call): Promise<void>
}

export interface Snapshots {
  /** Same id again: same snapshot. */
  create(snapshot: Omit<BackendSnapshot, 'providerLocation'>, call: Call): Promise<Created>
  /** Already gone: fine. Volumes made from it live on. */
  delete(snapshot: BackendSnapshot, call: Call): Promise<void>
  /** A new volume with the snapshot's bytes; may be larger: the rest reads as zeroes. */
  createVolume(snapshot: BackendSnapshot, volume: NewVolume, call: Call): Promise<Created>
  /**
   * Makes the volume's bytes the snapshot's, in place; the snapshot stays. The service has checked that nobody is
   * attached, that it is the newest snapshot and that the sizes are equal. Absent: the service copies.
   */
  revert?(snapshot: BackendSnapshot, call: Call): Promise<void>
}

export interface Clones {
  /** A new volume with the source's bytes as they are now; may be larger; outlives its source. */
  create(source: BackendVolume, volume: NewVolume, call: Call): Promise<Created>
}

export interface Retype {
  /**
   * Gives a volume another type where it lies, attached or not. Decides before it changes anything, and puts back
   * what it changed when it fails. Same type again: fine.
   * @returns what forces a migration instead, as a sentence; undefined when the volume is of the new type now
   */
  change(volume: BackendVolume, request: RetypeRequest, call: Call): Promise<string | undefined>
}

export interface RetypeRequest {
  readonly newType: VolumeTypeFacts
  /** What differs between the types, scope included: `DF:replica_count`. */
  readonly differences: TypeDifferences
  /** Whether hosts use it: what would interrupt them is then a reason to migrate. */
  readonly attached: boolean
}

/** Old and new value by key; undefined where a type does not have the key. */
export interface TypeDifferences {
  readonly extraSpecs: Readonly<Record<string, readonly [string | undefined, string | undefined]>>
  readonly qosSpecs: Readonly<Record<string, readonly [string | undefined, string | undefined]>>
}

/** How somebody who manages a volume or snapshot names what lies on the backend: `source-name`, `source-id`. */
export type ManageReference = Readonly<Record<string, string>>

/** What lies on a backend and might be managed. */
export interface Manageable {
  readonly reference: ManageReference
  readonly sizeBytes: number
  readonly safeToManage: boolean
  readonly reasonNotSafe: string | undefined
  /** Id of the volume or snapshot that it is here, or was before it was unmanaged (`cinder_id`). */
  readonly managedAs: string | undefined
  readonly extraInfo: Readonly<Record<string, unknown>> | undefined
}

/** A snapshot that might be managed. */
export interface ManageableSnapshot extends Manageable {
  /** The volume it is of. */
  readonly sourceReference: ManageReference
}

/** What the service knows of a backend already: whatever else is there may be managed. */
export interface Known {
  readonly volumes: readonly Pick<BackendVolume, 'id' | 'projectId' | 'providerLocation'>[]
  readonly snapshots: readonly Pick<BackendSnapshot, 'id' | 'providerLocation'>[]
}

export interface Manage {
  /** Everything on the backend, ours included, in any order: the service sorts and pages. */
  list(known: Known, call: Call): Promise<readonly Manageable[]>
  /** @param volume which it shall be; its size is not known yet @throws Invalid when it does not name one volume */
  sizeBytes(volume: NewVolume, reference: ManageReference, call: Call): Promise<number>
  /**
   * Makes what the reference names the volume's, its bytes untouched. Same id again: fine.
   * @throws Invalid when the reference does not name one volume; Conflict when it is managed already
   */
  manage(volume: NewVolume, reference: ManageReference, known: Known, call: Call): Promise<Created>
  /** Forgets a volume, its bytes and its snapshots untouched; it can be managed again. Already gone: fine. */
  unmanage(volume: BackendVolume, call: Call): Promise<void>
}

/** The same for snapshots of a volume that is managed. */
export interface ManageSnapshots {
  list(known: Known, call: Call): Promise<readonly ManageableSnapshot[]>
  sizeBytes(volume: BackendVolume, reference: ManageReference, call: Call): Promise<number>
  manage(
    snapshot: Omit<BackendSnapshot, 'providerLocation'>,
    reference: ManageReference,
    known: Known,
    call: Call,
  ): Promise<Created>
  unmanage(snapshot: BackendSnapshot, call: Call): Promise<void>
}

export interface Migration {
  /**
   * After a migration by copying: the volume keeps its id, its bytes are in what was made here as `copy`. From now on
   * that is the volume, and names follow. When the old bytes lie on the same backend (or the same array), they are
   * from now on those of `copy`, and the service deletes them as such. Repeats safely.
   * Without this feature the service goes on calling the volume by the copy's id.
   * @param volume as it was before, on whatever backend that was
   */
  adopt(volume: BackendVolume, copy: BackendVolume, call: Call): Promise<Adopted>
}

export interface Adopted {
  /** What to remember of the volume. */
  readonly volume: Created
  /** What to remember of the old bytes, known by the copy's id now; undefined when they do not lie here. */
  readonly old: Created | undefined
}

/** An image of which a volume is to be made. */
export interface CloneableImage extends ImageFacts {
  /** Projects that were let in and have accepted; empty when the requester may not list them. */
  readonly acceptedBy: readonly string[]
  /**
   * Its disk as blocks, whatever its format, inspected for safety: for a driver that keeps copies of images. Whoever
   * opens it closes it.
   */
  open(call: Call): Promise<BlockDevice>
}

/** Public and community images are everybody's; others their owner's, and of those who were let in and accepted. */
export function isImageOpenTo(
  image: Pick<CloneableImage, 'visibility' | 'ownerProjectId' | 'acceptedBy'>,
  projectId: string,
): boolean {
  if (image.visibility === 'public' || image.visibility === 'community') return true
  return image.ownerProjectId === projectId || image.acceptedBy.includes(projectId)
}

export interface ImageClones {
  /**
   * A volume made of an image without its bytes passing through the service: the image lies on the same array, or
   * the driver keeps a copy there. The result has the size asked for. Same id again: same volume.
   * @returns undefined when that cannot be done here; nothing is left then, and the service copies
   */
  create(image: CloneableImage, volume: NewVolume, call: Call): Promise<Created | undefined>
}

export interface Groups {
  /** Snapshots of several volumes, all of one moment; in the order of what was asked for. All or none. */
  snapshot(
    snapshots: readonly Omit<BackendSnapshot, 'providerLocation'>[],
    call: Call,
  ): Promise<readonly Created[]>
}

export interface Capabilities {
  /** The settings that volume types may have on this backend, by key: `DF:replica_count`. */
  properties(call: Call): Promise<Readonly<Record<string, CapabilityProperty>>>
}

/** One entry of `properties` in the answer of `/capabilities/{host}`. */
export interface CapabilityProperty {
  readonly title: string
  readonly description: string
  readonly type: 'string' | 'integer' | 'number' | 'boolean'
  readonly minimum?: number
  readonly maximum?: number
  readonly enum?: readonly string[]
  readonly default?: string | number | boolean
}

/** What differs between two types; no type counts as one without specs. */
export function typeDifferences(
  from: VolumeTypeFacts | undefined,
  to: VolumeTypeFacts | undefined,
): TypeDifferences {
  return {
    extraSpecs: mapDifferences(from?.extraSpecs ?? {}, to?.extraSpecs ?? {}),
    qosSpecs: mapDifferences(from?.qosSpecs ?? {}, to?.qosSpecs ?? {}),
  }
}

function mapDifferences(
  from: Readonly<Record<string, string>>,
  to: Readonly<Record<string, string>>,
): TypeDifferences['extraSpecs'] {
  const keys = [...new Set([...Object.keys(from), ...Object.keys(to)])].sort()
  const pairs = keys.map((key) => [key, [from[key], to[key]] as const] as const)
  return Object.fromEntries(pairs.filter(([, [before, after]]) => before !== after))
}

/** A driver's default export: its name, the names `volume_driver =` may have, its options, its factory. */
export interface VolumeDriverDefinition<Settings> {
  readonly name: string
  /** What existing `cinder.conf` files write: `cinder.volume.drivers.datera.datera_iscsi.DateraDriver`. */
  readonly aliases: readonly string[]
  /** Read from the backend's own section. */
  readonly options: OptionSet<Settings>
  /** A promise where the driver is loaded only when it is configured. */
  create(settings: Settings, backend: VolumeBackend): VolumeDriver | Promise<VolumeDriver>
}

/** Where a driver stands. */
export interface VolumeBackend {
  /** The section's name in `cinder.conf`, one of `enabled_backends`. */
  readonly name: string
  /** `volume_backend_name`, or the section's name. */
  readonly volumeBackendName: string
  /** `host@backend`, as services are named. */
  readonly host?: string
  /** Our own initiator name, for `open`. */
  readonly initiatorName: string
  /** A directory the driver may keep state in. */
  readonly stateDirectory: string
  /** A volume type that an option of the driver names. @returns undefined when there is none of that id */
  volumeType?(id: string): Promise<VolumeTypeFacts | undefined>
}

/** A definition of whatever settings, as lists of definitions have it. */
export type AnyVolumeDriverDefinition = VolumeDriverDefinition<object>

export function defineVolumeDriver<Settings>(
  definition: VolumeDriverDefinition<Settings>,
): VolumeDriverDefinition<Settings> {
  return definition
}
