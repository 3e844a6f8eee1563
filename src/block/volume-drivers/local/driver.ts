import { join } from 'node:path'
import { EntryNotFoundError, ThinStore } from '@emberglass/edf/store'
import type { BlockDevice } from '@emberglass/iscsi/device'
import { GiB } from '../../../kernel/bytes.ts'
import type { Call } from '../../../kernel/call.ts'
import { Conflict, Invalid, Misconfigured, messageOf, NotFound } from '../../../kernel/errors.ts'
import type {
  BackendSnapshot,
  BackendVolume,
  Clones,
  Connection,
  Connector,
  Created,
  Groups,
  Manage,
  ManageSnapshots,
  Migration,
  NewVolume,
  Pool,
  Retype,
  Snapshots,
  VolumeBackend,
  VolumeDriver,
} from '../../volume-driver.ts'
import { AccessRecords } from './access-records.ts'
import { kernelError } from './errors.ts'
import { Exports } from './exports.ts'
import { claim, keyOf, listSnapshots, listVolumes, requireEntry } from './manage.ts'
import type { LocalSettings } from './options.ts'
import { ReadOnlyDevice } from './read-only-device.ts'

const driverVersion = '1.0.0'

/** What runs once the driver has started. */
interface Running {
  readonly store: ThinStore
  readonly exports: Exports
}

/**
 * Volumes in a directory of this machine, and an iSCSI target in this process: for one machine, without an array.
 * What is remembered of a volume or snapshot is its name in the store, so that nothing is ever renamed.
 */
export class LocalVolumeDriver implements VolumeDriver {
  readonly #settings: LocalSettings
  readonly #backend: VolumeBackend
  /** Opened once for everybody who waits; again on the next use after it has failed. */
  #running: Promise<Running> | undefined

  constructor(settings: LocalSettings, backend: VolumeBackend) {
    this.#settings = settings
    this.#backend = backend
  }

  /** @throws Misconfigured when the directory or the address is taken */
  async start(call: Call): Promise<void> {
    await this.#run(call, async () => {})
  }

  async pools(call: Call): Promise<readonly Pool[]> {
    return await this.#run(call, async ({ store }) => {
      const { totalBytes, freeBytes } = store.usage()
      return [
        {
          name: this.#backend.volumeBackendName,
          totalBytes,
          freeBytes: Math.max(0, Math.min(freeBytes, totalBytes)),
          capabilities: {
            vendor_name: 'Emberglass',
            driver_version: driverVersion,
            storage_protocol: 'iSCSI',
            thin_provisioning_support: true,
            thick_provisioning_support: false,
            QoS_support: false,
            multiattach: true,
            online_extend_support: true,
            sparse_copy_volume: true,
            shared_targets: false,
            replication_enabled: false,
            consistent_group_snapshot_enabled: true,
            location_info: `LocalVolumeDriver:${this.#backend.host ?? this.#backend.name}`,
          },
        },
      ]
    })
  }

  async create(volume: NewVolume, call: Call): Promise<Created> {
    return await this.#run(call, async ({ store }) => {
      if (!store.has(volume.id)) await store.create(volume.id, volume.sizeBytes)
      return { providerLocation: volume.id }
    })
  }

  async delete(volume: BackendVolume, call: Call): Promise<void> {
    await this.#run(call, async ({ store, exports }) => {
      const key = keyOf(volume)
      const snapshots = store.list().filter(({ kind, parent }) => kind === 'snapshot' && parent === key)
      if (snapshots.length > 0) {
        throw new Conflict(`Volume ${volume.id} still has ${snapshots.length} snapshots.`)
      }
      await exports.expel(key, 'everyone')
      await store.delete(key)
    })
  }

  async extend(volume: BackendVolume, sizeBytes: number, call: Call): Promise<void> {
    await this.#run(call, async ({ store, exports }) => {
      if (sizeOf(store, volume) >= sizeBytes) return
      await store.resize(keyOf(volume), sizeBytes)
      exports.grown(keyOf(volume), sizeBytes)
    })
  }

  async attach(volume: BackendVolume, to: Connector, call: Call): Promise<Connection> {
    return await this.#run(call, async ({ store, exports }) => {
      const { initiator } = to
      if (initiator === undefined || initiator === '') {
        throw new Invalid('The connector has no initiator name.', { details: { volumeId: volume.id } })
      }
      const key = keyOf(volume)
      const chap = await exports.admit(key, sizeOf(store, volume), initiator)
      const { portals } = exports
      const iqn = exports.targetName(key)
      return {
        driverVolumeType: 'iscsi',
        data: {
          target_discovered: false,
          target_iqn: iqn,
          target_portal: portals[0],
          target_lun: 0,
          target_iqns: portals.map(() => iqn),
          target_portals: portals,
          target_luns: portals.map(() => 0),
          volume_id: volume.id,
          discard: true,
          ...(chap === undefined
            ? {}
            : { auth_method: 'CHAP', auth_username: chap.username, auth_password: chap.password }),
        },
      }
    })
  }

  async detach(volume: BackendVolume, from: Connector | 'everyone', call: Call): Promise<void> {
    const who = from === 'everyone' ? from : from.initiator
    if (who === undefined) return
    await this.#run(call, ({ exports }) => exports.expel(keyOf(volume), who))
  }

  /** The store's own device: our data path needs no target. */
  async open(volume: BackendVolume, mode: 'r' | 'rw', call: Call): Promise<BlockDevice> {
    return await this.#run(call, async ({ store }) => {
      const device = await store.open(keyOf(volume))
      return mode === 'rw' ? device : new ReadOnlyDevice(device)
    })
  }

  readonly snapshots: Snapshots = {
    create: (snapshot, call) =>
      this.#run(call, async ({ store }) => {
        await takeSnapshot(store, snapshot)
        return { providerLocation: snapshot.id }
      }),
    delete: (snapshot, call) => this.#run(call, ({ store }) => store.delete(keyOf(snapshot))),
    createVolume: (snapshot: BackendSnapshot, volume, call) =>
      this.#run(call, ({ store }) => cloneInto(store, keyOf(snapshot), volume)),
    revert: (snapshot, call) =>
      this.#run(call, async ({ store, exports }) => {
        const key = keyOf(snapshot.volume)
        if (exports.isAttached(key)) {
          throw new Conflict(`Volume ${snapshot.volume.id} is attached: it cannot be reverted.`)
        }
        await store.revert(key, keyOf(snapshot))
      }),
  }

  readonly clones: Clones = {
    create: (source, volume, call) => this.#run(call, ({ store }) => cloneInto(store, keyOf(source), volume)),
  }

  /** Hosts wait while the snapshots are taken. */
  readonly groups: Groups = {
    snapshot: (snapshots, call) =>
      this.#run(call, async ({ store, exports }) => {
        const made: string[] = []
        const keys = snapshots.map(({ volume }) => keyOf(volume))
        try {
          await exports.still(keys, async () => {
            for (const snapshot of snapshots) {
              if (await takeSnapshot(store, snapshot)) made.push(snapshot.id)
            }
          })
        } catch (error) {
          for (const id of made) await store.delete(id)
          throw error
        }
        return snapshots.map(({ id }) => ({ providerLocation: id }))
      }),
  }

  /** Types say nothing about where or how a volume lies here: each is of every type. */
  readonly retype: Retype = {
    change: (volume, _request, call) =>
      this.#run(call, async ({ store }) => {
        sizeOf(store, volume)
        return undefined
      }),
  }

  readonly manage: Manage = {
    list: (known, call) =>
      this.#run(call, async ({ store, exports }) =>
        listVolumes(store, known, (key) => exports.isAttached(key)),
      ),
    sizeBytes: (_volume, reference, call) =>
      this.#run(call, async ({ store }) => requireEntry(store, 'volume', reference).sizeBytes),
    manage: (volume, reference, known, call) =>
      this.#run(call, async ({ store }) =>
        claim(requireEntry(store, 'volume', reference), volume.id, known.volumes),
      ),
    unmanage: (volume, call) => this.#run(call, ({ exports }) => exports.expel(keyOf(volume), 'everyone')),
  }

  readonly manageSnapshots: ManageSnapshots = {
    list: (known, call) => this.#run(call, async ({ store }) => listSnapshots(store, known)),
    sizeBytes: (_volume, reference, call) =>
      this.#run(call, async ({ store }) => requireEntry(store, 'snapshot', reference).sizeBytes),
    manage: (snapshot, reference, known, call) =>
      this.#run(call, async ({ store }) => {
        const entry = requireEntry(store, 'snapshot', reference)
        if (entry.parent !== keyOf(snapshot.volume)) {
          throw new Invalid(`Snapshot ${entry.id} is not one of volume ${snapshot.volume.id}.`)
        }
        return claim(entry, snapshot.id, known.snapshots)
      }),
    unmanage: async () => {}, // nothing in the store says that a snapshot is ours
  }

  readonly migration: Migration = {
    adopt: (volume, copy, call) =>
      this.#run(call, async ({ store }) => {
        sizeOf(store, copy)
        const isHere = keyOf(volume) !== keyOf(copy) && store.has(keyOf(volume))
        const old = isHere ? { providerLocation: keyOf(volume) } : undefined
        return { volume: { providerLocation: keyOf(copy) }, old }
      }),
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const running = await this.#running?.catch(() => undefined)
    this.#running = undefined
    await running?.exports[Symbol.asyncDispose]()
    await running?.store[Symbol.asyncDispose]()
  }

  async #open(): Promise<Running> {
    const { directory, capacityGib, address, secondaryAddresses, port, targetPrefix } = this.#settings
    const root = directory ?? join(this.#backend.stateDirectory, 'store')
    const store = await ThinStore.open({
      directory: root,
      ...(capacityGib === 0 ? {} : { capacityBytes: capacityGib * GiB }),
    })
    const records = new AccessRecords(join(root, 'access'))
    const exports = new Exports({ store, records, targetPrefix, chap: this.#chap() })
    try {
      await records.prepare()
      await exports.start([address, ...secondaryAddresses], port)
      return { store, exports }
    } catch (error) {
      await exports[Symbol.asyncDispose]()
      await store[Symbol.asyncDispose]()
      throw new Misconfigured(`target_ip_address, target_port: ${messageOf(error)}.`, { cause: error })
    }
  }

  #chap(): { username: string; password: string | undefined } | undefined {
    const { useChap, chapUsername, chapPassword } = this.#settings
    if (!useChap) return undefined
    const password = chapPassword?.reveal()
    if ((chapUsername === '') !== (password === undefined)) {
      throw new Misconfigured('chap_username and chap_password: set both, or neither.')
    }
    if (password !== undefined && (password.length < 12 || password.length > 16)) {
      throw new Misconfigured(`chap_password: expected 12 to 16 characters, not ${password.length}.`)
    }
    return { username: chapUsername, password }
  }

  async #run<Result>(call: Call, work: (running: Running) => Promise<Result>): Promise<Result> {
    call.signal.throwIfAborted()
    try {
      this.#running ??= this.#open().catch((error: unknown) => {
        this.#running = undefined
        throw error
      })
      return await work(await this.#running)
    } catch (error) {
      throw kernelError(error)
    }
  }
}

/** @returns bytes @throws NotFound */
function sizeOf(
  store: ThinStore,
  volume: { readonly id: string; readonly providerLocation: string | undefined },
) {
  const entry = store.list().find(({ id }) => id === keyOf(volume))
  if (entry === undefined) throw new NotFound(`Volume ${volume.id} is not in this store.`)
  return entry.sizeBytes
}

/** @returns whether it was not there before */
async function takeSnapshot(store: ThinStore, snapshot: Omit<BackendSnapshot, 'providerLocation'>) {
  if (store.has(snapshot.id)) return false
  await store.snapshot(keyOf(snapshot.volume), snapshot.id)
  return true
}

async function cloneInto(store: ThinStore, sourceKey: string, volume: NewVolume): Promise<Created> {
  if (!store.has(volume.id)) {
    if (!store.has(sourceKey)) throw new EntryNotFoundError(`${sourceKey} is not in this store`)
    await store.clone(sourceKey, volume.id, volume.sizeBytes)
  }
  return { providerLocation: volume.id }
}
