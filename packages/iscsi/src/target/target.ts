/** One target: its LUNs, who may log in, and the sessions that are. */

import { IscsiError } from '../errors.ts'
import { type Chap, checkChap } from '../login/chap.ts'
import { MAX_LUN } from '../pdu/lun.ts'
import type { UnitHost } from '../scsi/command-table.ts'
import { LogicalUnit, type LogicalUnitConfig } from '../scsi/logical-unit.ts'
import type { NexusId } from '../scsi/nexus.ts'
import type { RateLimits } from '../scsi/rate-limiter.ts'
import { Conditions } from '../scsi/sense.ts'
import type { Session } from './session.ts'

/** An address of the target. */
export interface Portal {
  /** Name or address; IPv6 without brackets. */
  readonly host: string
  readonly port: number
}

/** Who may log in. */
export interface TargetAccess {
  /** Names of the initiators that may log in, without regard to case; nobody else may. */
  readonly initiators: readonly string[] | 'any'
  /** What they have to prove; nothing when left out. Secrets have at least 12 bytes. */
  readonly chap?: Chap
}

/** What a target is, apart from its LUNs. */
export interface TargetConfig {
  /** iqn., eui. or naa. name (RFC 7143 section 4.2.7), at most 223 bytes; compared without regard to case. */
  readonly name: string
  /** Sent to initiators at login, for people. */
  readonly alias?: string
  readonly access: TargetAccess
  /** What SendTargets announces; all portals the server listens on when left out. */
  readonly portals?: readonly Portal[]
}

/** Who is logged in. */
export interface SessionInfo {
  readonly initiatorName: string
  readonly remoteAddress: string
  readonly connectedAt: Date
}

/** All targets have one portal group. */
export const PORTAL_GROUP_TAG = 1

const NAME =
  /^(?:iqn\.\d{4}-\d{2}\.[a-z0-9.-]+(?::[^\s\0]+)?|eui\.[0-9a-f]{16}|naa\.(?:[0-9a-f]{16}|[0-9a-f]{32}))$/

/** A target of a server: made by `IscsiServer.addTarget`. */
export class IscsiTarget implements UnitHost {
  readonly name: string
  readonly targetAlias: string | undefined
  readonly portals: readonly Portal[] | undefined
  readonly portalGroupTag = PORTAL_GROUP_TAG
  readonly #units = new Map<number, LogicalUnit>()
  readonly #sessions = new Set<Session>()
  #access: TargetAccess
  #initiators: ReadonlySet<string> | 'any'

  /** @throws IscsiError `invalid` */
  constructor(config: TargetConfig) {
    const name = config.name.toLowerCase()
    if (!NAME.test(name) || Buffer.byteLength(name) > 223) {
      throw new IscsiError('invalid', `'${config.name}' is not an iSCSI name`)
    }
    this.name = name
    this.targetAlias = config.alias
    this.portals = config.portals
    this.#access = checkAccess(config.access)
    this.#initiators = namesOf(config.access)
  }

  get targetName(): string {
    return this.name
  }

  get access(): TargetAccess {
    return this.#access
  }

  admits(initiatorName: string): boolean {
    return this.#initiators === 'any' || this.#initiators.has(initiatorName)
  }

  /**
   * Changes who may log in. Sessions of initiators that no longer may are ended; it resolves when their I/O has.
   * New CHAP credentials apply to new logins.
   * @throws IscsiError `invalid`; nothing has changed then
   */
  async setAccess(access: TargetAccess): Promise<void> {
    this.#access = checkAccess(access)
    this.#initiators = namesOf(access)
    const unwelcome = [...this.#sessions].filter((session) => !this.admits(session.nexus.initiatorName))
    await Promise.all(unwelcome.map((session) => session.close('the initiator is no longer admitted')))
  }

  /**
   * Adds a disk; initiators that are logged in are told with their next command. The device needs blocks of 512 bytes
   * to 64 KiB, a power of two.
   * @throws IscsiError `invalid` when the LUN is taken, not 0 to 16383, or the device cannot be one
   */
  addLun(lun: number, config: LogicalUnitConfig): void {
    if (!Number.isInteger(lun) || lun < 0 || lun > MAX_LUN)
      throw new IscsiError('invalid', `LUN ${lun} is not 0..${MAX_LUN}`)
    if (this.#units.has(lun)) throw new IscsiError('invalid', `LUN ${lun} of ${this.name} is taken`)
    const { blockSize, sizeBytes } = config.device
    if (blockSize < 512 || blockSize > 65536 || (blockSize & (blockSize - 1)) !== 0) {
      throw new IscsiError('invalid', `blocks of ${blockSize} bytes are not supported`)
    }
    if (sizeBytes < blockSize) throw new IscsiError('invalid', 'the device is smaller than a block')
    if (config.naa !== undefined && !/^(?:[0-9a-fA-F]{16}|[0-9a-fA-F]{32})$/.test(config.naa)) {
      throw new IscsiError('invalid', 'an NAA identifier has 16 or 32 hexadecimal digits')
    }
    const unit = new LogicalUnit(config)
    this.#units.set(lun, unit)
    for (const session of this.#sessions) unit.attach(session.nexus.id)
    this.#lunsChanged()
  }

  /** Resolves when no I/O of the LUN is under way any more. A LUN that is not there is fine. */
  async removeLun(lun: number): Promise<void> {
    const unit = this.#units.get(lun)
    if (!unit) return
    this.#units.delete(lun)
    this.#lunsChanged()
    await this.abortTasks((session) => session.tasksOf(lun))
  }

  /** The device has grown: initiators are told with their next command. */
  capacityChanged(lun: number): void {
    this.#units.get(lun)?.raiseAttention(Conditions.capacityChanged)
  }

  /**
   * Limits what a LUN does in a second, from now on and also for the commands that wait; `{}` lifts all limits. A LUN
   * that is not there is fine.
   * @throws RangeError when a limit is not above 0; nothing has changed then
   */
  setLimits(lun: number, limits: RateLimits): void {
    this.#units.get(lun)?.setLimits(limits)
  }

  /** Those that are logged in, oldest first. */
  sessions(): readonly SessionInfo[] {
    return [...this.#sessions].map((session) => ({
      initiatorName: session.nexus.initiatorName,
      remoteAddress: session.remoteAddress,
      connectedAt: session.connectedAt,
    }))
  }

  unit(lun: number): LogicalUnit | undefined {
    return this.#units.get(lun)
  }

  lunNumbers(): readonly number[] {
    return [...this.#units.keys()].sort((a, b) => a - b)
  }

  /** Used by sessions when they begin and end. */
  join(session: Session): void {
    this.#sessions.add(session)
    for (const unit of this.#units.values()) unit.attach(session.nexus.id)
  }

  leave(session: Session): void {
    this.#sessions.delete(session)
    // A session that replaced this one has the same nexus: its state is not this one's to take away.
    if ([...this.#sessions].some((other) => other.nexus.id === session.nexus.id)) return
    for (const unit of this.#units.values()) unit.detach(session.nexus.id)
  }

  sessionOf(nexus: NexusId): Session | undefined {
    return [...this.#sessions].find((session) => session.nexus.id === nexus)
  }

  /** Ends the tasks chosen in every session; resolves when none of them is at a device. */
  async abortTasks(choose: (session: Session) => Iterable<number>): Promise<void> {
    await Promise.all(
      [...this.#sessions].flatMap((session) => [...choose(session)].map((tag) => session.abort(tag))),
    )
  }

  /** LOGICAL UNIT RESET. @returns false when there is no such LUN */
  async resetUnit(lun: number): Promise<boolean> {
    const unit = this.#units.get(lun)
    if (!unit) return false
    await this.abortTasks((session) => session.tasksOf(lun))
    unit.reset()
    return true
  }

  /** TARGET WARM RESET: every unit. */
  async reset(): Promise<void> {
    for (const lun of this.lunNumbers()) await this.resetUnit(lun)
  }

  async closeSessions(reason: string, except?: Session): Promise<void> {
    const closing = [...this.#sessions].filter((session) => session !== except)
    await Promise.all(closing.map((session) => session.close(reason)))
  }

  #lunsChanged(): void {
    for (const unit of this.#units.values()) unit.raiseAttention(Conditions.reportedLunsChanged)
  }
}

function checkAccess(access: TargetAccess): TargetAccess {
  if (access.chap) checkChap(access.chap)
  return access
}

function namesOf(access: TargetAccess): ReadonlySet<string> | 'any' {
  return access.initiators === 'any' ? 'any' : new Set(access.initiators.map((name) => name.toLowerCase()))
}
