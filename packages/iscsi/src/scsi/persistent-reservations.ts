/**
 * Persistent reservations: SPC-4 section 5.13. State and rules only; the commands that carry them are in
 * commands/persistent-reserve.ts. With a store they outlive the process when an initiator asks for it (APTPL).
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

/** Where a unit's persistent reservations are kept over restarts. */
export interface ReservationStore {
  /** What was saved last; undefined: nothing yet. Looked at when the LUN is added. */
  readonly saved: string | undefined
  /** Resolves when `state` would survive a power loss. Never called again before it has. */
  save(state: string): Promise<void>
}

/** What is saved, as JSON. */
interface Saved {
  readonly registrations: readonly (readonly [NexusId, string])[]
  readonly reservation?: Reservation
}

export class PersistentReservations {
  /** PRGENERATION: counts changes of the registrations. */
  generation = 0
  reservation: Reservation | undefined
  /** Keys are 8 bytes, as 16 hex digits. */
  readonly registrations = new Map<NexusId, string>()
  /** The last REGISTER asked for the state to be kept (APTPL). */
  kept = false
  readonly #store: ReservationStore | undefined
  #saving: Promise<void> = Promise.resolve()

  /** @throws SyntaxError when what was saved is no such state */
  constructor(store?: ReservationStore) {
    this.#store = store
    if (store?.saved === undefined) return
    const { registrations, reservation }: Saved = JSON.parse(store.saved)
    for (const [nexus, key] of registrations) this.registrations.set(nexus, key)
    this.reservation = reservation
    this.kept = registrations.length > 0
  }

  /** Whether the state can be kept over restarts. */
  get canBeKept(): boolean {
    return this.#store !== undefined
  }

  /**
   * Runs a change. Where the state is kept, or was until now, it resolves when the new one is stored; when that fails
   * nothing has changed.
   */
  async change<Result>(work: () => Result): Promise<Result> {
    const { generation, reservation, kept } = this
    const registrations = [...this.registrations]
    const result = work()
    if (!this.#store || !(kept || this.kept)) return result
    try {
      await this.#save(this.#store)
    } catch (error) {
      this.generation = generation
      this.reservation = reservation
      this.kept = kept
      this.registrations.clear()
      for (const [nexus, key] of registrations) this.registrations.set(nexus, key)
      throw error
    }
    return result
  }

  /** One after the other; each saves what holds when its turn comes. */
  #save(store: ReservationStore): Promise<void> {
    const turn = this.#saving.then(() => {
      const state: Saved = {
        registrations: this.kept ? [...this.registrations] : [],
        ...(this.kept && this.reservation ? { reservation: this.reservation } : {}),
      }
      return store.save(JSON.stringify(state))
    })
    this.#saving = turn.catch(() => {})
    return turn
  }

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
