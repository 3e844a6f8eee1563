import { messageOf } from './errors.ts'
import type { RequestRecord } from './http/server.ts'
import type { Repairs } from './reconcile.ts'

/** What a node has to say. Never holds a secret. */
export type EdfNodeEvent =
  | { readonly kind: 'request'; readonly request: RequestRecord }
  /** Something the node did wrong; the client has had a 500. */
  | { readonly kind: 'failure'; readonly during: string; readonly error: unknown }
  /** A copy of a volume failed, or could not be built; the others go on. */
  | { readonly kind: 'replica'; readonly during: string; readonly error: unknown }
  /** The last run did not end cleanly; this was put right. */
  | { readonly kind: 'repaired'; readonly repairs: Repairs }

/** What a node without a listener does with its events: a line each on standard error. */
export function printEvent(event: EdfNodeEvent): void {
  process.stderr.write(`edf-node: ${lineOf(event)}\n`)
}

function lineOf(event: EdfNodeEvent): string {
  switch (event.kind) {
    case 'request': {
      const { method, url, status, elapsedMs, driver, tenant, message } = event.request
      const line = `${method} ${url} ${status} ${Math.round(elapsedMs)} ms`
      return [line, driver && `by ${driver}`, tenant && `in ${tenant}`, message].filter(Boolean).join(', ')
    }
    case 'failure':
    case 'replica':
      return `${event.during} failed: ${messageOf(event.error)}`
    case 'repaired': {
      const { removed, orphans, grown, restored, missing } = event.repairs
      const done = `removed ${removed} unfinished and ${orphans} unknown, grew ${grown}, restored ${restored}`
      const lost = missing.length === 0 ? '' : `; the data of ${missing.join(', ')} are missing`
      return `the last run did not end cleanly: ${done}${lost}`
    }
  }
}
