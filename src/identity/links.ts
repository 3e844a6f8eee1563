import type { FastifyRequest } from 'fastify'
import type { IdentitySettings } from './settings.ts'

/** `http://host:5000`, as the client reaches us; no slash at the end. */
export function baseUrl(request: FastifyRequest, settings: IdentitySettings): string {
  if (settings.publicEndpoint !== undefined) return settings.publicEndpoint.replace(/\/+$/, '')
  return `${request.protocol}://${request.host}`
}

/** A resource's own link: `{ links: { self } }`. */
export function selfLink(request: FastifyRequest, settings: IdentitySettings, path: string) {
  return { links: { self: `${baseUrl(request, settings)}/v3/${path}` } }
}

/** A list as Keystone wraps it. It is never cut into pages. */
export function collection<Member>(
  request: FastifyRequest,
  settings: IdentitySettings,
  key: string,
  members: readonly Member[],
) {
  return {
    [key]: members,
    links: { next: null, self: `${baseUrl(request, settings)}${request.url}`, previous: null },
  }
}

/**
 * Is a flag of the query set? `?flag`, `?flag=1`, `?flag=True` are, `?flag=0`, `?flag=false` and its absence
 * are not.
 */
export function flag(request: FastifyRequest, name: string): boolean {
  const value = queryValue(request, name)
  return value !== undefined && !['0', 'false', 'no', 'off'].includes(value.toLowerCase())
}

/** A parameter of the query; the first, when there are several. */
export function queryValue(request: FastifyRequest, name: string): string | undefined {
  const value = (request.query as Record<string, string | string[] | undefined>)[name]
  return Array.isArray(value) ? value[0] : value
}

/** Filters a list by those of the named parameters that the query has; flags (`enabled`) compare as such. */
export function filtered<Member extends object>(
  request: FastifyRequest,
  members: readonly Member[],
  names: readonly (keyof Member & string)[],
): readonly Member[] {
  let result = members
  for (const name of names) {
    const wanted = queryValue(request, name)
    if (wanted === undefined) continue
    result = result.filter((member) => {
      const value = member[name]
      return typeof value === 'boolean' ? value === flag(request, name) : String(value ?? '') === wanted
    })
  }
  return result
}
