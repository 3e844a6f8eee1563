import { Invalid } from '../../../kernel/errors.ts'
import type { VolumeTypeFacts } from '../../volume-driver.ts'

export const placementModes = ['hybrid', 'single_flash', 'all_flash'] as const
/** The array's own limits. */
export const greatestIops = 10_000_000
export const greatestBandwidth = 10_240_000
export const greatestReplicaCount = 5

export const limitNames = [
  'total_iops_max',
  'read_iops_max',
  'write_iops_max',
  'total_bandwidth_max',
  'read_bandwidth_max',
  'write_bandwidth_max',
] as const
export type LimitName = (typeof limitNames)[number]

/** How a volume is to be provisioned: the `DF:` settings, each with a value. */
export interface Policy {
  readonly replica_count: number
  readonly placement_mode: string
  /** Name or path; product 3.3 and later. */
  readonly placement_policy: string
  readonly round_robin: boolean
  /** Name, or several with commas. */
  readonly ip_pool: string
  /** Name or path; empty for none. */
  readonly template: string
  readonly total_iops_max: number
  readonly read_iops_max: number
  readonly write_iops_max: number
  /** KiB per second, as the other bandwidths. */
  readonly total_bandwidth_max: number
  readonly read_bandwidth_max: number
  readonly write_bandwidth_max: number
  readonly iops_per_gb: number
  readonly bandwidth_per_gb: number
}
export type PolicyName = keyof Policy

type Kind =
  | { readonly type: 'integer'; readonly min: number; readonly max: number }
  | { readonly type: 'boolean' }
  | { readonly type: 'text'; readonly words?: readonly string[] }

const iops: Kind = { type: 'integer', min: 0, max: greatestIops }
const bandwidth: Kind = { type: 'integer', min: 0, max: greatestBandwidth }

/** Every `DF:` setting, with what it may be. */
export const policyKinds: Readonly<Record<PolicyName, Kind>> = {
  replica_count: { type: 'integer', min: 1, max: greatestReplicaCount },
  placement_mode: { type: 'text', words: placementModes },
  placement_policy: { type: 'text' },
  round_robin: { type: 'boolean' },
  ip_pool: { type: 'text' },
  template: { type: 'text' },
  total_iops_max: iops,
  read_iops_max: iops,
  write_iops_max: iops,
  total_bandwidth_max: bandwidth,
  read_bandwidth_max: bandwidth,
  write_bandwidth_max: bandwidth,
  iops_per_gb: iops,
  bandwidth_per_gb: bandwidth,
}

/** Settings of older releases: accepted, without effect. */
const removed = new Set(['default_storage_name', 'default_volume_name', 'acl_allow_all'])

export const hardDefaults: Policy = {
  replica_count: 3,
  placement_mode: 'hybrid',
  placement_policy: 'default',
  round_robin: false,
  ip_pool: 'default',
  template: '',
  total_iops_max: 0,
  read_iops_max: 0,
  write_iops_max: 0,
  total_bandwidth_max: 0,
  read_bandwidth_max: 0,
  write_bandwidth_max: 0,
  iops_per_gb: 0,
  bandwidth_per_gb: 0,
}

/**
 * The driver-wide policy: hard defaults, the debug override, `datera_volume_type_defaults`; later ones win.
 * @param defaults keys without `DF:`
 * @throws Invalid that names the key
 */
export function driverPolicy(
  defaults: Readonly<Record<string, string>>,
  singleReplica: boolean,
  warn: (message: string) => void,
): Policy {
  const base = singleReplica ? { ...hardDefaults, replica_count: 1 } : hardDefaults
  return withSettings(base, Object.entries(defaults), 'datera_volume_type_defaults', warn)
}

/**
 * A volume's policy: the driver-wide one, the type's extra specs (`DF:name`), its QoS specs (`DF:name` or `name`).
 * @throws Invalid that names key, value and what is allowed
 */
export function volumePolicy(
  base: Policy,
  type: VolumeTypeFacts | undefined,
  warn: (message: string) => void,
): Policy {
  if (type === undefined) return base
  const specs = Object.entries(type.extraSpecs)
    .filter(([key]) => key.startsWith('DF:'))
    .map(([key, value]): [string, string] => [key.slice('DF:'.length), value])
  const quality = Object.entries(type.qosSpecs)
    .map(([key, value]): [string, string] => [key.startsWith('DF:') ? key.slice('DF:'.length) : key, value])
    .filter(([key]) => isPolicyName(key))
  const withSpecs = withSettings(base, specs, `volume type '${type.name}'`, warn)
  return withSettings(withSpecs, quality, `QoS specs of volume type '${type.name}'`, warn)
}

export function isPolicyName(name: string): name is PolicyName {
  return Object.hasOwn(policyKinds, name)
}

function withSettings(
  base: Policy,
  settings: readonly (readonly [string, string])[],
  where: string,
  warn: (message: string) => void,
): Policy {
  const changes: Partial<Record<PolicyName, number | boolean | string>> = {}
  for (const [name, value] of settings) {
    if (isPolicyName(name)) changes[name] = parse(name, value, where)
    else if (removed.has(name)) warn(`${where}: DF:${name} has no effect any more`)
    else warn(`${where}: DF:${name} is not a setting of this driver`)
  }
  // Sound: `parse` answers each name's own kind.
  return { ...base, ...(changes as Partial<Policy>) }
}

function parse(name: PolicyName, value: string, where: string): number | boolean | string {
  const kind = policyKinds[name]
  const wrong = (expected: string) =>
    new Invalid(`${where}: DF:${name} is '${value}', expected ${expected}.`, {
      details: { key: name, value },
    })
  if (kind.type === 'integer') {
    const number = Number(value)
    if (!/^\d+$/.test(value.trim()) || number < kind.min || number > kind.max) {
      throw wrong(`a whole number from ${kind.min} to ${kind.max}`)
    }
    return number
  }
  if (kind.type === 'boolean') {
    const word = value.replace(/^<is>/i, '').trim().toLowerCase()
    if (['true', '1', 'yes'].includes(word)) return true
    if (['false', '0', 'no'].includes(word)) return false
    throw wrong('true or false')
  }
  const text = value.trim()
  if (kind.words !== undefined && !kind.words.includes(text)) throw wrong(`one of ${kind.words.join(', ')}`)
  return text
}
