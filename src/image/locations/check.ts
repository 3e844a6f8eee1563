import { createHash } from 'node:crypto'
import type { Call } from '../../kernel/call.ts'
import { Conflict, Invalid, messageOf, NotFound } from '../../kernel/errors.ts'
import type { Environment } from '../environment.ts'
import { withoutSecrets } from '../import/address-filter.ts'
import type { ConfiguredStore } from '../store-registry.ts'

/** Schemes that no client may name: they would read what lies on this machine, or with somebody's credentials. */
const forbiddenSchemes: ReadonlySet<string> = new Set(['file', 'filesystem', 'swift+config'])

/** What a client says of the data at a location. */
export interface ValidationData {
  readonly algorithm: string
  readonly value: string
  readonly checksum: string | undefined
}

/** A location that may be added: where it lies, in which store, and how long its data is. */
export interface CheckedLocation {
  readonly url: string
  readonly metadata: Readonly<Record<string, unknown>>
  readonly sizeBytes: number
}

/**
 * Finds the store that can read a location.
 * @throws Invalid when there is none, or clients may not name such locations
 * @see image-api specification 2.6
 */
export function storeOfUrl(environment: Environment, url: string, named: unknown): ConfiguredStore {
  const scheme = url.split(':', 1)[0] ?? ''
  const { stores } = environment
  const found = stores.ofLocation({ url, storeId: typeof named === 'string' ? named : undefined })
  if (forbiddenSchemes.has(scheme) || found === undefined || !found.schemes.includes(scheme)) {
    throw new Invalid(`Invalid location: ${withoutSecrets(url)}`)
  }
  return found
}

/** @throws Invalid when the data is not there, or its length is not known */
export async function checkLocation(
  environment: Environment,
  location: { readonly url: string; readonly metadata: Readonly<Record<string, unknown>> },
  call: Call,
): Promise<CheckedLocation> {
  const { url } = location
  const configured = storeOfUrl(environment, url, location.metadata['store'])
  let sizeBytes: number
  try {
    const store = await environment.stores.ready(configured, call.signal)
    sizeBytes = await store.size(url, call)
  } catch (error) {
    call.signal.throwIfAborted()
    call.log.info({ url: withoutSecrets(url), error: messageOf(error) }, 'a location cannot be read')
    const why = error instanceof NotFound ? 'there is no data' : 'it cannot be read'
    throw new Invalid(`Invalid location: ${why} at ${withoutSecrets(url)}`, { cause: error })
  }
  if (!(sizeBytes > 0)) {
    throw new Invalid(`Invalid location: the size of the data at ${withoutSecrets(url)} is not known`)
  }
  const metadata = environment.stores.multiStore
    ? { ...location.metadata, store: configured.id }
    : location.metadata
  return { url, metadata, sizeBytes }
}

/** Digits of a digest. @returns undefined for an algorithm that does not exist */
export function digestDigits(algorithm: string): number | undefined {
  try {
    return createHash(algorithm).digest().byteLength * 2
  } catch {
    return undefined
  }
}

/**
 * Compares what a client says of the data with the configuration and with what is known of the image.
 * @throws Conflict for every disagreement
 */
export function checkValidation(
  environment: Environment,
  image: {
    readonly status: string
    readonly checksum: string | null
    readonly os_hash_algo: string | null
    readonly os_hash_value: string | null
  },
  given: ValidationData,
): void {
  const { hashingAlgorithm } = environment.settings
  if (given.algorithm !== hashingAlgorithm) {
    throw new Conflict(`os_hash_algo must be ${hashingAlgorithm}, not ${given.algorithm}`)
  }
  if (!/^[0-9a-f]+$/i.test(given.value) || given.value.length !== digestDigits(given.algorithm)) {
    throw new Conflict(`os_hash_value is not the hexadecimal value of a ${given.algorithm} hash`)
  }
  if (given.checksum !== undefined && !/^[0-9a-f]{32}$/i.test(given.checksum)) {
    throw new Conflict('checksum is not the hexadecimal value of an MD5 hash')
  }
  const known = [
    [image.os_hash_algo, given.algorithm],
    [image.os_hash_value, given.value],
    [image.checksum, given.checksum],
  ] as const
  const isKnown = image.os_hash_value !== null || image.checksum !== null
  if (image.status !== 'queued' && !isKnown) {
    throw new Conflict('validation_data can only be given while the image is queued')
  }
  for (const [present, said] of known) {
    if (present !== null && said !== undefined && present !== said) {
      throw new Conflict('validation_data does not agree with what is known of the image')
    }
  }
}
