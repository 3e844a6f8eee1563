import type { SnapshotInterval } from '../schemas/snapshot-policy.ts'

const minuteMs = 60_000

const fixedMs: Readonly<Partial<Record<string, number>>> = {
  '1min': minuteMs,
  '2min': 2 * minuteMs,
  '15min': 15 * minuteMs,
  '1hour': 60 * minuteMs,
  '1day': 24 * 60 * minuteMs,
  '1week': 7 * 24 * 60 * minuteMs,
} satisfies Partial<Record<SnapshotInterval, number>>

const months: Readonly<Partial<Record<string, number>>> = {
  '1month': 1,
  '1year': 12,
} satisfies Partial<Record<SnapshotInterval, number>>

/**
 * The first instant after `after` at which a policy takes a snapshot: its start, and then every interval. Months and
 * years are those of the calendar (UTC); the 31st of a shorter month is its last day.
 * @param start UNIX milliseconds, as are `after` and the result
 */
export function nextRun(start: number, interval: string, after: number): number {
  if (start > after) return start
  const step = fixedMs[interval]
  if (step !== undefined) return start + (Math.floor((after - start) / step) + 1) * step
  const stepMonths = months[interval] ?? 1
  const elapsed = monthsBetween(new Date(start), new Date(after))
  for (let index = Math.floor(elapsed / stepMonths); ; index++) {
    const instant = addMonths(new Date(start), index * stepMonths)
    if (instant > after) return instant
  }
}

function monthsBetween(start: Date, end: Date): number {
  return (end.getUTCFullYear() - start.getUTCFullYear()) * 12 + end.getUTCMonth() - start.getUTCMonth()
}

function addMonths(start: Date, count: number): number {
  const month = start.getUTCMonth() + count
  const lastDay = new Date(Date.UTC(start.getUTCFullYear(), month + 1, 0)).getUTCDate()
  const result = new Date(start)
  result.setUTCFullYear(start.getUTCFullYear(), month, Math.min(start.getUTCDate(), lastDay))
  return result.getTime()
}
