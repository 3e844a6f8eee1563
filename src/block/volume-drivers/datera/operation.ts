import type { ConnectedArray, EdfCall, EdfScope } from '@emberglass/edf/client'
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

/** How long cleaning up after a failure may take. */
const cleaningLimitMs = 60_000

/** For cleaning up: the same operation, but not stopped by what stopped it. */
export function whenCleaning(operation: Operation): Operation {
  return { ...operation, edf: { ...operation.edf, signal: AbortSignal.timeout(cleaningLimitMs) } }
}
