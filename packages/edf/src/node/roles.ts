import type { Privilege } from './sessions.ts'

/** What the array's roles allow. */
const privileges = {
  admin: ['read', 'write', 'administrate'],
  operator: ['read', 'write'],
  viewer: ['read'],
} as const satisfies Readonly<Record<string, readonly Privilege[]>>

export type RoleName = keyof typeof privileges

export const roleNames: readonly RoleName[] = ['admin', 'operator', 'viewer']

export function isRoleName(name: string): name is RoleName {
  return Object.hasOwn(privileges, name)
}

export function privilegesOfRole(name: string): readonly Privilege[] {
  return isRoleName(name) ? privileges[name] : []
}

/** What several roles allow together; unknown ones allow nothing. */
export function privilegesOf(names: readonly string[]): ReadonlySet<Privilege> {
  return new Set(names.flatMap(privilegesOfRole))
}
