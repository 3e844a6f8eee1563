import type { BlockDevice } from '@emberglass/iscsi/device'
import type { Call } from '../kernel/call.ts'
import type { Locks } from '../kernel/locks/locks.ts'
import type {
  BackendVolume,
  Capabilities,
  Clones,
  Connection,
  Connector,
  Created,
  Groups,
  ImageClones,
  Manage,
  ManageSnapshots,
  Migration,
  Moments,
  NewVolume,
  Pool,
  Retype,
  Snapshots,
  VolumeDriver,
} from './volume-driver.ts'

/** A driver of which at most one call per volume runs at a time. */
export class LockedVolumeDriver implements VolumeDriver {
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
  readonly #driver: VolumeDriver
  readonly #locks: Locks

  constructor(driver: VolumeDriver, locks: Locks) {
    this.#driver = driver
    this.#locks = locks
    const { snapshots, clones, retype, manage, manageSnapshots, migration, imageClones, groups } = driver
    if (snapshots !== undefined) this.snapshots = this.#lockedSnapshots(snapshots)
    if (clones !== undefined) {
      this.clones = {
        create: (source, volume, call) =>
          this.#locked([source.id, volume.id], call, () => clones.create(source, volume, call)),
      }
    }
    if (retype !== undefined) {
      this.retype = {
        change: (volume, request, call) =>
          this.#locked([volume.id], call, () => retype.change(volume, request, call)),
      }
    }
    if (manage !== undefined) this.manage = this.#lockedManage(manage)
    if (manageSnapshots !== undefined) this.manageSnapshots = this.#lockedManageSnapshots(manageSnapshots)
    if (migration !== undefined) {
      this.migration = {
        adopt: (volume, copy, call) =>
          this.#locked([volume.id, copy.id], call, () => migration.adopt(volume, copy, call)),
      }
    }
    if (imageClones !== undefined) {
      this.imageClones = {
        // whoever is first may have a copy of the image made; the others use it
        create: (image, volume, call) =>
          this.#locks.withLock(`image:${image.id}`, call.signal, () =>
            this.#locked([volume.id], call, () => imageClones.create(image, volume, call)),
          ),
      }
    }
    if (groups !== undefined) {
      this.groups = {
        snapshot: (snapshots, call) => {
          const volumeIds = snapshots.map(({ volume }) => volume.id)
          return this.#locked(volumeIds, call, () => groups.snapshot(snapshots, call))
        },
      }
    }
    if (driver.capabilities !== undefined) this.capabilities = driver.capabilities
    if (driver.moments !== undefined) this.moments = this.#lockedMoments(driver.moments)
  }

  start(call: Call): Promise<void> {
    return this.#driver.start(call)
  }

  pools(call: Call): Promise<readonly Pool[]> {
    return this.#driver.pools(call)
  }

  create(volume: NewVolume, call: Call): Promise<Created> {
    return this.#locked([volume.id], call, () => this.#driver.create(volume, call))
  }

  delete(volume: BackendVolume, call: Call): Promise<void> {
    return this.#locked([volume.id], call, () => this.#driver.delete(volume, call))
  }

  extend(volume: BackendVolume, sizeBytes: number, call: Call): Promise<void> {
    return this.#locked([volume.id], call, () => this.#driver.extend(volume, sizeBytes, call))
  }

  attach(volume: BackendVolume, to: Connector, call: Call): Promise<Connection> {
    return this.#locked([volume.id], call, () => this.#driver.attach(volume, to, call))
  }

  detach(volume: BackendVolume, from: Connector | 'everyone', call: Call): Promise<void> {
    return this.#locked([volume.id], call, () => this.#driver.detach(volume, from, call))
  }

  open(volume: BackendVolume, mode: 'r' | 'rw', call: Call): Promise<BlockDevice> {
    return this.#locked([volume.id], call, () => this.#driver.open(volume, mode, call))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#driver[Symbol.asyncDispose]()
  }

  #lockedSnapshots(snapshots: Snapshots): Snapshots {
    const revert = snapshots.revert?.bind(snapshots)
    return {
      create: (snapshot, call) =>
        this.#locked([snapshot.volume.id], call, () => snapshots.create(snapshot, call)),
      delete: (snapshot, call) =>
        this.#locked([snapshot.volume.id], call, () => snapshots.delete(snapshot, call)),
      createVolume: (snapshot, volume, call) =>
        this.#locked([snapshot.volume.id, volume.id], call, () =>
          snapshots.createVolume(snapshot, volume, call),
        ),
      ...(revert === undefined
        ? {}
        : {
            revert: (snapshot, call) =>
              this.#locked([snapshot.volume.id], call, () => revert(snapshot, call)),
          }),
    }
  }

  #lockedMoments(moments: Moments): Moments {
    return {
      create: (volume, id, call) => this.#locked([volume.id], call, () => moments.create(volume, id, call)),
      open: (volume, id, call) => this.#locked([volume.id], call, () => moments.open(volume, id, call)),
      // moments do not change, and looking at two of a large volume takes a while
      changed: (volume, between, call) => moments.changed(volume, between, call),
      remove: (volume, id, call) => this.#locked([volume.id], call, () => moments.remove(volume, id, call)),
      keepOnly: (volume, id, call) =>
        this.#locked([volume.id], call, () => moments.keepOnly(volume, id, call)),
    }
  }

  #lockedManage(manage: Manage): Manage {
    return {
      list: (known, call) => manage.list(known, call),
      sizeBytes: (volume, reference, call) => manage.sizeBytes(volume, reference, call),
      // two who manage the same at once would both find it free
      manage: (volume, reference, known, call) =>
        this.#locks.withLock('manage', call.signal, () =>
          this.#locked([volume.id], call, () => manage.manage(volume, reference, known, call)),
        ),
      unmanage: (volume, call) => this.#locked([volume.id], call, () => manage.unmanage(volume, call)),
    }
  }

  #lockedManageSnapshots(manage: ManageSnapshots): ManageSnapshots {
    return {
      list: (known, call) => manage.list(known, call),
      sizeBytes: (volume, reference, call) => manage.sizeBytes(volume, reference, call),
      manage: (snapshot, reference, known, call) =>
        this.#locked([snapshot.volume.id], call, () => manage.manage(snapshot, reference, known, call)),
      unmanage: (snapshot, call) =>
        this.#locked([snapshot.volume.id], call, () => manage.unmanage(snapshot, call)),
    }
  }

  /** Several locks are always taken in the same order, so that no two calls wait for each other. */
  #locked<Result>(volumeIds: readonly string[], call: Call, work: () => Promise<Result>): Promise<Result> {
    const [first, ...rest] = [...new Set(volumeIds)].sort()
    if (first === undefined) return work()
    return this.#locks.withLock(`volume:${first}`, call.signal, () => this.#locked(rest, call, work))
  }
}
