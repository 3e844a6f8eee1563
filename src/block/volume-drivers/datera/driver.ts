import { ArrayAccess } from '@emberglass/edf'
import type { BlockDevice } from '@emberglass/iscsi/device'
import { edfCallOf } from '../../../datera/edf-call.ts'
import type { Call } from '../../../kernel/call.ts'
import { messageOf } from '../../../kernel/errors.ts'
import { type Logger, silentLogger } from '../../../kernel/log.ts'
import type {
  BackendSnapshot,
  BackendVolume,
  Capabilities,
  Clones,
  Connection,
  Connector,
  Created,
  ImageClones,
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
import { adoptVolume } from './adopt.ts'
import { attachVolume, detachVolume, setChap } from './attach.ts'
import { cloneVolume } from './copy-volume.ts'
import { createVolume } from './create.ts'
import { deleteVolume } from './delete.ts'
import { kernelError } from './errors.ts'
import { extendVolume } from './extend.ts'
import { cloneImage } from './image-clone.ts'
import { takeBackLeftovers } from './leftovers.ts'
import { requireVolume } from './lookup.ts'
import { listManageable, manageableSize, manageVolume, unmanageVolume } from './manage.ts'
import { listManageableSnapshots, manageableSnapshotSize, manageSnapshot } from './manage-snapshots.ts'
import type { Operation } from './operation.ts'
import type { DateraSettings } from './options.ts'
import { retypeVolume } from './retype.ts'
import { revertToSnapshot } from './revert.ts'
import { type CheckedSettings, checkSettings, clientOptions } from './settings.ts'
import { createSnapshot, createVolumeFromSnapshot, deleteSnapshot } from './snapshots.ts'
import { Capacity, poolOf } from './stats.ts'
import { vendorProperties } from './vendor-properties.ts'

/** Volumes on a Datera array: one app instance with one storage instance and one volume each. */
export class DateraDriver implements VolumeDriver {
  readonly snapshots: Snapshots = {
    create: (snapshot, call) => this.#run('create snapshot', call, (at) => createSnapshot(at, snapshot)),
    delete: (snapshot, call) => this.#run('delete snapshot', call, (at) => deleteSnapshot(at, snapshot)),
    createVolume: (snapshot: BackendSnapshot, volume: NewVolume, call: Call) =>
      this.#run('create from snapshot', call, (at) => createVolumeFromSnapshot(at, snapshot, volume)),
    revert: (snapshot, call) => this.#run('revert', call, (at) => revertToSnapshot(at, snapshot)),
  }
  readonly clones: Clones = {
    create: (source, volume, call) => this.#run('clone', call, (at) => cloneVolume(at, source, volume)),
  }
  readonly retype: Retype = {
    change: (volume, request, call) => this.#run('retype', call, (at) => retypeVolume(at, volume, request)),
  }
  readonly manage: Manage = {
    list: (known, call) =>
      this.#run('list manageable', call, async (at) =>
        (await listManageable(at, known)).map(({ manageable }) => manageable),
      ),
    sizeBytes: (volume, reference, call) =>
      this.#run('manageable size', call, (at) => manageableSize(at, volume, reference)),
    manage: (volume, reference, known, call) =>
      this.#run('manage', call, (at) => manageVolume(at, volume, reference, known)),
    unmanage: (volume, call) => this.#run('unmanage', call, (at) => unmanageVolume(at, volume)),
  }
  readonly manageSnapshots: ManageSnapshots = {
    list: (known, call) =>
      this.#run('list manageable snapshots', call, (at) => listManageableSnapshots(at, known)),
    sizeBytes: (volume, reference, call) =>
      this.#run('manageable snapshot size', call, (at) => manageableSnapshotSize(at, volume, reference)),
    manage: (snapshot, reference, known, call) =>
      this.#run('manage snapshot', call, (at) => manageSnapshot(at, snapshot, reference, known)),
    unmanage: async () => {}, // nothing on the array says that a snapshot is ours
  }
  readonly migration: Migration = {
    adopt: (volume, copy, call) => this.#run('adopt', call, (at) => adoptVolume(at, volume, copy)),
  }
  readonly imageClones: ImageClones = {
    create: (image, volume, call) => this.#run('clone image', call, (at) => cloneImage(at, image, volume)),
  }
  readonly capabilities: Capabilities = {
    properties: async (call) => {
      this.#checked ??= checkSettings(this.#settings, call.log)
      return vendorProperties(this.#checked.policy)
    },
  }
  readonly #settings: DateraSettings
  readonly #backend: VolumeBackend
  readonly #access: ArrayAccess
  readonly #capacity = new Capacity()
  #checked: CheckedSettings | undefined
  /** Ends what goes on behind the calls. */
  readonly #closed = new AbortController()
  #tidying: Promise<void> | undefined
  /** Of the latest call, for what happens after calls have ended. */
  #log: Logger = silentLogger()

  constructor(settings: DateraSettings, backend: VolumeBackend) {
    this.#settings = settings
    this.#backend = backend
    this.#access = new ArrayAccess({
      client: () => clientOptions(settings),
      disks: {
        initiatorName: backend.initiatorName,
        iscsiPort: settings.iscsiPort,
        chap: () => this.#checked?.chap,
        multipath: settings.multipath || settings.enforceMultipath,
        onLeftBehind: (path, error) =>
          this.#log.warn({ path, error }, 'our access to a volume could not be taken back'),
      },
      onTenantRefused: (tenant, error) =>
        this.#log.error({ tenant, error: error.message }, `create tenant ${tenant} on the array manually`),
    })
  }

  async start(call: Call): Promise<void> {
    this.#checked = checkSettings(this.#settings, call.log)
    await this.#run('start', call, async ({ array, checked, edf, log }) => {
      const { client } = array
      if (checked.tenant.kind === 'path') await array.tenants.ensure(checked.tenant.path, edf)
      const { name, sw_version: product } = client.lastSystem
      log.info(
        { array: name, product, apiVersion: client.version, origin: client.origin },
        'connected to array',
      )
    })
    // Nobody has to wait for it, and what goes wrong with it is only worth a line in the log.
    const behind = { ...call, signal: this.#closed.signal }
    this.#tidying ??= this.#run('take back leftovers', behind, takeBackLeftovers).catch((error: unknown) => {
      if (this.#closed.signal.aborted) return
      call.log.warn({ error: messageOf(error) }, 'leftovers were not looked for')
    })
  }

  async pools(call: Call): Promise<readonly Pool[]> {
    return await this.#run('pools', call, async (at) => [poolOf(at, await this.#capacity.read(at))])
  }

  async create(volume: NewVolume, call: Call): Promise<Created> {
    return await this.#run('create', call, (at) => createVolume(at, volume))
  }

  async delete(volume: BackendVolume, call: Call): Promise<void> {
    await this.#run('delete', call, (at) => deleteVolume(at, volume))
  }

  async extend(volume: BackendVolume, sizeBytes: number, call: Call): Promise<void> {
    await this.#run('extend', call, (at) => extendVolume(at, volume, sizeBytes))
  }

  async attach(volume: BackendVolume, to: Connector, call: Call): Promise<Connection> {
    return await this.#run('attach', call, (at) => attachVolume(at, volume, to))
  }

  async detach(volume: BackendVolume, from: Connector | 'everyone', call: Call): Promise<void> {
    await this.#run('detach', call, (at) => detachVolume(at, volume, from))
  }

  async open(volume: BackendVolume, mode: 'r' | 'rw', call: Call): Promise<BlockDevice> {
    return await this.#run('open', call, async (at) => {
      const { tenant, scope, appInstance } = await requireVolume(at, volume)
      return await at.array.disks.open(tenant, appInstance, mode, at.edf, (before) =>
        setChap(at, scope, before),
      )
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort(new Error('the driver is closed'))
    await this.#tidying
    await this.#access[Symbol.asyncDispose]()
  }

  /** One verb: connected, traced, timed, its errors turned into the kernel's. */
  async #run<Result>(
    verb: string,
    call: Call,
    work: (operation: Operation) => Promise<Result>,
  ): Promise<Result> {
    this.#log = call.log
    const started = performance.now()
    try {
      call.signal.throwIfAborted()
      this.#checked ??= checkSettings(this.#settings, call.log)
      const edf = edfCallOf(call, this.#settings.debug)
      const result = await work({
        settings: this.#settings,
        checked: this.#checked,
        backend: this.#backend,
        array: await this.#access.connect(edf),
        edf,
        log: call.log,
      })
      if (!this.#settings.disableProfiler) {
        const seconds = (performance.now() - started) / 1000
        call.log.debug({ verb, seconds, trace_id: edf.traceId }, 'array operation done')
      }
      return result
    } catch (error) {
      if (call.signal.aborted) throw call.signal.reason
      throw kernelError(error)
    }
  }
}
