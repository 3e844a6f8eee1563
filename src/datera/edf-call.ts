import { randomUUID } from 'node:crypto'
import type { EdfCall } from '@emberglass/edf/client'
import type { Call } from '../kernel/call.ts'

/**
 * The client's call for one of ours: same signal, a trace id, and every exchange in the log.
 * @param debug the exchanges are worth the level `info`
 */
export function edfCallOf(call: Call, debug: boolean): EdfCall {
  const level = debug ? 'info' : 'debug'
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
