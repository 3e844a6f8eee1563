import { channel } from 'node:diagnostics_channel'

/** One request and its answer, secrets masked. Published for each attempt. */
export interface Exchange {
  /** Of the caller: the same for every exchange of one operation. */
  readonly traceId: string | undefined
  /** Of this attempt. */
  readonly requestId: string
  readonly method: string
  readonly url: string
  readonly tenant: string | undefined
  readonly payload: unknown
  /** Absent when no answer came. */
  readonly status: number | undefined
  readonly answer: unknown
  readonly seconds: number
  /** What went wrong instead of an answer. */
  readonly failure: string | undefined
}

/** What accompanies every call that can wait. */
export interface EdfCall {
  readonly signal: AbortSignal
  /** Appears in each exchange and error of the call. */
  readonly traceId?: string
  /** Told of each exchange of the call, for logs. */
  readonly onExchange?: (exchange: Exchange) => void
}

/** `node:diagnostics_channel` on which every exchange of every client is published. */
export const exchangeChannel = channel('emberglass:edf:exchange')

const secretKeys = new Set([
  'password',
  'target_pswd',
  'initiator_pswd',
  'auth_password',
  'auth_pass',
  'encr_pass',
  'secret_key',
  'access_key',
  'key',
  'auth-token',
])

/** A copy in which every secret reads `•••`. Long lists and texts are cut. */
export function masked(value: unknown, depth = 0): unknown {
  if (typeof value === 'string') return value.length > 2000 ? `${value.slice(0, 2000)}…` : value
  if (typeof value !== 'object' || value === null) return value
  if (depth > 8) return '…'
  if (Array.isArray(value)) {
    const shown = value.slice(0, 20).map((item) => masked(item, depth + 1))
    return value.length > 20 ? [...shown, `… ${value.length - 20} more`] : shown
  }
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [
      key,
      secretKeys.has(key.toLowerCase()) && item !== '' && item !== '(hidden)'
        ? '•••'
        : masked(item, depth + 1),
    ]),
  )
}

/** Tells who listens. Building the masked copy costs, so it happens only when somebody does. */
export function publishExchange(call: EdfCall, make: () => Exchange): void {
  if (call.onExchange === undefined && !exchangeChannel.hasSubscribers) return
  const exchange = make()
  call.onExchange?.(exchange)
  if (exchangeChannel.hasSubscribers) exchangeChannel.publish(exchange)
}
