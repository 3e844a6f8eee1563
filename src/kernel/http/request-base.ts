import { boolean } from '../config/options.ts'

/** Of `[oslo_middleware]`. */
export const proxyOptions = {
  parsesProxyHeaders: boolean('enable_proxy_headers_parsing', {
    help: 'Links are made of what Forwarded and X-Forwarded-* headers say.',
  }),
} as const

/** What of a request says where it came in. */
interface Arrival {
  readonly protocol: string
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
}

/**
 * Scheme, host and path by which a client reached us: what comes before `/v3` in a link.
 * @param parsesProxyHeaders `[oslo_middleware] enable_proxy_headers_parsing`: a proxy in front says how it was reached,
 *   by `Forwarded` (RFC 7239; the first proxy counts), else by `X-Forwarded-Proto` and `X-Forwarded-Host`; and by
 *   `X-Forwarded-Prefix` below which path
 * @see oslo_middleware/http_proxy_to_wsgi.py
 */
export function requestBase(request: Arrival, parsesProxyHeaders: boolean): string {
  const told = parsesProxyHeaders ? toldByProxy(request) : {}
  const protocol = told.protocol === 'http' || told.protocol === 'https' ? told.protocol : request.protocol
  const host = told.host ?? header(request, 'host') ?? ''
  const prefix = parsesProxyHeaders ? (header(request, 'x-forwarded-prefix') ?? '').replace(/\/+$/, '') : ''
  return `${protocol}://${hostOr(host, 'localhost')}${/^(\/[\w.~-]+)+$/.test(prefix) ? prefix : ''}`
}

/** A host with or without port; what is none would make links that lead elsewhere. */
function hostOr(host: string, otherwise: string): string {
  return /^[\w.\-:[\]]+$/.test(host) ? host : otherwise
}

function toldByProxy(request: Arrival): { protocol?: string | undefined; host?: string | undefined } {
  const forwarded = header(request, 'forwarded')
  if (forwarded === undefined) {
    return { protocol: header(request, 'x-forwarded-proto'), host: header(request, 'x-forwarded-host') }
  }
  const [first = ''] = forwarded.split(',')
  const pairs = first.split(';').map((pair): [string, string] => {
    const [key = '', value = ''] = pair.split('=', 2)
    return [key.trim().toLowerCase(), value.trim().replace(/^"(.*)"$/, '$1')]
  })
  const { proto: protocol, host } = Object.fromEntries(pairs) as Partial<Record<string, string>>
  return { protocol, host }
}

function header(request: Arrival, name: string): string | undefined {
  const value = request.headers[name]
  const text = Array.isArray(value) ? value[0] : value
  return text === undefined || text.trim() === '' ? undefined : text.trim()
}
