import { randomUUID } from 'node:crypto'
import type { BlockDevice } from '@emberglass/iscsi/device'
import { GiB } from '../../kernel/bytes.ts'
import type { Call } from '../../kernel/call.ts'
import { integer } from '../../kernel/config/options.ts'
import { Conflict, Invalid, NoCapacity, NotFound } from '../../kernel/errors.ts'
import {
  type BackendSnapshot,
  type BackendVolume,
  type CloneableImage,
  type Clones,
  type Connection,
  type Connector,
  type Created,
  defineVolumeDriver,
  type Groups,
  type ImageClones,
  isImageOpenTo,
  type Known,
  type Manage,
  type ManageReference,
  type ManageSnapshots,
  type Migration,
  type Moments,
  type NewVolume,
  type Pool,
  type Retype,
  type Snapshots,
  type VolumeDriver,
} from '../volume-driver.ts'
import { Contents, MemoryVolumeDevice, type SizedContents } from './memory-device.ts'

const schema = 'memory:'
const locationOf = ({ key }: { readonly key: string }): Created => ({ providerLocation: `${schema}${key}` })

interface StoredSnapshot {
  /** What stays when it is known by another id. */
  readonly key: string
  readonly sizeBytes: number
  readonly contents: Contents
}

interface StoredVolume {
  /** What stays when it is known by another id. */
  readonly key: string
  sizeBytes: number
  contents: Contents
  /** By the id under which they are known, or `unmanaged-` and their key. */
  readonly snapshots: Map<string, StoredSnapshot>
  readonly moments: Map<string, SizedContents>
  /** Keys of the connectors that were let in. */
  readonly connectors: Set<string>
}

/** Volumes in the memory of this process: for tests and for a look round. Nothing survives the process. */
export class MemoryVolumeDriver implements VolumeDriver {
  readonly #poolName: string
  readonly #capacityBytes: number
  /** By the id under which they are known, or `unmanaged-` and their key. */
  readonly #volumes = new Map<string, StoredVolume>()

  constructor(options: { poolName: string; capacityBytes: number }) {
    this.#poolName = options.poolName
    this.#capacityBytes = options.capacityBytes
  }

  /** Ids of every volume and snapshot that is kept. For tests. */
  get ids(): readonly string[] {
    return [...this.#volumes].flatMap(([id, volume]) => [id, ...volume.snapshots.keys()])
  }

  async start(call: Call): Promise<void> {
    call.signal.throwIfAborted()
  }

  async pools(call: Call): Promise<readonly Pool[]> {
    call.signal.throwIfAborted()
    return [
      {
        name: this.#poolName,
        totalBytes: this.#capacityBytes,
        freeBytes: this.#capacityBytes - this.#usedBytes(),
        capabilities: {
          vendor_name: 'Emberglass',
          driver_version: '1.0',
          storage_protocol: 'memory',
          thin_provisioning_support: false,
          thick_provisioning_support: true,
          QoS_support: false,
          multiattach: true,
          online_extend_support: true,
          sparse_copy_volume: true,
          consistent_group_snapshot_enabled: true,
        },
      },
    ]
  }

  async create(volume: NewVolume, call: Call): Promise<Created> {
    return this.#add(volume, new Contents(), call)
  }

  async delete(volume: BackendVolume, call: Call): Promise<void> {
    call.signal.throwIfAborted()
    const stored = this.#volumes.get(volume.id)
    if (stored !== undefined && stored.snapshots.size > 0) {
      throw new Conflict(`Volume ${volume.id} still has ${stored.snapshots.size} snapshots.`)
    }
    this.#volumes.delete(volume.id)
  }

  async extend(volume: BackendVolume, sizeBytes: number, call: Call): Promise<void> {
    call.signal.throwIfAborted()
    const stored = this.#find(volume)
    if (sizeBytes <= stored.sizeBytes) return
    this.#checkCapacity(sizeBytes - stored.sizeBytes)
    stored.sizeBytes = sizeBytes
  }

  async attach(volume: BackendVolume, to: Connector, call: Call): Promise<Connection> {
    call.signal.throwIfAborted()
    const stored = this.#find(volume)
    const key = connectorKey(to)
    stored.connectors.add(key)
    return { driverVolumeType: 'memory', data: { volume_id: volume.id, connector: key } }
  }

  async detach(volume: BackendVolume, from: Connector | 'everyone', call: Call): Promise<void> {
    call.signal.throwIfAborted()
    const stored = this.#volumes.get(volume.id)
    if (from === 'everyone') stored?.connectors.clear()
    else stored?.connectors.delete(connectorKey(from))
  }

  async open(volume: BackendVolume, mode: 'r' | 'rw', call: Call): Promise<BlockDevice> {
    call.signal.throwIfAborted()
    return new MemoryVolumeDevice(this.#find(volume), mode === 'rw')
  }

  /** Whether a connector was let in and not yet shut out. For tests. */
  isAttached(volumeId: string, connector: Connector): boolean {
    return this.#volumes.get(volumeId)?.connectors.has(connectorKey(connector)) ?? false
  }

  readonly snapshots: Snapshots = {
    create: async (snapshot, call) => {
      call.signal.throwIfAborted()
      const stored = this.#find(snapshot.volume)
      return this.#take(stored, snapshot.id)
    },
    delete: async (snapshot, call) => {
      call.signal.throwIfAborted()
      this.#volumes.get(snapshot.volume.id)?.snapshots.delete(snapshot.id)
    },
    createVolume: async (snapshot: BackendSnapshot, volume, call) => {
      return this.#add(volume, this.#findSnapshot(snapshot).contents.copy(), call)
    },
    revert: async (snapshot, call) => {
      call.signal.throwIfAborted()
      this.#find(snapshot.volume).contents = this.#findSnapshot(snapshot).contents.copy()
    },
  }

  readonly clones: Clones = {
    create: async (source, volume, call) => this.#add(volume, this.#find(source).contents.copy(), call),
  }

  readonly moments: Moments = {
    create: async (volume, id, call) => {
      call.signal.throwIfAborted()
      const { sizeBytes, contents, moments } = this.#find(volume)
      if (!moments.has(id)) moments.set(id, { sizeBytes, contents: contents.copy() })
    },
    open: async (volume, id, call) => {
      call.signal.throwIfAborted()
      const moment = this.#find(volume).moments.get(id)
      if (moment === undefined) throw new NotFound(`There is no moment ${id} of volume ${volume.id}.`)
      return new MemoryVolumeDevice(moment, false)
    },
    changed: async (volume, { since, until }, call) => {
      call.signal.throwIfAborted()
      const { moments } = this.#find(volume)
      const [before, after] = [moments.get(since), moments.get(until)]
      return before && after?.contents.changedSince(before.contents)
    },
    remove: async (volume, id, call) => {
      call.signal.throwIfAborted()
      this.#volumes.get(volume.id)?.moments.delete(id)
    },
    keepOnly: async (volume, id, call) => {
      call.signal.throwIfAborted()
      const { moments } = this.#find(volume)
      for (const other of [...moments.keys()]) if (other !== id) moments.delete(other)
    },
  }

  readonly groups: Groups = {
    snapshot: async (snapshots, call) => {
      call.signal.throwIfAborted()
      const volumes = snapshots.map(({ volume }) => this.#find(volume))
      return volumes.map((stored, i) => this.#take(stored, snapshots[i]?.id ?? ''))
    },
  }

  /** Types mean nothing here: every volume is of every type. */
  readonly retype: Retype = {
    change: async (volume, _request, call) => {
      call.signal.throwIfAborted()
      this.#find(volume)
      return undefined
    },
  }

  readonly manage: Manage = {
    list: async (known: Known, call) => {
      call.signal.throwIfAborted()
      const ids = new Set(known.volumes.map(({ id }) => id))
      return [...this.#volumes].map(([id, { key, sizeBytes, connectors }]) => ({
        reference: { 'source-name': key },
        sizeBytes,
        ...safety(ids.has(id) ? id : undefined, connectors.size > 0),
        extraInfo: undefined,
      }))
    },
    sizeBytes: async (_volume, reference, call) => {
      call.signal.throwIfAborted()
      return this.#named(reference)[1].sizeBytes
    },
    manage: async (volume, reference, known, call) => {
      call.signal.throwIfAborted()
      const [id, stored] = this.#named(reference)
      if (id !== volume.id) {
        if (known.volumes.some((each) => each.id === id)) {
          throw new Conflict(`It is managed already, as volume ${id}.`)
        }
        rename(this.#volumes, id, volume.id)
      }
      return locationOf(stored)
    },
    unmanage: async (volume, call) => {
      call.signal.throwIfAborted()
      const stored = this.#volumes.get(volume.id)
      if (stored !== undefined) rename(this.#volumes, volume.id, `${unmanaged}${stored.key}`)
    },
  }

  readonly manageSnapshots: ManageSnapshots = {
    list: async (known: Known, call) => {
      call.signal.throwIfAborted()
      const ids = new Set(known.snapshots.map(({ id }) => id))
      return [...this.#volumes.values()].flatMap((stored) =>
        [...stored.snapshots].map(([id, { key, sizeBytes }]) => ({
          reference: { 'source-name': key },
          sourceReference: { 'source-name': stored.key },
          sizeBytes,
          ...safety(ids.has(id) ? id : undefined, false),
          extraInfo: undefined,
        })),
      )
    },
    sizeBytes: async (volume, reference, call) => {
      call.signal.throwIfAborted()
      return byReference(this.#find(volume).snapshots, reference)[1].sizeBytes
    },
    manage: async (snapshot, reference, known, call) => {
      call.signal.throwIfAborted()
      const { snapshots } = this.#find(snapshot.volume)
      const [id, stored] = byReference(snapshots, reference)
      if (id !== snapshot.id) {
        if (known.snapshots.some((each) => each.id === id)) {
          throw new Conflict(`It is managed already, as snapshot ${id}.`)
        }
        rename(snapshots, id, snapshot.id)
      }
      return locationOf(stored)
    },
    unmanage: async (snapshot, call) => {
      call.signal.throwIfAborted()
      const snapshots = this.#volumes.get(snapshot.volume.id)?.snapshots
      const stored = snapshots?.get(snapshot.id)
      if (stored !== undefined) rename(snapshots, snapshot.id, `${unmanaged}${stored.key}`)
    },
  }

  readonly migration: Migration = {
    adopt: async (volume, copy, call) => {
      call.signal.throwIfAborted()
      const [before, made] = [this.#volumes.get(volume.id), this.#volumes.get(copy.id)]
      const isAdopted = before !== undefined && locationOf(before).providerLocation === copy.providerLocation
      if (!isAdopted) {
        if (made === undefined) throw new NotFound(`Volume ${copy.id} is not on this backend.`)
        this.#volumes.set(volume.id, made)
        if (before === undefined) this.#volumes.delete(copy.id)
        else this.#volumes.set(copy.id, before)
      }
      const old = this.#volumes.get(copy.id)
      return { volume: locationOf(this.#find(volume)), old: old && locationOf(old) }
    },
  }

  /** An image whose location is a volume of this driver. */
  readonly imageClones: ImageClones = {
    create: async (image: CloneableImage, volume, call) => {
      if (!isImageOpenTo(image, volume.projectId)) return undefined
      const source = [...this.#volumes.values()].find((stored) =>
        image.locations.includes(`${schema}${stored.key}`),
      )
      return source && this.#add(volume, source.contents.copy(), call)
    },
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #take(stored: StoredVolume, snapshotId: string): Created {
    const { sizeBytes, contents, snapshots } = stored
    const taken = snapshots.get(snapshotId) ?? { key: randomUUID(), sizeBytes, contents: contents.copy() }
    snapshots.set(snapshotId, taken)
    return locationOf(taken)
  }

  #findSnapshot(snapshot: BackendSnapshot): StoredSnapshot {
    const taken = this.#find(snapshot.volume).snapshots.get(snapshot.id)
    if (taken === undefined) throw new NotFound(`Snapshot ${snapshot.id} is not on this backend.`)
    return taken
  }

  #named(reference: ManageReference): readonly [string, StoredVolume] {
    return byReference(this.#volumes, reference)
  }

  #add(volume: NewVolume, contents: Contents, call: Call): Created {
    call.signal.throwIfAborted()
    const earlier = this.#volumes.get(volume.id)
    if (earlier !== undefined) return locationOf(earlier)
    const { sizeBytes } = volume
    this.#checkCapacity(sizeBytes)
    const stored = {
      key: randomUUID(),
      sizeBytes,
      contents,
      snapshots: new Map(),
      moments: new Map(),
      connectors: new Set<string>(),
    }
    this.#volumes.set(volume.id, stored)
    return locationOf(stored)
  }

  #find(volume: { readonly id: string }): StoredVolume {
    const stored = this.#volumes.get(volume.id)
    if (stored === undefined) throw new NotFound(`Volume ${volume.id} is not on this backend.`)
    return stored
  }

  #usedBytes(): number {
    let used = 0
    for (const volume of this.#volumes.values()) used += volume.sizeBytes
    return used
  }

  #checkCapacity(moreBytes: number): void {
    const freeBytes = this.#capacityBytes - this.#usedBytes()
    if (moreBytes > freeBytes) {
      throw new NoCapacity(`The pool has ${freeBytes} bytes free, ${moreBytes} are needed.`, {
        details: { freeBytes, moreBytes },
      })
    }
  }
}

function connectorKey(connector: Connector): string {
  const key = connector.initiator ?? connector.host
  if (key === undefined) throw new Invalid('The connector names neither an initiator nor a host.')
  return key
}

const unmanaged = 'unmanaged-'

/** Moves an entry to another name. */
function rename<Stored>(map: Map<string, Stored> | undefined, from: string, to: string): void {
  const stored = map?.get(from)
  if (map === undefined || stored === undefined) return
  map.delete(from)
  map.set(to, stored)
}

function byReference<Stored extends { readonly key: string }>(
  map: ReadonlyMap<string, Stored>,
  reference: ManageReference,
): readonly [string, Stored] {
  const found = [...map].find(([, { key }]) => key === reference['source-name'])
  if (found === undefined) {
    throw new Invalid(
      `Nothing here is called ${reference['source-name'] ?? 'that (source-name is missing)'}.`,
    )
  }
  return found
}

function safety(managedAs: string | undefined, inUse: boolean) {
  const reasonNotSafe = managedAs !== undefined ? 'already managed' : inUse ? 'in use' : undefined
  return { safeToManage: reasonNotSafe === undefined, reasonNotSafe, managedAs }
}

export default defineVolumeDriver({
  name: 'memory',
  aliases: ['cinder.tests.fake_driver.FakeLoggingVolumeDriver'],
  options: {
    capacityGib: integer('memory_capacity_gb', {
      help: 'GiB that the pool claims to have. Only what is written takes memory.',
      default: 10_000,
      min: 1,
    }),
  },
  create: (settings, backend) =>
    new MemoryVolumeDriver({
      poolName: backend.volumeBackendName,
      capacityBytes: settings.capacityGib * GiB,
    }),
})
