import { randomUUID } from 'node:crypto'
import type { ConnectedArray, EdfCall, EdfScope } from '@emberglass/edf/client'
import type { Call } from '../../../kernel/call.ts'
import type { Logger } from '../../../kernel/log.ts'
import type { VolumeBackend } from '../../volume-driver.ts'
import type { DateraSettings } from './options.ts'
import type { CheckedSettings } from './settings.ts'

/** What every verb works with, for the length of one call. */
export interface Operation {
  readonly settings: DateraSettings
  readonly checked: CheckedSettings
  readonly backend: VolumeBackend
  readonly array: ConnectedArray
  /** Carries the signal and the trace id to the client. */
  readonly edf: EdfCall
  readonly log: Logger
}

/** The array as seen by one tenant. */
export function scopeOf(operation: Operation, tenant: string | undefined): EdfScope {
  return operation.array.client.in(tenant)
}

/** The client's call for one of ours: same signal, a trace id, and every exchange in the log. */
export function edfCallOf(call: Call, settings: DateraSettings): EdfCall {
  const level = settings.debug ? 'info' : 'debug'
  if (!call.log.isLevelEnabled(level)) return { signal: call.signal, traceId: randomUUID() }
  return {
    signal: call.signal,
    traceId: randomUUID(),
    onExchange: (exchange) => {
      const { traceId, requestId, seconds, method, url, tenant, payload, status, answer, failure } = exchange
      call.log[level](
        { trace_id: traceId, request_id: requestId, delta_s: seconds, method, url, tenant, payload },
        'request to the array',
      )
      call.log[level](
        { trace_id: traceId, request_id: requestId, delta_s: seconds, status, answer, failure },
        'answer of the array',
      )
    },
  }
}

/** How long cleaning up after a failure may take. */
const cleaningLimitMs = 60_000

/** For cleaning up: the same operation, but not stopped by what stopped it. */
export function whenCleaning(operation: Operation): Operation {
  return { ...operation, edf: { ...operation.edf, signal: AbortSignal.timeout(cleaningLimitMs) } }
}
