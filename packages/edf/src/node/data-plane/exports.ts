import { createHash } from 'node:crypto'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import type { IscsiServer, IscsiTarget, TargetAccess, TargetEvent } from '@emberglass/iscsi/target'
import type { Portal } from '../context.ts'
import type { Database } from '../database/database.ts'
import type { StorageInstanceRow, VolumeRow } from '../database/rows.ts'
import { messageOf } from '../errors.ts'
import { KeyedLocks } from '../locks.ts'
import type { Meters } from '../metering/meters.ts'
import type { ReplicatedStore } from '../replicas/replicated-store.ts'
import { aclGroups, aclInitiators } from '../resources/acl-policy.ts'
import type { StoredAuth } from '../resources/auth.ts'
import { membersOf } from '../resources/initiator-groups.ts'
import { gib } from '../units.ts'
import { ExportedDevice } from './exported-device.ts'
import { portalsOfPool } from './pool-portals.ts'
import { rateLimitsOf } from './rate-limits.ts'
import { reservationsOf } from './reservations.ts'

/** A volume that nobody used for this long gives its open files back. */
const idleMs = 60_000
/** A session that ends is gone within some milliseconds after its last answer. */
const partingMs = 500
const sessionClosed = 'iscsi:target:closed'

export type ExportStatus =
  | { readonly state: 'available' | 'unavailable' }
  | { readonly state: 'failed'; readonly cause: string }

interface Unit {
  readonly storeId: string
  readonly device: ExportedDevice
}

interface Export {
  readonly target: IscsiTarget
  readonly units: Map<number, Unit>
  /** Some initiator is admitted only because it had a session when it was taken off the list. */
  lingers: boolean
}

/**
 * Keeps the iSCSI targets in line with the metadata: a storage instance that is online, in an app instance that is
 * online, is a target, and its volumes are the units. Every call compares what should be with what is, so that it can
 * be repeated at any time, above all at start.
 */
export class TargetExports {
  readonly #database: Database
  readonly #store: ReplicatedStore
  readonly #server: IscsiServer
  readonly #exports = new Map<string, Export>()
  readonly #failures = new Map<string, string>()
  readonly #meters: Meters
  readonly #portals: readonly Portal[]
  readonly #locks = new KeyedLocks()
  readonly #sweeper: NodeJS.Timeout
  readonly #onClosed = (message: unknown) => this.#sessionClosed(message)

  constructor(parts: {
    readonly database: Database
    readonly store: ReplicatedStore
    readonly server: IscsiServer
    readonly meters: Meters
    /** All there are; pools choose among them. */
    readonly portals: readonly Portal[]
  }) {
    this.#database = parts.database
    this.#store = parts.store
    this.#server = parts.server
    this.#meters = parts.meters
    this.#portals = parts.portals
    this.#sweeper = setInterval(() => void this.#sweep(), idleMs / 2)
    this.#sweeper.unref()
    subscribe(sessionClosed, this.#onClosed)
  }

  /** Brings one storage instance's target in line: makes it, removes it, adds and removes units. */
  async sync(siUuid: string): Promise<void> {
    await this.#locks.run(siUuid, async () => {
      try {
        const wanted = this.#wanted(siUuid)
        if (wanted === undefined) await this.#withdraw(siUuid)
        else await this.#present(wanted)
        this.#failures.delete(siUuid)
      } catch (error) {
        this.#failures.set(siUuid, messageOf(error))
        throw error
      }
    })
  }

  /** At start: all targets at once. One that fails shows it in its state and leaves the others alone. */
  async syncAll(): Promise<void> {
    const rows = this.#database.all<{ uuid: string }>(
      `SELECT si.uuid FROM storage_instance si JOIN app_instance ai ON ai.id = si.app_instance
       WHERE si.state = 'ready' AND ai.state = 'ready' AND si.admin_state = 'online'
       AND ai.admin_state = 'online' ORDER BY si.seq`,
    )
    for (const { uuid } of rows) await this.sync(uuid).catch(() => undefined)
  }

  /** Stops exporting, whatever the metadata say; sessions end. */
  async withdraw(siUuid: string): Promise<void> {
    await this.#locks.run(siUuid, () => this.#withdraw(siUuid))
  }

  /** After a change of access list, group, access mode or credentials. */
  async refreshAccess(siUuid: string): Promise<void> {
    await this.#locks.run(siUuid, async () => {
      const wanted = this.#wanted(siUuid)
      const present = this.#exports.get(siUuid)
      if (wanted === undefined || present === undefined) return
      const listed = this.#listed(siUuid)
      const live = [...this.#liveInitiators(present)]
      present.lingers = live.some((name) => !listed.has(name))
      await present.target.setAccess(accessOf(wanted, [...listed, ...live]))
    })
  }

  /** After the store has grown a volume. */
  grown(siUuid: string, storeId: string, sizeBytes: number): void {
    const present = this.#exports.get(siUuid)
    for (const [lun, unit] of present?.units ?? []) {
      if (unit.storeId !== storeId) continue
      unit.device.grown(sizeBytes)
      present?.target.capacityChanged(lun)
    }
  }

  /** After a change of a volume's performance policy; `null` is none. */
  limit(siUuid: string, storeId: string, policy: string | null): void {
    const present = this.#exports.get(siUuid)
    for (const [lun, unit] of present?.units ?? []) {
      if (unit.storeId === storeId) present?.target.setLimits(lun, rateLimitsOf(policy))
    }
  }

  /** Runs work while none of these volumes changes; they wait, they do not fail. */
  async still<Result>(storeIds: readonly string[], work: () => Promise<Result>): Promise<Result> {
    const wanted = new Set(storeIds)
    const devices = [...this.#exports.values()]
      .flatMap(({ units }) => [...units.values()])
      .filter(({ storeId }) => wanted.has(storeId))
      .map(({ device }) => device)
    try {
      await Promise.all(devices.map((device) => device.freeze()))
      return await work()
    } finally {
      for (const device of devices) device.thaw()
    }
  }

  status(siUuid: string): ExportStatus {
    const cause = this.#failures.get(siUuid)
    if (cause !== undefined) return { state: 'failed', cause }
    return { state: this.#exports.has(siUuid) ? 'available' : 'unavailable' }
  }

  /** Why storage instances are not exported that should be, by uuid. */
  failures(): ReadonlyMap<string, string> {
    return this.#failures
  }

  /** Names of the initiators with a live session, each once. */
  initiatorsOf(siUuid: string): ReadonlySet<string> {
    const present = this.#exports.get(siUuid)
    return present === undefined ? new Set() : this.#liveInitiators(present)
  }

  /** As `initiatorsOf`, giving one that has just logged out the moment it needs to be gone. */
  async remainingInitiators(siUuid: string): Promise<ReadonlySet<string>> {
    const until = performance.now() + partingMs
    while (this.initiatorsOf(siUuid).size > 0 && performance.now() < until) await sleep(20)
    return this.initiatorsOf(siUuid)
  }

  async close(): Promise<void> {
    clearInterval(this.#sweeper)
    unsubscribe(sessionClosed, this.#onClosed)
    await this.#locks.idle()
    await Promise.all([...this.#exports.keys()].map((uuid) => this.withdraw(uuid)))
  }

  #wanted(siUuid: string): StorageInstanceRow | undefined {
    return this.#database.get<StorageInstanceRow>(
      `SELECT si.* FROM storage_instance si JOIN app_instance ai ON ai.id = si.app_instance
       WHERE si.uuid = ? AND si.state = 'ready' AND ai.state = 'ready'
       AND si.admin_state = 'online' AND ai.admin_state = 'online' AND si.service_configuration = 'iscsi'`,
      siUuid,
    )
  }

  async #present(row: StorageInstanceRow): Promise<void> {
    let present = this.#exports.get(row.uuid)
    const pool = portalsOfPool({ database: this.#database, portals: this.#portals }, JSON.parse(row.ip_pool))
    const portals = [...new Set(pool)]
    if (present !== undefined && !isDeepStrictEqual(present.target.portals, portals)) {
      // Of another pool: it announces itself at other addresses.
      await this.#withdraw(row.uuid)
      present = undefined
    }
    if (present === undefined) {
      const target = this.#server.addTarget({
        name: row.iqn,
        access: accessOf(row, [...this.#listed(row.uuid)]),
        portals,
      })
      present = { target, units: new Map(), lingers: false }
      this.#exports.set(row.uuid, present)
    }
    const volumes = this.#database.all<VolumeRow>(
      `SELECT * FROM volume WHERE storage_instance = ? AND state = 'ready' ORDER BY lun`,
      row.uuid,
    )
    const luns = new Map(volumes.map((volume) => [volume.lun, volume]))
    for (const [lun, unit] of [...present.units]) {
      if (luns.get(lun)?.store_id !== unit.storeId) await this.#removeUnit(present, lun, unit)
    }
    for (const [lun, volume] of luns) {
      if (!present.units.has(lun)) this.#addUnit(present, lun, volume)
    }
  }

  #addUnit(present: Export, lun: number, volume: VolumeRow): void {
    if (!this.#store.has(volume.store_id)) {
      throw new Error(`the data of the volume ${volume.name} (${volume.store_id}) are missing`)
    }
    const device = new ExportedDevice(
      volume.size_gib * gib,
      () => this.#store.open(volume.store_id),
      this.#meters.of(volume.store_id),
    )
    present.target.addLun(lun, {
      device,
      serial: volume.uuid,
      naa: naaOf(volume.uuid),
      vendor: 'DATERA',
      product: 'IBLOCK',
      limits: rateLimitsOf(volume.performance_policy),
      reservations: reservationsOf(this.#database, volume.store_id),
    })
    present.units.set(lun, { storeId: volume.store_id, device })
  }

  async #removeUnit(present: Export, lun: number, unit: Unit): Promise<void> {
    await present.target.removeLun(lun)
    present.units.delete(lun)
    await unit.device.close()
  }

  async #withdraw(siUuid: string): Promise<void> {
    const present = this.#exports.get(siUuid)
    this.#failures.delete(siUuid)
    if (present === undefined) return
    this.#exports.delete(siUuid)
    await this.#server.removeTarget(present.target.name)
    for (const { device } of present.units.values()) await device.close()
  }

  /** Names on the access list, directly or through a group. */
  #listed(siUuid: string): Set<string> {
    const node = { database: this.#database }
    const direct = aclInitiators(node, siUuid).map(({ id }) => id)
    const grouped = aclGroups(node, siUuid).flatMap(({ seq }) => membersOf(node, seq).map(({ id }) => id))
    return new Set([...direct, ...grouped].map((id) => id.toLowerCase()))
  }

  #liveInitiators({ target }: Export): ReadonlySet<string> {
    return new Set(target.sessions().map(({ initiatorName }) => initiatorName.toLowerCase()))
  }

  #sessionClosed(message: unknown): void {
    // The channel carries nothing else.
    const { targetName } = message as TargetEvent
    const target = targetName === undefined ? undefined : this.#server.target(targetName)
    for (const [uuid, present] of this.#exports) {
      if (present.target !== target || !present.lingers) continue
      setImmediate(() => void this.refreshAccess(uuid).catch(() => undefined))
    }
  }

  /** Closes idle volumes, and takes those off the list who only stayed on it for their session. */
  async #sweep(): Promise<void> {
    for (const [uuid, present] of [...this.#exports]) {
      for (const { device } of present.units.values()) await device.closeIdle(idleMs).catch(() => undefined)
      if (present.lingers) await this.refreshAccess(uuid).catch(() => undefined)
    }
  }
}

/**
 * Who may log in. Being taken off the list does not end a session (some clients rewrite the list of others by
 * mistake, whose I/O would stop); it counts from that initiator's next login on.
 */
function accessOf(row: StorageInstanceRow, initiators: readonly string[]): TargetAccess {
  const auth: StoredAuth = JSON.parse(row.auth)
  const usesChap = auth.type === 'chap' || auth.type === 'mchap'
  return {
    initiators: row.access_control_mode === 'allow_all' ? 'any' : initiators,
    ...(usesChap && {
      chap: {
        username: auth.target_user_name,
        password: auth.target_pswd,
        ...(auth.type === 'mchap' && {
          mutual: { username: auth.initiator_user_name, password: auth.initiator_pswd },
        }),
      },
    }),
  }
}

/** NAA type 3, "locally assigned": 60 bits of the volume's uuid, the same on every path and after every start. */
export function naaOf(uuid: string): string {
  return `3${createHash('sha256').update(uuid.toLowerCase()).digest('hex').slice(0, 15)}`
}
