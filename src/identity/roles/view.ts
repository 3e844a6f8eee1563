import type { FastifyRequest } from 'fastify'
import type { RoleRow } from '../db/tables.ts'
import { selfLink } from '../links.ts'
import type { IdentitySettings } from '../settings.ts'

export function roleView(request: FastifyRequest, settings: IdentitySettings, row: RoleRow) {
  return {
    id: row.id,
    name: row.name,
    domain_id: row.domain_id === '' ? null : row.domain_id,
    description: row.description,
    options: {},
    ...selfLink(request, settings, `roles/${row.id}`),
  }
}
