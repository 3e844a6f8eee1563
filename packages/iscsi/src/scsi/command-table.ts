/** What a command is: its bytes, its rules, and how it becomes work. The tables are in commands/. */
import type { Cancel } from '../block-device.ts'
import type { AccessStateName } from './access-state.ts'
import type { UnitDesignator } from './copy-parameters.ts'
import type { LogicalUnit } from './logical-unit.ts'
import type { Nexus, NexusId } from './nexus.ts'
import type { Direction } from './rate-limiter.ts'

/** What a unit's commands may know of the target they are on, and of the portal group they came in at. */
export interface UnitHost {
  readonly targetName: string
  readonly targetAlias: string | undefined
  readonly portalGroupTag: number
  /** The state of that group. */
  readonly accessState: AccessStateName
  /** All groups of the target, ascending. */
  portalGroups(): readonly { readonly tag: number; readonly state: AccessStateName }[]
  /** Ends what these nexuses have under way at a unit; resolves when none of it is at the device. */
  abortTasks(unit: LogicalUnit, nexuses: ReadonlySet<NexusId>): Promise<void>
  /** Numbers of all LUNs, ascending. */
  lunNumbers(): readonly number[]
  /** The unit that carries a name of page 83, on this target or on another that the initiator is logged in to. */
  unitNamed(name: UnitDesignator, nexus: Nexus): UnitAccess | undefined
}

/** A unit, and what reservations let a certain initiator do with it. */
export interface UnitAccess {
  readonly unit: LogicalUnit
  conflicts(access: 'read' | 'write'): boolean
}

export interface CommandContext {
  readonly unit: LogicalUnit
  readonly nexus: Nexus
  readonly host: UnitHost
  /** 16 bytes. */
  readonly cdb: Buffer
  /** Bytes that the initiator is going to send. */
  readonly dataOutLength: number
}

export interface Outcome {
  /** GOOD when left out. */
  readonly status?: number
  /** Data-In, before truncation to the allocation length and the expected length. */
  readonly data?: Buffer
}

/** What a command turned out to want. Bytes throughout. */
export type Plan =
  /** Answered at once. */
  | ({ readonly kind: 'done' } & Outcome)
  /** Data-In straight from the device; what is cached is flushed first when `durable`. */
  | { readonly kind: 'read'; readonly offset: number; readonly length: number; readonly durable: boolean }
  /** Data-Out straight to the device, in any number of pieces; then flushed when `durable`. */
  | { readonly kind: 'write'; readonly offset: number; readonly length: number; readonly durable: boolean }
  /** Data-Out that is needed whole before anything can be done. */
  | {
      readonly kind: 'collect'
      readonly length: number
      readonly charge?: Charge
      readonly run: (data: Buffer, cancel: Cancel) => Outcome | Promise<Outcome>
    }
  /** Work that takes time and needs no Data-Out. */
  | { readonly kind: 'run'; readonly charge?: Charge; readonly run: (cancel: Cancel) => Promise<Outcome> }

/** What a command takes of its unit's limits. Bytes that it moves at the device. */
export interface Charge {
  readonly direction: Direction
  readonly bytes: number
}

/** Undefined for commands that leave the medium alone. */
export function chargeOf(plan: Plan): Charge | undefined {
  switch (plan.kind) {
    case 'read':
    case 'write':
      return { direction: plan.kind, bytes: plan.length }
    case 'collect':
    case 'run':
      return plan.charge
    default:
      return undefined
  }
}

export interface CommandDefinition {
  readonly name: string
  readonly operationCode: number
  readonly serviceAction?: number
  /**
   * CDB usage data for REPORT SUPPORTED OPERATION CODES, as hex digits: the operation code, then a mask of the bits
   * that are looked at. Its length is that of the command block.
   */
  readonly usage: string
  /** What a reservation of somebody else thinks of it. */
  readonly access: 'always' | 'read' | 'write'
  /** Changes the medium: refused when the unit is write protected. */
  readonly writes?: boolean
  /** False where the unit cannot do it: then it does not exist for an initiator. */
  readonly supported?: (unit: LogicalUnit) => boolean
  /** Runs in the face of a unit attention, and a RESERVE of somebody else. */
  readonly unconditional?: boolean
  /** Runs also at a port that is on standby or unavailable. */
  readonly inEveryState?: boolean
  /** @throws ScsiError to end the command with CHECK CONDITION */
  readonly plan: (context: CommandContext) => Plan
}

export const GOOD: Outcome = {}

/** An answer cut to the allocation length. */
export function answer(data: Buffer, allocationLength: number): Plan {
  return { kind: 'done', data: data.subarray(0, allocationLength) }
}
