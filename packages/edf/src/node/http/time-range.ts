import { validationFailed } from '../errors.ts'

/** UNIX milliseconds; without bounds 0 and infinity. */
export interface TimeRange {
  readonly from: number
  readonly to: number
}

/**
 * `since`, or `from` and `to`, as metrics and events take them.
 * @param parameter value of a parameter, undefined when it was not given
 * @throws ApiError 422
 */
export function timeRange(parameter: (name: string) => string | undefined): TimeRange {
  const since = parameter('since')
  const from = parameter('from')
  const to = parameter('to')
  const sinceMs = since === undefined ? 0 : Date.now() - durationMs('since', since)
  return {
    from: from === undefined ? sinceMs : instantMs('from', from),
    to: to === undefined ? Number.POSITIVE_INFINITY : instantMs('to', to),
  }
}

const unitMs: Readonly<Record<string, number>> = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000 }

/** `1d2h`, `3m22s`; bare numbers are seconds. @throws ApiError 422 */
export function durationMs(name: string, text: string): number {
  if (/^\d+$/.test(text)) return Number(text) * 1000
  if (!/^(?:\d+[dhms])+$/.test(text))
    throw validationFailed(`${name} has to be a duration like 1d2h or 3m22s`)
  let sum = 0
  for (const [, amount, unit = 's'] of text.matchAll(/(\d+)([dhms])/g)) {
    sum += Number(amount) * (unitMs[unit] ?? 0)
  }
  return sum
}

/** From here on a UNIX time is one in milliseconds, like those of metrics: in seconds it would be the year 5138. */
const firstMilliseconds = 1e11

/** UNIX seconds or milliseconds, or ISO 8601. @throws ApiError 422 */
function instantMs(name: string, text: string): number {
  const count = Number(text)
  const isCount = /^\d+(\.\d+)?$/.test(text)
  const ms = isCount ? (count < firstMilliseconds ? count * 1000 : count) : Date.parse(text)
  if (Number.isNaN(ms)) throw validationFailed(`${name} has to be a UNIX time or an ISO 8601 one`)
  return ms
}
