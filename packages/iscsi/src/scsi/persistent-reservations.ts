/**
 * Persistent reservations: SPC-4 section 5.13. State and rules only; the commands that carry them are in
 * commands/persistent-reserve.ts. Kept in memory: APTPL is not reported as supported.
 */
import type { NexusId } from './nexus.ts'

export const ReservationType = {
  writeExclusive: 1,
  exclusiveAccess: 3,
  writeExclusiveRegistrantsOnly: 5,
  exclusiveAccessRegistrantsOnly: 6,
  writeExclusiveAllRegistrants: 7,
  exclusiveAccessAllRegistrants: 8,
} as const

const TYPES: ReadonlySet<number> = new Set(Object.values(ReservationType))

export function isReservationType(type: number): boolean {
  return TYPES.has(type)
}

/** Registrations one unit holds at most. */
export const MAX_REGISTRATIONS = 256

export interface Reservation {
  /** The registrant that reserved; for the all-registrants types each registrant holds it. */
  readonly holder: NexusId
  readonly type: number
}

export class PersistentReservations {
  /** PRGENERATION: counts changes of the registrations. */
  generation = 0
  reservation: Reservation | undefined
  /** Keys are 8 bytes, as 16 hex digits. */
  readonly registrations = new Map<NexusId, string>()

  get allRegistrants(): boolean {
    return (
      this.reservation !== undefined && this.reservation.type >= ReservationType.writeExclusiveAllRegistrants
    )
  }

  get registrantsOnly(): boolean {
    return (
      this.reservation?.type === ReservationType.writeExclusiveRegistrantsOnly ||
      this.reservation?.type === ReservationType.exclusiveAccessRegistrantsOnly
    )
  }

  isHolder(nexus: NexusId): boolean {
    if (!this.reservation) return false
    return this.allRegistrants ? this.registrations.has(nexus) : this.reservation.holder === nexus
  }

  /**
   * Whether a command conflicts (SPC-4 table 65 and SBC-3 table 16).
   * @param access what the command does: `read` passes a write-exclusive reservation, `always` any
   */
  conflicts(nexus: NexusId, access: 'always' | 'read' | 'write'): boolean {
    const reservation = this.reservation
    if (!reservation || access === 'always' || this.isHolder(nexus)) return false
    if (this.registrantsOnly && this.registrations.has(nexus)) return false
    const writeExclusive =
      reservation.type === ReservationType.writeExclusive ||
      reservation.type === ReservationType.writeExclusiveRegistrantsOnly ||
      reservation.type === ReservationType.writeExclusiveAllRegistrants
    return !(writeExclusive && access === 'read')
  }

  /**
   * Takes a registration away. A reservation that this leaves without a holder ends.
   * @returns whether it ended and other registrants of a registrants-only type have to be told
   */
  unregister(nexus: NexusId): { released: boolean; tellOthers: boolean } {
    const held = this.isHolder(nexus)
    const wasAll = this.allRegistrants
    const tellOthers = this.registrantsOnly
    this.registrations.delete(nexus)
    if (!held || (wasAll && this.registrations.size > 0)) return { released: false, tellOthers: false }
    this.reservation = undefined
    return { released: true, tellOthers: tellOthers || wasAll }
  }
}
