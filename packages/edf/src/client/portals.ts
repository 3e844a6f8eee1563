import type { StorageInstance } from '../schemas/storage-instance.ts'

/** Where a target is reached. */
export interface Portal {
  /** Name or address; an IPv6 address without brackets. */
  readonly host: string
  readonly port: number
}

/**
 * The portals of a storage instance, each once, in the array's order.
 * @param port where the array's addresses serve iSCSI; an address that names its own port keeps it
 */
export function portalsOf(storageInstance: StorageInstance, port: number): readonly Portal[] {
  const portals: Portal[] = []
  // Arrays that serve another port than 3260 say so beside the plain addresses.
  const published = publishedPortals(storageInstance)
  const addresses = published.length > 0 ? published : (storageInstance.access?.ips ?? [])
  for (const address of addresses) {
    const portal = parseAddress(address.trim(), port)
    if (portal.host === '') continue
    if (!portals.some((known) => known.host === portal.host && known.port === portal.port))
      portals.push(portal)
  }
  return portals
}

/** `192.0.2.1:3260`, `[2001:db8::1]:3260`. */
export function portalText({ host, port }: Portal): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** `access.portals`, which only the embedded node has. */
function publishedPortals({ access }: StorageInstance): readonly string[] {
  const portals: unknown = access === undefined ? undefined : Reflect.get(access, 'portals')
  return Array.isArray(portals) ? portals.filter((each) => typeof each === 'string') : []
}

function parseAddress(address: string, port: number): Portal {
  const bracketed = /^\[([^\]]*)\](?::(\d+))?$/.exec(address)
  if (bracketed !== null) return { host: bracketed[1] ?? '', port: portOf(bracketed[2], port) }
  const plain = /^([^:]*):(\d+)$/.exec(address)
  if (plain !== null) return { host: plain[1] ?? '', port: portOf(plain[2], port) }
  return { host: address, port }
}

function portOf(text: string | undefined, fallback: number): number {
  return text === undefined ? fallback : Number(text)
}
