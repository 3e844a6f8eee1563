import type { BlockDevice } from '@emberglass/iscsi'
import type { Call } from '../kernel/call.ts'
import type { Locks } from '../kernel/locks/locks.ts'
import type {
  BackendVolume,
  Clones,
  Connection,
  Connector,
  Created,
  NewVolume,
  Pool,
  Snapshots,
  VolumeDriver,
} from './volume-driver.ts'

/** A driver of which at most one call per volume runs at a time. */
export class LockedVolumeDriver implements VolumeDriver {
  readonly snapshots?: Snapshots
  readonly clones?: Clones
  readonly #driver: VolumeDriver
  readonly #locks: Locks

  constructor(driver: VolumeDriver, locks: Locks) {
    this.#driver = driver
    this.#locks = locks
    const { snapshots, clones } = driver
    if (snapshots !== undefined) {
      this.snapshots = {
        create: (snapshot, call) =>
          this.#locked([snapshot.volume.id], call, () => snapshots.create(snapshot, call)),
        delete: (snapshot, call) =>
          this.#locked([snapshot.volume.id], call, () => snapshots.delete(snapshot, call)),
        createVolume: (snapshot, volume, call) =>
          this.#locked([snapshot.volume.id, volume.id], call, () =>
            snapshots.createVolume(snapshot, volume, call),
          ),
      }
    }
    if (clones !== undefined) {
      this.clones = {
        create: (source, volume, call) =>
          this.#locked([source.id, volume.id], call, () => clones.create(source, volume, call)),
      }
    }
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

  /** Several locks are always taken in the same order, so that no two calls wait for each other. */
  #locked<Result>(volumeIds: readonly string[], call: Call, work: () => Promise<Result>): Promise<Result> {
    const [first, ...rest] = [...new Set(volumeIds)].sort()
    if (first === undefined) return work()
    return this.#locks.withLock(`volume:${first}`, call.signal, () => this.#locked(rest, call, work))
  }
}
