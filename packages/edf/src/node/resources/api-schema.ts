import { hwMetrics, ioMetrics } from '../../schemas/metrics.ts'
import { type ApiVersion, apiVersions } from '../../versions.ts'
import type { Route } from '../http/route.ts'

const operations = { GET: 'read', POST: 'create', PUT: 'update', DELETE: 'delete' } as const

/** How the array spells templates that our router spells otherwise. */
const spellings: Readonly<Record<string, string>> = {
  '/tenants/*': '/tenants/:tenant_path(((?:[A-Za-z0-9_-])+(?:/[.A-Za-z0-9_-]+){0,}$))',
}

/**
 * `GET /api`: what the Python SDK builds itself from. Made of the route table. (EDF API specification, section 1.10:
 * which names must be there, and which must not, because they would hide data.)
 */
export function apiSchema(routes: readonly Route[], version: ApiVersion): Record<string, unknown> {
  const position = apiVersions.indexOf(version)
  const schema: Record<string, Record<string, unknown>> = {}
  for (const route of routes) {
    if (route.since !== undefined && apiVersions.indexOf(route.since) > position) continue
    if (route.unlisted) continue
    const path = spellings[route.path] ?? route.path
    const templateKey = path
    schema[templateKey] ??= {}
    const operation = operations[route.method]
    schema[templateKey][operation] = {
      op: operation,
      path,
      descr: route.summary,
      minVersion: '1.0.0.0',
      ...(route.body && { bodyParamSchema: bodySchemaOf(route, version) }),
      ...metricParameters(path, operation),
    }
  }
  if (version === '2') {
    schema['/system/metrics/:metric'] = {
      verbs: { read: { urlParamSchema: { metric_name: { enum: [...ioMetrics, ...hwMetrics] } } } },
    }
  }
  return { ...schema, version: `v${version}` }
}

function bodySchemaOf(route: Route, version: ApiVersion): unknown {
  const body: unknown = JSON.parse(JSON.stringify(route.body))
  if (version === '2' || version === '2.1') {
    // Cinder asks this very place whether overrides are understood.
    if (typeof body === 'object' && body !== null && 'properties' in body) {
      const properties = body.properties
      if (typeof properties === 'object' && properties !== null && 'template_override' in properties) {
        delete properties.template_override
      }
    }
  }
  return body
}

function metricParameters(path: string, operation: string): object {
  if (operation !== 'read') return {}
  if (path === '/metrics/io/:metric') return { urlParamSchema: { metric: { enum: [...ioMetrics] } } }
  if (path === '/metrics/hw/:metric') return { urlParamSchema: { metric: { enum: [...hwMetrics] } } }
  return {}
}

/** The schema's own route; it describes all the others, itself included. */
export function apiSchemaRoute(routes: readonly Route[]): Route {
  return {
    method: 'GET',
    path: '/api',
    summary: 'Describe the interface',
    handle: (request) => ({
      data: apiSchema(routes, request.version),
      bare: true,
    }),
  }
}
