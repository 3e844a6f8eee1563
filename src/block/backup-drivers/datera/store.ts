import { createHash } from 'node:crypto'
import { ArrayAccess, type CreateAppInstance, type EdfCall, removeAppInstance } from '@emberglass/edf'
import { edfCallOf } from '../../../datera/edf-call.ts'
import { GiB } from '../../../kernel/bytes.ts'
import type { Call } from '../../../kernel/call.ts'
import { Misconfigured, NotFound } from '../../../kernel/errors.ts'
import { type Logger, silentLogger } from '../../../kernel/log.ts'
import type { BackupHost, BackupPlan } from '../../backup-driver.ts'
import type { BlobContainer, BlobPlace, BlobStore } from '../chunked/blob-store.ts'
import {
  type ArrayPlace,
  backupInstances,
  containerName,
  copyPrefix,
  DateraContainer,
  kernelError,
} from './container.ts'
import { headerBytes } from './header.ts'
import type { DateraBackupSettings } from './options.ts'
import { checkSettings, clientOptions, tenantFor } from './settings.ts'

/** Backups on a Datera array, as version 1 of Datera's driver laid them out. @see datera-drivers specification 5 */
export class DateraBlobStore implements BlobStore {
  readonly chunkBytes: number
  readonly blockBytes: number
  /** A volume takes one object after the other. */
  readonly lanes = 1
  readonly #settings: DateraBackupSettings
  readonly #access: ArrayAccess
  readonly #owner: string
  #log: Logger = silentLogger()

  constructor(settings: DateraBackupSettings, { initiatorName }: Pick<BackupHost, 'initiatorName'>) {
    this.#settings = settings
    const chunkBytes = settings.chunkGib * GiB - headerBytes
    this.blockBytes = settings.blockBytes === 0 ? chunkBytes : settings.blockBytes
    this.chunkBytes = chunkBytes - (chunkBytes % this.blockBytes)
    this.#owner = createHash('sha256').update(initiatorName).digest('hex').slice(0, 8)
    this.#access = new ArrayAccess({
      client: () => clientOptions(settings),
      disks: {
        initiatorName,
        iscsiPort: settings.iscsiPort,
        chap: () => undefined,
        multipath: settings.multipath,
        onLeftBehind: (path, error) =>
          this.#log.warn({ path, error }, 'our access to a backup could not be taken back'),
      },
      onTenantRefused: (tenant, error) =>
        this.#log.error({ tenant, error: error.message }, `create tenant ${tenant} on the array manually`),
    })
  }

  async start(call: Call): Promise<void> {
    checkSettings(this.#settings)
    await this.#run('start', call, async (at, edf) => {
      await at.array.tenants.ensure(at.tenant, edf)
      // copies that a killed process of this host was reading from
      const mark = `-R-${this.#owner}`
      for (const left of await backupInstances(at, mark, (name) => name.startsWith('BACKUP-'), edf)) {
        const inUse = left.storage_instances.some((each) => (each.active_initiators ?? []).length > 0)
        if (!inUse) await removeAppInstance(at.array.client.in(at.tenant), left, edf)
      }
    })
  }

  place({ id, container }: BackupPlan) {
    return { container: container ?? containerName(id), prefix: 'DAT' }
  }

  async open(place: BlobPlace, mode: 'read' | 'write', call: Call): Promise<BlobContainer> {
    return await this.#run('open', call, async (at, edf) => {
      const name = containerName(place.id)
      const found = await backupInstances(at, name, (each) => each === name, edf)
      // older drivers took the user's container for a name
      const older =
        found.length > 0 || mode === 'write' || place.container === name
          ? []
          : await backupInstances(at, place.container, (each) => each === place.container, edf)
      const [appInstance] = [...found, ...older]
      if (appInstance !== undefined) return new DateraContainer(at, place, appInstance)
      if (mode === 'read') throw new NotFound(`There is no ${name} on the array.`)
      if (!this.#settings.mayCreate) {
        throw new Misconfigured(`There is no ${name} on the array, and backup_create_containers is off.`)
      }
      const body = bodyFor(this.#settings, at, place)
      return new DateraContainer(
        at,
        place,
        await at.array.client.in(at.tenant).appInstances.create(body, edf),
      )
    })
  }

  async remove({ id }: BlobPlace, call: Call): Promise<void> {
    await this.#run('remove', call, async (at, edf) => {
      const name = containerName(id)
      const isOurs = (each: string) => each === name || each.startsWith(copyPrefix(id, ''))
      for (const found of await backupInstances(at, name, isOurs, edf)) {
        await removeAppInstance(at.array.client.in(at.tenant), found, edf)
      }
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#access[Symbol.asyncDispose]()
  }

  /** One verb: connected, traced and timed, its errors turned into the kernel's. */
  async #run<Result>(
    verb: string,
    call: Call,
    work: (at: ArrayPlace, edf: EdfCall) => Promise<Result>,
  ): Promise<Result> {
    this.#log = call.log
    const { debug, disableProfiler } = this.#settings
    const started = performance.now()
    try {
      call.signal.throwIfAborted()
      const edf = edfCallOf(call, debug)
      const array = await this.#access.connect(edf)
      const result = await work({ array, tenant: tenantFor(this.#settings), owner: this.#owner, debug }, edf)
      if (!disableProfiler) {
        const seconds = (performance.now() - started) / 1000
        call.log.debug({ verb, seconds, trace_id: edf.traceId }, 'backup operation on the array done')
      }
      return result
    } catch (error) {
      call.signal.throwIfAborted()
      throw kernelError(error)
    }
  }
}

function bodyFor(settings: DateraBackupSettings, { array }: ArrayPlace, place: BlobPlace): CreateAppInstance {
  const { placementMode } = settings
  const policy = placementMode === 'hybrid' ? 'default' : placementMode
  const placement = array.client.has('placementPolicy')
    ? { placement_policy: { path: `/placement_policies/${policy}` } }
    : { placement_mode: placementMode }
  return {
    create_mode: 'openstack',
    name: containerName(place.id),
    access_control_mode: 'deny_all',
    storage_instances: [
      {
        name: 'storage-1',
        volumes: [
          {
            name: 'volume-1',
            size: settings.chunkGib,
            replica_count: settings.replicaCount,
            snapshot_policies: [],
            ...placement,
          },
        ],
      },
    ],
  }
}
