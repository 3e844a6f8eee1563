import type { FastifyRequest } from 'fastify'
import type { UserRow } from '../db/tables.ts'
import { selfLink } from '../links.ts'
import type { IdentitySettings } from '../settings.ts'

export function userView(request: FastifyRequest, settings: IdentitySettings, row: UserRow) {
  return {
    ...JSON.parse(row.extra),
    id: row.id,
    name: row.name,
    domain_id: row.domain_id,
    enabled: row.enabled === 1,
    ...(row.default_project_id !== null && { default_project_id: row.default_project_id }),
    password_expires_at: null,
    options: {},
    ...selfLink(request, settings, `users/${row.id}`),
  }
}
