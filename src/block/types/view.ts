import type { BlockRequest } from '../operation.ts'
import { isAllowed, type Rule } from '../policy.ts'
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
  if (seesSensitive(request)) return all
  return Object.fromEntries(Object.entries(all).filter(([key]) => publicExtraSpecs.includes(key)))
}

/** Whether the caller sees, and may filter by, every extra spec. */
export function seesSensitive(request: BlockRequest): boolean {
  return isAllowed(
    request.identity,
    'volume_extension:types_extra_specs:read_sensitive',
    request.identity.projectId,
  )
}

/** @see block-storage-api specification 3.6 */
export function typeView(row: TypeRow, request: BlockRequest, kind: 'show' | 'create' | 'update'): object {
  const may = (rule: Rule) => isAllowed(request.identity, rule, request.projectId)
  return {
    id: row.id,
    name: row.name,
    is_public: row.is_public === 1,
    description: row.description,
    ...(may('volume_extension:access_types_extra_specs')
      ? { extra_specs: visibleExtraSpecs(row, request) }
      : {}),
    ...(kind === 'show' && may('volume_extension:access_types_qos_specs_id')
      ? { qos_specs_id: row.qos_specs_id }
      : {}),
    ...(kind !== 'update' && may('volume_extension:volume_type_access')
      ? { 'os-volume-type-access:is_public': row.is_public === 1 }
      : {}),
  }
}
