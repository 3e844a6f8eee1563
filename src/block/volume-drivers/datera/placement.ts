import type { Operation } from './operation.ts'
import type { Policy } from './policies.ts'

/** How placement is said to this array. */
export function placementOf(
  operation: Operation,
  policy: Policy,
): { placement_mode: 'hybrid' | 'single_flash' | 'all_flash' } | { placement_policy: { path: string } } {
  if (operation.array.client.has('placementPolicy')) {
    return { placement_policy: { path: pathIn('/placement_policies', policy.placement_policy) } }
  }
  const mode = policy.placement_mode
  return { placement_mode: mode === 'single_flash' || mode === 'all_flash' ? mode : 'hybrid' }
}

/** A bare name or a whole path, as a whole path. */
export function pathIn(collection: string, nameOrPath: string): string {
  return nameOrPath.startsWith('/') ? nameOrPath : `${collection}/${nameOrPath}`
}
