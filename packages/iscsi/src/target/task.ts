/** One SCSI command under way in a session. */
import type { Plan } from '../scsi/command-table.ts'
import type { LogicalUnit } from '../scsi/logical-unit.ts'
import type { Ticket } from '../scsi/rate-limiter.ts'

export class Task {
  readonly initiatorTaskTag: number
  readonly lun: number
  readonly unit: LogicalUnit | undefined
  readonly immediate: boolean
  /** Bytes the initiator expects to send. */
  readonly expectedOut: number
  /** Bytes the initiator expects to receive. */
  readonly expectedIn: number
  plan: Plan = { kind: 'done' }

  /** Data-Out: holds the command's bytes from `bufferStart`; from the pool. */
  buffer: Buffer | undefined
  bufferStart = 0
  /** Bytes of the command's data that have arrived, all in order. */
  received = 0
  /** Bytes of the command's data that are wanted. */
  wanted = 0
  /** Where the sequence that is arriving ends; 0 when none is. */
  sequenceEnd = 0
  targetTransferTag = 0
  nextDataSn = 0
  r2tSn = 0
  /** Bytes that the R2T under way has asked for. */
  solicited = 0

  /** Data-In: bytes sent, of `total`. */
  sent = 0
  total = 0
  dataSn = 0
  /** Answered from memory instead of the device. */
  inData: Buffer | undefined

  aborted = false
  /** Set while the unit's limits hold the task back. */
  ticket: Ticket | undefined
  #whenInTurn: (() => void) | undefined
  /** Work at the device that has not come back. */
  busy = 0
  #whenIdle: (() => void)[] = []

  constructor(fields: {
    initiatorTaskTag: number
    lun: number
    unit: LogicalUnit | undefined
    immediate: boolean
    expectedOut: number
    expectedIn: number
  }) {
    this.initiatorTaskTag = fields.initiatorTaskTag
    this.lun = fields.lun
    this.unit = fields.unit
    this.immediate = fields.immediate
    this.expectedOut = fields.expectedOut
    this.expectedIn = fields.expectedIn
  }

  /** Goes on at once, or when the unit's limits let the task begin. */
  inTurn(goOn: () => void): void {
    if (this.ticket) this.#whenInTurn = goOn
    else goOn()
  }

  takeTurn(): void {
    this.ticket = undefined
    const goOn = this.#whenInTurn
    this.#whenInTurn = undefined
    goOn?.()
  }

  /** The task ends: it waits for no turn any more. */
  leaveQueue(): void {
    this.ticket?.cancel()
    this.ticket = undefined
    this.#whenInTurn = undefined
  }

  abort(): void {
    this.aborted = true
    this.leaveQueue()
  }

  /** Resolves when nothing of this task is at the device any more; undefined when that is so already. */
  idle(): Promise<void> | undefined {
    if (this.busy === 0) return undefined
    return new Promise((resolve) => this.#whenIdle.push(resolve))
  }

  begin(): void {
    this.busy += 1
  }

  end(): void {
    this.busy -= 1
    if (this.busy === 0) for (const wake of this.#whenIdle.splice(0)) wake()
  }
}
