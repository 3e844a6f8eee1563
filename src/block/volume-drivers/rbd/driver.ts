import type { BlockDevice } from '@emberglass/iscsi/device'
import { CephCluster } from '../../../ceph/cluster.ts'
import { RbdDevice } from '../../../ceph/device.ts'
import { isErrno } from '../../../ceph/failure.ts'
import type { RbdImage } from '../../../ceph/image.ts'
import { readImageLocation } from '../../../ceph/image-location.ts'
import type { RbdPool } from '../../../ceph/pool.ts'
import { GiB } from '../../../kernel/bytes.ts'
import type { Call } from '../../../kernel/call.ts'
import { BackendError, Conflict, NotFound } from '../../../kernel/errors.ts'
import {
  type BackendVolume,
  type Clones,
  type Connection,
  type Created,
  type ImageClones,
  isImageOpenTo,
  type NewVolume,
  type Pool,
  type Retype,
  type Snapshots,
  type VolumeBackend,
  type VolumeDriver,
} from '../../volume-driver.ts'
import { RbdManage, RbdManageSnapshots } from './manage.ts'
import { RbdMigration } from './migration.ts'
import { RbdMoments } from './moments.ts'
import {
  cloneSnapshotName,
  imageName,
  isCloneSnapshot,
  isMoment,
  snapshotName,
  volumeNote,
} from './naming.ts'
import { objectBytes, type RbdSettings } from './options.ts'

/** Everything that names need is the volume's id. */
const created: Created = { providerLocation: undefined }

/** Volumes as images of a Ceph pool, named and laid out as Cinder's own RBD driver does. */
export class RbdDriver implements VolumeDriver {
  readonly #settings: RbdSettings
  readonly #backend: VolumeBackend
  #cluster: CephCluster | undefined

  constructor(settings: RbdSettings, backend: VolumeBackend) {
    this.#settings = settings
    this.#backend = backend
  }

  async start(call: Call): Promise<void> {
    const { configurationFile, clusterName, user, timeoutSeconds, pool } = this.#settings
    const settings = { configurationFile, clusterName, user, timeoutSeconds }
    this.#cluster ??= await CephCluster.connect(settings, call)
    await this.#cluster.usage(pool, call)
  }

  async pools(call: Call): Promise<readonly Pool[]> {
    const { pool, reportDynamicTotal } = this.#settings
    const { usedBytes, freeBytes } = await this.cluster.usage(pool, call)
    return [
      {
        name: this.#backend.volumeBackendName,
        totalBytes: reportDynamicTotal ? usedBytes + freeBytes : Math.max(usedBytes + freeBytes, GiB),
        freeBytes,
        capabilities: {
          vendor_name: 'Open Source',
          driver_version: '1.3.0',
          storage_protocol: 'ceph',
          thin_provisioning_support: true,
          thick_provisioning_support: false,
          multiattach: true,
          online_extend_support: true,
          sparse_copy_volume: true,
          replication_enabled: false,
          QoS_support: false,
          location_info: `ceph:${this.#settings.configurationFile}:${this.cluster.fsid}:${this.#settings.user ?? ''}:${pool}`,
        },
      },
    ]
  }

  async create(volume: NewVolume, call: Call): Promise<Created> {
    const pool = await this.pool(call)
    const layout = { objectBytes: objectBytes(this.#settings) }
    await unlessThere(pool.create(imageName(volume.id), volume.sizeBytes, layout, call))
    await this.#finish(volume, call)
    return created
  }

  async delete(volume: BackendVolume, call: Call): Promise<void> {
    const pool = await this.pool(call)
    const name = imageName(volume.id)
    try {
      await pool.withImage(name, { readOnly: false }, (image) => this.#clearCloneSnapshots(image, call), call)
    } catch (error) {
      if (!(error instanceof NotFound)) throw error // or it may be half removed, and its name still listed
    }
    try {
      await pool.remove(name, call)
    } catch (error) {
      if (isErrno(error, 'EBUSY')) {
        throw new BackendError(`Image ${pool.name}/${name} is still open on a host.`, {
          left: 'nothing',
          retryAfterMs: 30_000, // after which Ceph forgets a client that died
          cause: error,
        })
      }
      if (!isErrno(error, 'ENOTEMPTY')) throw error
      await pool.discard(name, call) // clones still read from it
    }
    await pool.sweepTrash(call)
  }

  /** @throws Conflict when somebody's snapshots are left */
  async #clearCloneSnapshots(image: RbdImage, call: Call): Promise<void> {
    const snapshots = await image.snapshots(call)
    const users = snapshots.filter(({ name }) => !isCloneSnapshot(name) && !isMoment(name))
    if (users.length > 0) throw new Conflict(`${image.name} still has ${users.length} snapshots.`)
    for (const { name } of snapshots) {
      await image.removeSnapshot(name, call).catch((error: unknown) => {
        if (!(error instanceof Conflict)) throw error // clones that Cinder's own driver made: the trash keeps them
      })
    }
  }

  async extend(volume: BackendVolume, sizeBytes: number, call: Call): Promise<void> {
    const pool = await this.pool(call)
    const grow = (image: RbdImage) => growTo(image, sizeBytes, call)
    await pool.withImage(imageName(volume.id), { readOnly: false }, grow, call)
  }

  /** Ceph's clients connect by themselves, with a key of their own: nobody has to be let in. */
  async attach(volume: BackendVolume, _to: unknown, call: Call): Promise<Connection> {
    const { pool, clusterName, user, secretUuid } = this.#settings
    await this.#withImageOf(volume, async () => {}, call) // NotFound now, not on the host
    const monitors = await this.cluster.monitorAddresses(call)
    const data = {
      name: `${pool}/${imageName(volume.id)}`,
      hosts: monitors.map(({ host }) => host),
      ports: monitors.map(({ port }) => port),
      cluster_name: clusterName,
      auth_enabled: user !== undefined,
      auth_username: user ?? null,
      secret_type: 'ceph',
      secret_uuid: secretUuid ?? this.cluster.fsid,
      volume_id: volume.id,
      discard: true,
    }
    return { driverVolumeType: 'rbd', data }
  }

  async detach(): Promise<void> {}

  async open(volume: BackendVolume, mode: 'r' | 'rw', call: Call): Promise<BlockDevice> {
    const pool = await this.pool(call)
    return new RbdDevice(await pool.open(imageName(volume.id), { readOnly: mode === 'r' }, call))
  }

  readonly snapshots: Snapshots = {
    create: async (snapshot, call) => {
      const take = (image: RbdImage) => image.createSnapshot(snapshotName(snapshot.id), call)
      await this.#withImageOf(snapshot.volume, take, call)
      return created
    },
    delete: async (snapshot, call) => {
      const name = snapshotName(snapshot.id)
      const remove = (image: RbdImage) => image.removeSnapshot(name, call)
      try {
        await this.#withImageOf(snapshot.volume, remove, call)
      } catch (error) {
        if (!(error instanceof NotFound)) throw error
      }
    },
    createVolume: async (snapshot, volume, call) => {
      const pool = await this.pool(call)
      const parent = { pool, image: imageName(snapshot.volume.id), snapshot: snapshotName(snapshot.id) }
      await this.#clone(parent, volume, { flatten: this.#settings.flattenFromSnapshot }, call)
      return created
    },
    revert: async (snapshot, call) => {
      const rollBack = (image: RbdImage) => image.rollBack(snapshotName(snapshot.id), call)
      await this.#withImageOf(snapshot.volume, rollBack, call)
    },
  }

  readonly clones: Clones = {
    create: async (source, volume, call) => {
      const pool = await this.pool(call)
      const parent = { pool, image: imageName(source.id), snapshot: cloneSnapshotName(volume.id) }
      if (!(await pool.exists(imageName(volume.id), call))) {
        await this.#withImageOf(source, (image) => image.createSnapshot(parent.snapshot, call), call)
      }
      await this.#clone(parent, volume, { flatten: false }, call)
      await this.#withImageOf(source, (image) => image.removeSnapshot(parent.snapshot, call), call)
      return created
    },
  }

  readonly imageClones: ImageClones = {
    create: async (image, volume, call) => {
      const location = image.locations
        .map(readImageLocation)
        .find((candidate) => candidate !== undefined && candidate.fsid === this.cluster.fsid)
      if (location === undefined || image.diskFormat !== 'raw' || !isImageOpenTo(image, volume.projectId)) {
        return undefined
      }
      try {
        const pool = await this.cluster.pool(location.pool, call)
        const parent = { pool, image: location.image, snapshot: location.snapshot }
        await this.#clone(parent, volume, { flatten: false, format: 'as Ceph likes' }, call)
        return created
      } catch (error) {
        if (!(error instanceof NotFound) && !isErrno(error, 'EPERM', 'EINVAL')) throw error
        call.log.info({ imageId: image.id }, 'the image cannot be cloned in the cluster, it will be copied')
        return undefined
      }
    },
  }

  /** Everything that a type may say here concerns the scheduler or the host. */
  readonly retype: Retype = { change: async () => undefined }

  readonly manage = new RbdManage((call) => this.pool(call))
  readonly manageSnapshots = new RbdManageSnapshots((call) => this.pool(call))
  readonly migration = new RbdMigration((call) => this.pool(call))
  readonly moments = new RbdMoments((call) => this.pool(call))

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cluster?.[Symbol.asyncDispose]()
    this.#cluster = undefined
  }

  get cluster(): CephCluster {
    if (this.#cluster === undefined) {
      throw new BackendError(`Backend ${this.#backend.name} is not connected to Ceph.`, {
        left: 'nothing',
        retryAfterMs: 5_000,
      })
    }
    return this.#cluster
  }

  async pool(call: Call): Promise<RbdPool> {
    return await this.cluster.pool(this.#settings.pool, call)
  }

  async #withImageOf<Result>(
    volume: BackendVolume,
    body: (image: RbdImage) => Promise<Result>,
    call: Call,
  ): Promise<Result> {
    const pool = await this.pool(call)
    return await pool.withImage(imageName(volume.id), { readOnly: false }, body, call)
  }

  async #clone(
    parent: { pool: RbdPool; image: string; snapshot: string },
    volume: NewVolume,
    how: { flatten: boolean; format?: 'as Ceph likes' },
    call: Call,
  ): Promise<void> {
    const pool = await this.pool(call)
    const layout = {
      objectBytes: objectBytes(this.#settings),
      ...(how.format === undefined ? ({ cloneFormat: 2 } as const) : {}),
    }
    const name = imageName(volume.id)
    // when it is there already, the snapshot may be gone
    if (!(await pool.exists(name, call))) await unlessThere(pool.clone(parent, name, layout, call))
    await this.#finish(volume, call, how.flatten)
  }

  /** What follows the making of an image, and is made up for when the service died in between. */
  async #finish(volume: NewVolume, call: Call, flatten = false): Promise<void> {
    const { maxCloneDepth } = this.#settings
    const pool = await this.pool(call)
    const finish = async (image: RbdImage) => {
      await growTo(image, volume.sizeBytes, call)
      const depth = await pool.cloneDepth(image, maxCloneDepth + 1, call)
      if (depth > 0 && (flatten || depth > maxCloneDepth)) await image.flatten(call)
      await image.setNote(volumeNote, volume.id, call)
    }
    await pool.withImage(imageName(volume.id), { readOnly: false }, finish, call)
  }
}

async function growTo(image: RbdImage, sizeBytes: number, call: Call): Promise<void> {
  if (image.sizeBytes() < sizeBytes) await image.resize(sizeBytes, call)
}

/** Made before the service died: fine. */
async function unlessThere(making: Promise<void>): Promise<void> {
  try {
    await making
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) throw error
  }
}
