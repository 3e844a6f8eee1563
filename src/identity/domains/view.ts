import type { FastifyRequest } from 'fastify'
import type { DomainRow } from '../db/tables.ts'
import { selfLink } from '../links.ts'
import type { IdentitySettings } from '../settings.ts'

export function domainView(request: FastifyRequest, settings: IdentitySettings, row: DomainRow) {
  return {
    ...JSON.parse(row.extra),
    id: row.id,
    name: row.name,
    description: row.description,
    enabled: row.enabled === 1,
    tags: [],
    options: {},
    ...selfLink(request, settings, `domains/${row.id}`),
  }
}
