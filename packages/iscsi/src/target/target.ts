/** One target: its LUNs, who may log in, and the sessions that are. */

import { IscsiError } from '../errors.ts'
import { type Chap, checkChap } from '../login/chap.ts'
import { MAX_LUN } from '../pdu/lun.ts'
import type { AccessStateName } from '../scsi/access-state.ts'
import type { UnitAccess, UnitHost } from '../scsi/command-table.ts'
import type { UnitDesignator } from '../scsi/copy-parameters.ts'
import { isNamed } from '../scsi/designators.ts'
import { LogicalUnit, type LogicalUnitConfig } from '../scsi/logical-unit.ts'
import type { Nexus, NexusId } from '../scsi/nexus.ts'
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
  /** Those that may log in, nobody else. */
  readonly initiators: readonly (string | InitiatorAccess)[] | 'any'
  /** What they have to prove, unless they have secrets of their own. Nothing when left out. */
  readonly chap?: Chap
}

/** One initiator that may log in. */
export interface InitiatorAccess {
  /** Without regard to case. */
  readonly name: string
  /** What it has to prove, instead of the target's `chap`. Secrets have at least 12 bytes. */
  readonly chap: Chap
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

const NAME =
  /^(?:iqn\.\d{4}-\d{2}\.[a-z0-9.-]+(?::[^\s\0]+)?|eui\.[0-9a-f]{16}|naa\.(?:[0-9a-f]{16}|[0-9a-f]{32}))$/

/** What a target takes from its server. */
export interface TargetServer {
  targets(): readonly IscsiTarget[]
  /** Tags of the portal groups that listen, ascending. */
  portalGroupTags(): readonly number[]
}

/** A target of a server: made by `IscsiServer.addTarget`. */
export class IscsiTarget {
  readonly name: string
  readonly targetAlias: string | undefined
  readonly portals: readonly Portal[] | undefined
  readonly #server: TargetServer
  readonly #accessStates = new Map<number, AccessStateName>()
  readonly #units = new Map<number, LogicalUnit>()
  readonly #sessions = new Set<Session>()
  #access: TargetAccess
  /** By name, in lower case; with secrets where an initiator has its own. */
  #initiators: ReadonlyMap<string, Chap | undefined> | 'any'

  /** @throws IscsiError `invalid` */
  constructor(config: TargetConfig, server: TargetServer) {
    this.#server = server
    const name = config.name.toLowerCase()
    if (!NAME.test(name) || Buffer.byteLength(name) > 223) {
      throw new IscsiError('invalid', `'${config.name}' is not an iSCSI name`)
    }
    this.name = name
    this.targetAlias = config.alias
    this.portals = config.portals
    this.#access = checkAccess(config.access)
    this.#initiators = initiatorsOf(config.access)
  }

  get access(): TargetAccess {
    return this.#access
  }

  admits(initiatorName: string): boolean {
    return this.#initiators === 'any' || this.#initiators.has(initiatorName)
  }

  /** What an initiator has to prove; undefined: nothing. */
  chapOf(initiatorName: string): Chap | undefined {
    const own = this.#initiators === 'any' ? undefined : this.#initiators.get(initiatorName)
    return own ?? this.#access.chap
  }

  /**
   * Changes who may log in. Sessions of initiators that no longer may are ended; it resolves when their I/O has.
   * New CHAP credentials apply to new logins.
   * @throws IscsiError `invalid`; nothing has changed then
   */
  async setAccess(access: TargetAccess): Promise<void> {
    this.#access = checkAccess(access)
    this.#initiators = initiatorsOf(access)
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
    const ratio = (config.physicalBlockSize ?? blockSize) / blockSize
    if (!Number.isInteger(Math.log2(ratio)) || ratio < 1 || ratio > 32768) {
      throw new IscsiError(
        'invalid',
        `physical blocks of ${config.physicalBlockSize} bytes are not supported`,
      )
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
   * Says how good the way to the LUNs through a portal group is (ALUA); `activeOptimized` until then. Initiators that
   * are logged in are told with their next command.
   */
  setAccessState(portalGroupTag: number, state: AccessStateName): void {
    if (this.accessState(portalGroupTag) === state) return
    this.#accessStates.set(portalGroupTag, state)
    for (const unit of this.#units.values()) unit.raiseAttention(Conditions.asymmetricAccessStateChanged)
  }

  accessState(portalGroupTag: number): AccessStateName {
    return this.#accessStates.get(portalGroupTag) ?? 'activeOptimized'
  }

  /** The target as the commands see it that come in at one of its portal groups. */
  host(portalGroupTag: number): UnitHost {
    const target = this
    return {
      targetName: this.name,
      targetAlias: this.targetAlias,
      portalGroupTag,
      get accessState() {
        return target.accessState(portalGroupTag)
      },
      portalGroups: () =>
        this.#server.portalGroupTags().map((tag) => ({ tag, state: this.accessState(tag) })),
      lunNumbers: () => this.lunNumbers(),
      unitNamed: (name, nexus) => this.#unitNamed(name, nexus),
      abortTasks: (unit, nexuses) => {
        const luns = this.lunNumbers().filter((lun) => this.#units.get(lun) === unit)
        return this.abortTasks((session) =>
          nexuses.has(session.nexus.id) ? luns.flatMap((lun) => session.tasksOf(lun)) : [],
        )
      },
    }
  }

  /** Another target's units only for an initiator that has a session there: who it is was proved at its login. */
  #unitNamed(name: UnitDesignator, nexus: Nexus): UnitAccess | undefined {
    for (const target of [this, ...this.#server.targets()]) {
      const known = target === this ? nexus : target.#nexusOf(nexus.initiatorName)
      const unit = known && [...target.#units.values()].find((each) => isNamed(each, name))
      if (!unit) continue
      return {
        unit,
        conflicts: (access) =>
          (unit.reservedBy !== undefined && unit.reservedBy !== known.id) ||
          unit.reservations.conflicts(known.id, access),
      }
    }
    return undefined
  }

  #nexusOf(initiatorName: string): Nexus | undefined {
    return [...this.#sessions].find(({ nexus }) => nexus.initiatorName === initiatorName)?.nexus
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

  /** @param logoutMs time for the initiators to log out themselves, if any */
  async closeSessions(reason: string, logoutMs = 0): Promise<void> {
    await Promise.all([...this.#sessions].map((session) => session.close(reason, logoutMs)))
  }

  #lunsChanged(): void {
    for (const unit of this.#units.values()) unit.raiseAttention(Conditions.reportedLunsChanged)
  }
}

function checkAccess(access: TargetAccess): TargetAccess {
  if (access.chap) checkChap(access.chap)
  for (const initiator of access.initiators === 'any' ? [] : access.initiators) {
    if (typeof initiator !== 'string') checkChap(initiator.chap)
  }
  return access
}

function initiatorsOf(access: TargetAccess): ReadonlyMap<string, Chap | undefined> | 'any' {
  if (access.initiators === 'any') return 'any'
  return new Map(
    access.initiators.map((initiator) =>
      typeof initiator === 'string'
        ? [initiator.toLowerCase(), undefined]
        : [initiator.name.toLowerCase(), initiator.chap],
    ),
  )
}
