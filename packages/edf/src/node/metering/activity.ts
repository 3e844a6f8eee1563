/**
 * What was done in some interval, in one direction. Latencies are counted in classes a quarter of an octave wide, so
 * that intervals and volumes can be added up and percentiles still come out right to within a tenth.
 */
export interface Activity {
  operations: number
  bytes: number
  /** Sum of all waiting, milliseconds. */
  waitedMs: number
  /** The longest single wait, milliseconds. */
  slowestMs: number
  /** Operations by latency class. */
  readonly latencies: Map<number, number>
}

export type Direction = 'read' | 'write'

const classesPerOctave = 4

export function noActivity(): Activity {
  return { operations: 0, bytes: 0, waitedMs: 0, slowestMs: 0, latencies: new Map() }
}

/** Counts one operation. */
export function count(activity: Activity, bytes: number, ms: number): void {
  activity.operations++
  activity.bytes += bytes
  activity.waitedMs += ms
  if (ms > activity.slowestMs) activity.slowestMs = ms
  const latencyClass = classOf(ms)
  activity.latencies.set(latencyClass, (activity.latencies.get(latencyClass) ?? 0) + 1)
}

/** Adds what was done elsewhere, or before. */
export function addTo(sum: Activity, more: Activity): void {
  sum.operations += more.operations
  sum.bytes += more.bytes
  sum.waitedMs += more.waitedMs
  sum.slowestMs = Math.max(sum.slowestMs, more.slowestMs)
  for (const [latencyClass, operations] of more.latencies) {
    sum.latencies.set(latencyClass, (sum.latencies.get(latencyClass) ?? 0) + operations)
  }
}

/** Both together, as a new one. */
export function sum(first: Activity, second: Activity): Activity {
  const both = noActivity()
  addTo(both, first)
  addTo(both, second)
  return both
}

/**
 * The latency that so many of the operations did not exceed, milliseconds; 0 without any.
 * @param share 0 to 1; 1 is the slowest, exactly
 */
export function percentile(activity: Activity, share: number): number {
  if (activity.operations === 0) return 0
  if (share >= 1) return activity.slowestMs
  const wanted = share * activity.operations
  let seen = 0
  for (const latencyClass of [...activity.latencies.keys()].sort((a, b) => a - b)) {
    seen += activity.latencies.get(latencyClass) ?? 0
    if (seen >= wanted) return Math.min(middleOf(latencyClass), activity.slowestMs)
  }
  return activity.slowestMs
}

/** Class 0 is everything below a microsecond. */
function classOf(ms: number): number {
  const microseconds = ms * 1000
  return microseconds < 1 ? 0 : Math.floor(Math.log2(microseconds) * classesPerOctave) + 1
}

/** Milliseconds in the (geometric) middle of a class. */
function middleOf(latencyClass: number): number {
  return latencyClass === 0 ? 0 : 2 ** ((latencyClass - 0.5) / classesPerOctave) / 1000
}
