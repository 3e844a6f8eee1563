import type { FastifyRequest } from 'fastify'
import type { ProjectRow } from '../db/tables.ts'
import { selfLink } from '../links.ts'
import type { IdentitySettings } from '../settings.ts'

export function projectView(request: FastifyRequest, settings: IdentitySettings, row: ProjectRow) {
  const tags: readonly string[] = JSON.parse(row.tags)
  return {
    ...JSON.parse(row.extra),
    id: row.id,
    name: row.name,
    domain_id: row.domain_id,
    description: row.description,
    enabled: row.enabled === 1,
    parent_id: row.parent_id,
    is_domain: false,
    tags,
    options: {},
    ...selfLink(request, settings, `projects/${row.id}`),
  }
}
