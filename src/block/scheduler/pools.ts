import { GiB } from '../../kernel/bytes.ts'
import { satisfies } from './extra-spec.ts'

/** A pool as the scheduler sees it: plain values. Sizes are bytes. */
export interface Candidate {
  /** `host@backend#pool`. */
  readonly host: string
  readonly availabilityZone: string
  readonly totalBytes: number
  readonly freeBytes: number
  /** What the volumes on it may grow to. */
  readonly provisionedBytes: number
  readonly reservedPercentage: number
  readonly overSubscriptionRatio: number
  /** Everything that extra specs may ask for. */
  readonly capabilities: Readonly<Record<string, unknown>>
}

/** What is to be placed. */
export interface Placement {
  readonly sizeBytes: number
  readonly availabilityZone: string | undefined
  readonly extraSpecs: Readonly<Record<string, string>>
  /** Of the type, as filter and goodness functions may look at them. */
  readonly qosSpecs?: Readonly<Record<string, string>>
  /** More of the volume that filter and goodness functions may look at. */
  readonly volume?: Readonly<Record<string, unknown>>
  /** Hosts that have failed already. */
  readonly excluded?: readonly string[]
  /** The backend it has to be on, `host@backend`: that of its source. */
  readonly onBackend?: string | undefined
  readonly hints?: SchedulerHints
}

/** What the user wishes, resolved: backends are `host@backend`. */
export interface SchedulerHints {
  readonly sameHost?: readonly string[] | undefined
  readonly differentHost?: readonly string[] | undefined
  /** UUID of a server. */
  readonly localToInstance?: string | undefined
  /** For the JsonFilter. */
  readonly query?: string | undefined
}

/** `host@backend` of `host@backend#pool`. */
export function backendOf(host: string): string {
  return host.split('#', 1)[0] ?? host
}

export function isInZone(pool: Candidate, { availabilityZone }: Placement): boolean {
  return availabilityZone === undefined || pool.availabilityZone === availabilityZone
}

/** Keys that say something else than a capability. */
const otherScopes = /^(?!capabilities:)[^:]+:/

export function hasCapabilities(
  pool: Pick<Candidate, 'capabilities'>,
  extraSpecs: Readonly<Record<string, string>>,
): boolean {
  return Object.entries(extraSpecs).every(([key, demand]) => {
    if (otherScopes.test(key)) return true
    let value: unknown = pool.capabilities
    for (const part of key.replace(/^capabilities:/, '').split(':')) {
      value =
        typeof value === 'object' && value !== null && Object.hasOwn(value, part)
          ? (value as Record<string, unknown>)[part] // it has the key: checked on the line above
          : undefined
    }
    return satisfies(value, demand)
  })
}

function isThin(pool: Candidate, extraSpecs: Readonly<Record<string, string>>): boolean {
  const supported = pool.capabilities['thin_provisioning_support']
  return (supported === true || supported === 'True') && extraSpecs['provisioning:type'] !== 'thick'
}

function usableBytes(pool: Candidate): number {
  return pool.totalBytes - Math.floor((pool.totalBytes * pool.reservedPercentage) / 100)
}

/** Bytes that can still be promised. */
export function virtualFreeBytes(pool: Candidate, extraSpecs: Readonly<Record<string, string>>): number {
  if (isThin(pool, extraSpecs)) return usableBytes(pool) * pool.overSubscriptionRatio - pool.provisionedBytes
  return Math.min(pool.freeBytes, usableBytes(pool) - pool.provisionedBytes)
}

/** Whether a pool has room. One that does not know its size has, unless a share of it is to be kept free. */
export function hasCapacity(pool: Candidate, { sizeBytes, extraSpecs }: Placement): boolean {
  if (sizeBytes === 0) return true
  if (!Number.isFinite(pool.totalBytes)) return pool.reservedPercentage === 0
  return pool.totalBytes > 0 && virtualFreeBytes(pool, extraSpecs) >= sizeBytes
}

/** `provisioning:min_vol_size` and `…max_vol_size`, GiB. @returns what is wrong, or undefined */
export function sizeLimitProblem(
  sizeGib: number,
  extraSpecs: Readonly<Record<string, string>>,
): string | undefined {
  const minimum = Number(extraSpecs['provisioning:min_vol_size'] ?? Number.NaN)
  const maximum = Number(extraSpecs['provisioning:max_vol_size'] ?? Number.NaN)
  if (sizeGib < minimum)
    return `Specified volume size of ${sizeGib} GB is less than the minimum of ${minimum} GB.`
  if (sizeGib > maximum)
    return `Specified volume size of ${sizeGib} GB is greater than the maximum of ${maximum} GB.`
  return undefined
}

/** GiB with two decimals, as pools report capacities. */
export function gibOf(bytes: number): number {
  return Math.round((bytes / GiB) * 100) / 100
}
