import { cpus } from 'node:os'
import { type Activity, addTo, count, type Direction, noActivity } from './activity.ts'

/** How often a point is added to the history, milliseconds. */
const intervalMs = 10_000
/** An hour of history. */
const keptIntervals = 360
/** Volumes times intervals with traffic: bounds the memory of the history to some 20 MB. */
const keptEntries = 20_000
/** The newest point tells of at least this much time, milliseconds, as soon as the node runs that long. */
const shortestMs = 5000

/** Both directions of one interval. Times are UNIX milliseconds. */
export interface Interval {
  readonly startedAt: number
  readonly endedAt: number
  readonly read: Activity
  readonly write: Activity
}

/** An interval, and the sums since the node started up to its end. */
export interface Point extends Interval {
  readonly totalRead: Activity
  readonly totalWrite: Activity
}

interface Closed {
  readonly startedAt: number
  readonly endedAt: number
  /** Percent of all processors. */
  readonly cpuUsage: number
  /** Only volumes with traffic. */
  readonly volumes: ReadonlyMap<string, { readonly read: Activity; readonly write: Activity }>
}

/** What one volume does. */
export class VolumeMeter {
  readonly total: Readonly<Record<Direction, Activity>> = { read: noActivity(), write: noActivity() }
  #recent: Record<Direction, Activity> | undefined

  /** One operation that has succeeded. */
  count(direction: Direction, bytes: number, ms: number): void {
    this.#recent ??= { read: noActivity(), write: noActivity() }
    count(this.#recent[direction], bytes, ms)
    count(this.total[direction], bytes, ms)
  }

  /** Since the last `take`; undefined when nothing was done. */
  peek(): Readonly<Record<Direction, Activity>> | undefined {
    return this.#recent
  }

  take(): Readonly<Record<Direction, Activity>> | undefined {
    const recent = this.#recent
    this.#recent = undefined
    return recent
  }
}

/** Counts what volumes do, and keeps an hour of it. Counting starts anew with the process. */
export class Meters {
  readonly #volumes = new Map<string, VolumeMeter>()
  readonly #now: () => number
  #history: Closed[] = []
  #openedAt: number
  #cpu = cpuTimes()
  #timer: NodeJS.Timeout | undefined

  constructor(now: () => number = Date.now) {
    this.#now = now
    this.#openedAt = now()
  }

  start(): void {
    this.#timer ??= setInterval(() => this.closeInterval(), intervalMs).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** The meter of a volume, made when it is first asked for. */
  of(storeId: string): VolumeMeter {
    let meter = this.#volumes.get(storeId)
    if (meter === undefined) {
      meter = new VolumeMeter()
      this.#volumes.set(storeId, meter)
    }
    return meter
  }

  /** The volume is gone for good. */
  forget(storeId: string): void {
    this.#volumes.delete(storeId)
  }

  /** Ends the interval that is open, and begins the next one. */
  closeInterval(): void {
    const endedAt = this.#now()
    const volumes = new Map<string, Readonly<Record<Direction, Activity>>>()
    for (const [storeId, meter] of this.#volumes) {
      const done = meter.take()
      if (done !== undefined) volumes.set(storeId, done)
    }
    const before = this.#cpu
    this.#cpu = cpuTimes()
    this.#history.push({
      startedAt: this.#openedAt,
      endedAt,
      cpuUsage: usageBetween(before, this.#cpu),
      volumes,
    })
    this.#openedAt = endedAt
    let entries = this.#history.reduce((sum, interval) => sum + interval.volumes.size, 0)
    while (this.#history.length > keptIntervals || (entries > keptEntries && this.#history.length > 1)) {
      entries -= this.#history.shift()?.volumes.size ?? 0
    }
  }

  /** What some volumes did together: one point for each interval of the history, and the open one. Oldest first. */
  points(storeIds: readonly string[]): Point[] {
    const { read: totalRead, write: totalWrite } = this.#totals(storeIds)
    const open = { startedAt: this.#openedAt, endedAt: this.#now(), ...this.#open(storeIds) }
    const wanted = new Set(storeIds)
    const points: Point[] = [{ ...open, totalRead, totalWrite }]
    for (const interval of this.#history.toReversed()) {
      const after = points[0]
      if (after === undefined) break
      points.unshift({
        startedAt: interval.startedAt,
        endedAt: interval.endedAt,
        ...sumWithin(interval, wanted),
        totalRead: without(after.totalRead, after.read),
        totalWrite: without(after.totalWrite, after.write),
      })
    }
    return points
  }

  /** The open interval, together with the one before it while it is short. */
  latest(storeIds: readonly string[]): Point {
    const { read: totalRead, write: totalWrite } = this.#totals(storeIds)
    const endedAt = this.#now()
    const open = this.#open(storeIds)
    const last = this.#history.at(-1)
    if (last === undefined || endedAt - this.#openedAt >= shortestMs) {
      return { startedAt: this.#openedAt, endedAt, ...open, totalRead, totalWrite }
    }
    const before = sumWithin(last, new Set(storeIds))
    addTo(open.read, before.read)
    addTo(open.write, before.write)
    return { startedAt: last.startedAt, endedAt, ...open, totalRead, totalWrite }
  }

  /** Load of the processors, percent, oldest first; the last one is of the open interval. */
  cpuUsage(): { readonly endedAt: number; readonly percent: number }[] {
    return [
      ...this.#history.map(({ endedAt, cpuUsage }) => ({ endedAt, percent: cpuUsage })),
      { endedAt: this.#now(), percent: usageBetween(this.#cpu, cpuTimes()) },
    ]
  }

  #open(storeIds: readonly string[]) {
    return sumOf(storeIds, (storeId) => this.#volumes.get(storeId)?.peek())
  }

  #totals(storeIds: readonly string[]) {
    return sumOf(storeIds, (storeId) => this.#volumes.get(storeId)?.total)
  }
}

/** Walks the volumes with traffic, not all that are asked for: there are few of them in an interval. */
function sumWithin({ volumes }: Closed, wanted: ReadonlySet<string>) {
  return sumOf(
    [...volumes.keys()].filter((storeId) => wanted.has(storeId)),
    (storeId) => volumes.get(storeId),
  )
}

function sumOf(
  storeIds: readonly string[],
  activityOf: (storeId: string) => Readonly<Record<Direction, Activity>> | undefined,
): { read: Activity; write: Activity } {
  const sum = { read: noActivity(), write: noActivity() }
  for (const storeId of storeIds) {
    const more = activityOf(storeId)
    if (more === undefined) continue
    addTo(sum.read, more.read)
    addTo(sum.write, more.write)
  }
  return sum
}

/** Sums before an interval; they hold no latencies. */
function without(total: Activity, done: Activity): Activity {
  return {
    ...noActivity(),
    operations: total.operations - done.operations,
    bytes: total.bytes - done.bytes,
    waitedMs: total.waitedMs - done.waitedMs,
  }
}

interface CpuTimes {
  readonly idle: number
  readonly all: number
}

function cpuTimes(): CpuTimes {
  let idle = 0
  let all = 0
  for (const { times } of cpus()) {
    idle += times.idle
    all += times.user + times.nice + times.sys + times.idle + times.irq
  }
  return { idle, all }
}

function usageBetween(before: CpuTimes, after: CpuTimes): number {
  const all = after.all - before.all
  return all <= 0 ? 0 : Math.round((1 - (after.idle - before.idle) / all) * 1000) / 10
}
