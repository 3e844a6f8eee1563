import type { BlockRequest } from '../operation.ts'
import { stringMapOf, type TypeRow } from './queries.ts'

/** Extra specs that everybody may see. */
export const publicExtraSpecs: readonly string[] = [
  'RESKEY:availability_zones',
  'multiattach',
  'replication_enabled',
]

/** The extra specs of a type, as far as the caller may see them. */
export function visibleExtraSpecs(row: TypeRow, request: BlockRequest): Readonly<Record<string, string>> {
  const all = stringMapOf(row.extra_specs)
  if (request.isAdmin) return all
  return Object.fromEntries(Object.entries(all).filter(([key]) => publicExtraSpecs.includes(key)))
}

/** @see block-storage-api specification 3.6 */
export function typeView(row: TypeRow, request: BlockRequest, kind: 'show' | 'create' | 'update'): object {
  return {
    id: row.id,
    name: row.name,
    is_public: row.is_public === 1,
    description: row.description,
    extra_specs: visibleExtraSpecs(row, request),
    ...(kind === 'show' && request.isAdmin ? { qos_specs_id: null } : {}),
    ...(kind === 'update' || !mayReadAccess(request)
      ? {}
      : { 'os-volume-type-access:is_public': row.is_public === 1 }),
  }
}

function mayReadAccess(request: BlockRequest): boolean {
  return ['admin', 'manager', 'member'].some((role) => request.identity.roles.includes(role))
}
