import type { TestArray } from '../../../../packages/edf/src/client/array.test-support.ts'
import { Secret } from '../../../kernel/secret.ts'
import { type DateraStoreSettings, dateraStoreOptions } from './options.ts'
import { DateraStore } from './store.ts'

/** Settings that reach a test's array through its proxy, with quick retries. */
export function settingsFor(
  array: TestArray,
  changes: Partial<DateraStoreSettings> = {},
): DateraStoreSettings {
  const defaults = Object.entries(dateraStoreOptions).map(([key, option]) => [key, option.default])
  return {
    // Sound: the options have exactly the properties of the settings, each with a default of its type.
    ...(Object.fromEntries(defaults) as DateraStoreSettings),
    host: '127.0.0.1',
    apiPort: array.proxy.port,
    useSsl: false,
    login: array.node.login,
    password: new Secret(array.node.password),
    replicaCount: 1,
    ...changes,
  }
}

/** A store on a test's array; not started. */
export function storeOn(array: TestArray, changes: Partial<DateraStoreSettings> = {}): DateraStore {
  return new DateraStore(settingsFor(array, changes), 'iqn.2026-01.org.emberglass:test-images')
}
