import { createHash } from 'node:crypto'
import { isIPv4 } from 'node:net'
import type { AccessNetworkIpPool, EdfScope } from '@emberglass/edf'
import type { Operation } from './operation.ts'

/** A stable choice among `count`, the same for the same text. */
export function stableChoice(text: string, count: number): number {
  return createHash('sha256').update(text).digest().readUInt32BE(0) % count
}

/** The pools that `DF:ip_pool` names. */
export function namedPools(setting: string): readonly string[] {
  const names = setting
    .split(',')
    .map((name) => name.trim().replace(/^\/access_network_ip_pools\//, ''))
    .filter((name) => name !== '')
  return names.length === 0 ? ['default'] : names
}

/** The pool of a new volume: always the same one of several. */
export function chooseIpPool(setting: string, volumeId: string): string {
  const names = namedPools(setting)
  return names[stableChoice(volumeId, names.length)] ?? 'default'
}

/**
 * The pool for a first attachment: a single named one; of several, the one whose network the host is in; without a
 * name, the one whose network the host is in, else the default one.
 */
export async function poolForHost(
  operation: Operation,
  scope: EdfScope,
  setting: string,
  volumeId: string,
  hostAddress: string | undefined,
): Promise<string> {
  const names = namedPools(setting)
  const [only] = names
  const choosesItself = names.length === 1 && only === 'default'
  if (hostAddress === undefined || (names.length === 1 && !choosesItself))
    return chooseIpPool(setting, volumeId)
  const pools = await scope.accessNetworkIpPools.list({}, operation.edf)
  const near = pools.filter((pool) => reaches(pool, hostAddress)).map(({ name }) => name)
  if (choosesItself) return near.includes('default') ? 'default' : (near[0] ?? 'default')
  return names.find((name) => near.includes(name)) ?? chooseIpPool(setting, volumeId)
}

/** Whether one of a pool's networks contains an address. */
export function reaches(pool: AccessNetworkIpPool, address: string): boolean {
  return pool.network_paths.some(({ start_ip: start, netmask }) => {
    if (start === undefined || netmask === undefined || !isIPv4(start) || !isIPv4(address)) return false
    if (netmask < 0 || netmask > 32) return false
    const mask = netmask === 0 ? 0 : (0xffffffff << (32 - netmask)) >>> 0
    return (toNumber(start) & mask) >>> 0 === (toNumber(address) & mask) >>> 0
  })
}

function toNumber(address: string): number {
  return address.split('.').reduce((number, byte) => number * 256 + Number(byte), 0)
}
