import type { Db } from '../../kernel/db/database.ts'
import type { EndpointRow, IdentityTables } from '../db/tables.ts'
import type { TokenDetails } from '../tokens/details.ts'

/** A service as the catalog shows it. */
export interface CatalogEntry {
  readonly endpoints: readonly {
    readonly id: string
    readonly interface: EndpointRow['interface']
    readonly region_id: string | null
    readonly url: string
    readonly region: string | null
  }[]
  readonly id: string
  readonly type: string
  readonly name: string
}

/** The catalog for a token: enabled services, with their enabled endpoints that make sense for its scope. */
export async function catalogFor(
  db: Db<IdentityTables>,
  details: TokenDetails,
): Promise<readonly CatalogEntry[]> {
  const services = await db
    .selectFrom('identity_services')
    .selectAll()
    .where('enabled', '=', 1)
    .orderBy('type')
    .execute()
  const endpoints = await db
    .selectFrom('identity_endpoints')
    .selectAll()
    .where('enabled', '=', 1)
    .orderBy('id')
    .execute()
  const values: Record<string, string | undefined> = {
    user_id: details.user.id,
    project_id: details.scope.kind === 'project' ? details.scope.project.id : undefined,
    tenant_id: details.scope.kind === 'project' ? details.scope.project.id : undefined,
  }
  return services.map((service) => ({
    endpoints: endpoints
      .filter((endpoint) => endpoint.service_id === service.id)
      .flatMap((endpoint) => {
        const url = filledIn(endpoint.url, values)
        if (url === undefined) return []
        const region = endpoint.region_id
        return [{ id: endpoint.id, interface: endpoint.interface, region_id: region, url, region }]
      }),
    id: service.id,
    type: service.type,
    name: service.name,
  }))
}

/**
 * Fills `$(project_id)s` and `%(project_id)s` in.
 * @returns undefined when the token has no such value: Keystone then leaves the endpoint out
 */
function filledIn(url: string, values: Record<string, string | undefined>): string | undefined {
  let complete = true
  const filled = url.replace(/[$%]\((\w+)\)s/g, (_, name: string) => {
    const value = values[name]
    if (value === undefined) complete = false
    return value ?? ''
  })
  return complete ? filled : undefined
}
