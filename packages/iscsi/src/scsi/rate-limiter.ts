/**
 * Limits of what a unit does in a second (QoS). Commands over a limit wait their turn, in the order in which they
 * came, reads and writes apart. Each limit is a schedule: a command takes the time that its share of the limit lasts,
 * and starts when that time is over. The schedule, not the clock, says when the next one is due, so that a late timer
 * costs no throughput.
 */

/** Most that a unit does in a second; what is left out has no limit. Whole numbers above 0. */
export interface RateLimits {
  /** Commands that read, those that write, and both together, whatever their size. */
  readonly readIops?: number | undefined
  readonly writeIops?: number | undefined
  readonly totalIops?: number | undefined
  /** Bytes. */
  readonly readBytesPerSecond?: number | undefined
  readonly writeBytesPerSecond?: number | undefined
  readonly totalBytesPerSecond?: number | undefined
}

export type Direction = 'read' | 'write'

/** A command that waits for its turn. */
export interface Ticket {
  /** It is not wanted any more; its `go` is never called. */
  cancel(): void
}

/** What an idle unit may do ahead of its schedule, milliseconds: the time a client takes to send the next command. */
const CREDIT_MS = 25
/** Lateness that is made up for, milliseconds. A process that stood still for longer does not catch up. */
const CATCH_UP_MS = 1000

interface Waiting {
  readonly direction: Direction
  readonly bytes: number
  /** `performance.now()`, less what the timer was late: a client that had to wait for it could not come earlier. */
  readonly arrivedAt: number
  readonly go: () => void
  /** When its turn is. Known for the first of a queue, which has its place in the schedules already. */
  readyAt: number
}

/** One of the six limits. */
class Schedule {
  readonly #msPerUnit: number
  readonly #unit: 'command' | 'byte'
  /** When everything that has a place in it has had its time. */
  #endsAt = Number.NEGATIVE_INFINITY

  constructor(perSecond: number, unit: 'command' | 'byte') {
    this.#msPerUnit = 1000 / perSecond
    this.#unit = unit
  }

  /** Gives a command its place. @returns when its time in this schedule is over: then it may start */
  place(waiting: Waiting, now: number): number {
    const cost = this.#msPerUnit * (this.#unit === 'command' ? 1 : waiting.bytes)
    this.#endsAt = Math.max(this.#endsAt, waiting.arrivedAt - CREDIT_MS, now - CATCH_UP_MS) + cost
    return this.#endsAt
  }

  /** Something has started at this moment: room that was not used before is not saved up. */
  started(at: number): void {
    this.#endsAt = Math.max(this.#endsAt, at - CREDIT_MS)
  }
}

export class RateLimiter {
  readonly #queues: Record<Direction, Waiting[]> = { read: [], write: [] }
  #schedules: Record<Direction, readonly Schedule[]>
  #timer: NodeJS.Timeout | undefined
  /** When the timer last let commands through, and how late it was; milliseconds. */
  #ranAt = Number.NEGATIVE_INFINITY
  #lateMs = 0

  /** @throws RangeError when a limit is not above 0 */
  constructor(limits: RateLimits) {
    this.#schedules = schedulesOf(limits)
  }

  /** New limits, for those that wait as well. @throws RangeError; nothing has changed then */
  change(limits: RateLimits): void {
    this.#schedules = schedulesOf(limits)
    for (const queue of [this.#queues.read, this.#queues.write]) if (queue[0]) this.#place(queue[0])
    this.#run()
  }

  /**
   * Asks for a command's turn.
   * @param go called later, when it has to wait
   * @returns undefined when it may start at once
   */
  ask(direction: Direction, bytes: number, go: () => void): Ticket | undefined {
    const now = performance.now()
    const arrivedAt = now - this.#ranAt < CREDIT_MS ? now - this.#lateMs : now
    const waiting: Waiting = { direction, bytes, arrivedAt, go, readyAt: Number.POSITIVE_INFINITY }
    const queue = this.#queues[direction]
    if (queue.length === 0) {
      this.#place(waiting)
      if (waiting.readyAt <= now) {
        this.#started(waiting)
        return undefined
      }
    }
    queue.push(waiting)
    if (queue.length === 1) this.#setTimer()
    return { cancel: () => this.#cancel(waiting) }
  }

  #place(waiting: Waiting): void {
    const now = performance.now()
    waiting.readyAt = Number.NEGATIVE_INFINITY
    for (const schedule of this.#schedules[waiting.direction]) {
      waiting.readyAt = Math.max(waiting.readyAt, schedule.place(waiting, now))
    }
  }

  #started(waiting: Waiting): void {
    for (const schedule of this.#schedules[waiting.direction]) schedule.started(waiting.readyAt)
  }

  #cancel(waiting: Waiting): void {
    const queue = this.#queues[waiting.direction]
    const index = queue.indexOf(waiting)
    if (index < 0) return
    queue.splice(index, 1)
    if (index === 0 && queue[0]) this.#place(queue[0])
    this.#setTimer()
  }

  /** Lets through what is due. */
  #run(): void {
    const now = performance.now()
    this.#ranAt = now
    this.#lateMs = Math.min(CATCH_UP_MS, Math.max(0, now - (this.#next()?.readyAt ?? now)))
    for (;;) {
      const next = this.#next()
      if (!next || next.readyAt > performance.now()) break
      const queue = this.#queues[next.direction]
      queue.shift()
      this.#started(next)
      if (queue[0]) this.#place(queue[0])
      next.go()
    }
    this.#setTimer()
  }

  #setTimer(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const next = this.#next()
    if (!next) return
    const ms = Math.max(1, Math.ceil(next.readyAt - performance.now()))
    this.#timer = setTimeout(() => this.#run(), ms).unref()
  }

  /** The first of the reads or the first of the writes: whichever is due earlier. */
  #next(): Waiting | undefined {
    const read = this.#queues.read[0]
    const write = this.#queues.write[0]
    if (!read || !write) return read ?? write
    return write.readyAt < read.readyAt ? write : read
  }
}

/** Whether there is any limit at all. @throws RangeError when one is not above 0 */
export function isLimited(limits: RateLimits | undefined): limits is RateLimits {
  if (limits === undefined) return false
  const { read, write } = schedulesOf(limits)
  return read.length + write.length > 0
}

function schedulesOf(limits: RateLimits): Record<Direction, readonly Schedule[]> {
  const make = (perSecond: number | undefined, unit: 'command' | 'byte'): Schedule[] => {
    if (perSecond === undefined) return []
    if (!(perSecond > 0) || !Number.isFinite(perSecond))
      throw new RangeError(`a limit of ${perSecond} per second`)
    return [new Schedule(perSecond, unit)]
  }
  const total = [...make(limits.totalIops, 'command'), ...make(limits.totalBytesPerSecond, 'byte')]
  return {
    read: [...make(limits.readIops, 'command'), ...make(limits.readBytesPerSecond, 'byte'), ...total],
    write: [...make(limits.writeIops, 'command'), ...make(limits.writeBytesPerSecond, 'byte'), ...total],
  }
}
