import { lookup } from 'node:dns/promises'
import { BlockList, isIP, isIPv6 } from 'node:net'
import { domainToASCII } from 'node:url'
import { Invalid } from '../../kernel/errors.ts'
import type { FilterSettings } from './options.ts'

/** A URL that may be fetched from, and the addresses that were checked: connect to one of them, to no other. */
export interface CheckedUrl {
  readonly url: URL
  readonly addresses: readonly { readonly address: string; readonly family: 4 | 6 }[]
}

/** How a name becomes addresses; tests give their own. */
export type Resolve = (host: string) => Promise<CheckedUrl['addresses']>

const uriPattern = /^([a-z][a-z0-9+.-]*):\/\/(?:[^/?#@]*@)?(\[[^\]]*\]|[^:/?#]*)(?::(\d*))?(?:[/?#]|$)/i
/** What some programs read as an address: decimal, octal, hexadecimal, with parts left out. */
const numericHost = /^(0x[0-9a-f]*|\d+)(\.(0x[0-9a-f]*|\d+))*\.?$/i

/**
 * Decides whether the service may fetch from an address that a user named. A name that nobody knows passes, with
 * no addresses: fetching from it fails, as it does upstream.
 * @throws Invalid whose text says that it does not pass filtering
 * @see image-api specification 4.8
 */
export async function checkAddress(
  uri: string,
  filter: FilterSettings,
  resolve: Resolve = resolveByDns,
): Promise<CheckedUrl> {
  const match = uriPattern.exec(uri)
  const unusual = [...uri].some((character) => character <= ' ' || character === '\\')
  if (match === null || unusual || !URL.canParse(uri)) throw refused(uri)
  const [, scheme = '', rawHost = '', port] = match
  if (!passes(scheme.toLowerCase(), filter.allowedSchemes, filter.disallowedSchemes)) throw refused(uri)

  const host = normalHost(rawHost)
  const url = new URL(uri)
  if (host === '' || (numericHost.test(host) && url.hostname !== host)) throw refused(uri)
  const namedHosts = filter.disallowedHosts.filter((entry) => networkOf(entry) === undefined)
  if (!passes(host, filter.allowedHosts.map(normalHost), namedHosts.map(normalHost))) throw refused(uri)
  if (port !== undefined && !passes(port, filter.allowedPorts, filter.disallowedPorts)) throw refused(uri)

  const family = isIP(host)
  const addresses =
    family === 0
      ? await resolve(host).catch(() => [])
      : [{ address: host, family: family === 6 ? 6 : 4 } as const]
  if (filter.allowedHosts.length === 0) {
    const denied = networksOf(filter.disallowedHosts)
    if (addresses.some((address) => isIn(denied, address))) throw refused(uri)
  }
  return { url, addresses }
}

function refused(uri: string): Invalid {
  return new Invalid(`URI for web-download does not pass filtering: ${withoutSecrets(uri)}`)
}

/** A URL that can be shown: without the user and password in it, and without its query. */
export function withoutSecrets(uri: string): string {
  return uri.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/?#]*@/i, '$1').replace(/\?.*$/s, '')
}

function passes(value: string, allowed: readonly string[], denied: readonly string[]): boolean {
  return allowed.length > 0 ? allowed.includes(value) : !denied.includes(value)
}

/** Lower case, without the dot at the end or the brackets, and in the letters that DNS has. */
function normalHost(host: string): string {
  const plain = host
    .toLowerCase()
    .replace(/\.$/, '')
    .replace(/^\[(.*)\]$/, '$1')
  if (isIPv6(plain)) return new URL(`http://[${plain}]`).hostname.slice(1, -1)
  if (numericHost.test(plain)) return plain
  return domainToASCII(plain)
}

/** `10.0.0.0/8`, or a single address. */
function networkOf(entry: string): { address: string; prefix: number; family: 'ipv4' | 'ipv6' } | undefined {
  const [address = '', prefix] = entry.replace(/^\[(.*)\]$/, '$1').split('/', 2)
  const family = isIP(address)
  if (family === 0) return undefined
  const longest = family === 4 ? 32 : 128
  const length = prefix === undefined ? longest : Number(prefix)
  if (!Number.isInteger(length) || length < 0 || length > longest) return undefined
  return { address, prefix: length, family: family === 4 ? 'ipv4' : 'ipv6' }
}

function networksOf(entries: readonly string[]): BlockList {
  const networks = new BlockList()
  for (const entry of entries) {
    const network = networkOf(entry)
    if (network !== undefined) networks.addSubnet(network.address, network.prefix, network.family)
  }
  return networks
}

/** An IPv4 address in IPv6 clothes is looked at as both. */
function isIn(networks: BlockList, { address, family }: CheckedUrl['addresses'][number]): boolean {
  if (networks.check(address, family === 6 ? 'ipv6' : 'ipv4')) return true
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1]
  return mapped !== undefined && networks.check(mapped, 'ipv4')
}

async function resolveByDns(host: string): Promise<CheckedUrl['addresses']> {
  const found = await lookup(host, { all: true })
  return found.map(({ address, family }) => ({ address, family: family === 6 ? 6 : 4 }))
}
