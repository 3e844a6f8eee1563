import type { ResolvedReference } from '../../schemas/common.ts'
import type { NodeContext, Portal } from '../context.ts'
import { findDocument } from '../resources/documents.ts'
import { nameOf } from '../resources/locate.ts'

/** A block of a pool, as far as it says which addresses belong to it. */
interface Block {
  readonly start_ip?: string
  readonly range?: number
}

/**
 * Where a storage instance of a pool is reached: at the node's addresses that lie in the pool's blocks; at all of
 * them when none does, or when the pool (as `default` at first) has no blocks of its own.
 */
export function portalsOfPool(
  node: Pick<NodeContext, 'database' | 'portals'>,
  pool: ResolvedReference,
): Portal[] {
  const row = findDocument(node, 'access_network_ip_pools', pool.resolved_tenant, nameOf(pool.resolved_path))
  const blocks: readonly Block[] = row === undefined ? [] : (JSON.parse(row.content).network_paths ?? [])
  const inside = node.portals.filter(({ host }) => blocks.some((block) => holds(block, host)))
  return twoOf(inside.length > 0 ? inside : node.portals)
}

/** Clients index the second address without looking: where there is only one, it is both. */
export function twoOf(portals: readonly Portal[]): Portal[] {
  const [first] = portals
  return portals.length === 1 && first ? [first, first] : [...portals]
}

function holds({ start_ip = '', range = 1 }: Block, host: string): boolean {
  const [start, address] = [ipv4(start_ip), ipv4(host)]
  return start !== undefined && address !== undefined && address >= start && address < start + range
}

function ipv4(text: string): number | undefined {
  const octets = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text)?.slice(1).map(Number)
  return octets?.reduce((sum, octet) => sum * 256 + octet, 0)
}
