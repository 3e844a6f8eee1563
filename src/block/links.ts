import { requestBase } from '../kernel/http/request-base.ts'
import type { BlockSettings } from './settings.ts'

/** Where a request came in: makes the URLs of `links`. */
export class Links {
  readonly #prefix: string
  readonly #project: string
  /** What comes before an id, by collection: lists ask a thousand times. */
  readonly #collections = new Map<string, readonly [self: string, bookmark: string]>()

  /**
   * @param prefix scheme, host and path before `/v3`
   * @param projectId the project in the request's URL, if it had one: links then have it too
   */
  constructor(prefix: string, projectId: string | undefined) {
    this.#prefix = prefix
    this.#project = projectId === undefined ? '' : `/${projectId}`
  }

  /** `self` of what lies at `path`, `/volumes/…`. */
  self(path: string): string {
    return `${this.#prefix}/v3${this.#project}${path}`
  }

  /** The pair that resources carry, as JSON text, for what lies in a collection under its id. */
  json(collection: string, id: string): string {
    let parts = this.#collections.get(collection)
    if (parts === undefined) {
      const quoted = (text: string) => JSON.stringify(text).slice(0, -1)
      parts = [quoted(this.self(`/${collection}/`)), quoted(`${this.#prefix}${this.#project}/${collection}/`)]
      this.#collections.set(collection, parts)
    }
    return `[{"rel":"self","href":${parts[0]}${id}"},{"rel":"bookmark","href":${parts[1]}${id}"}]`
  }

  /** The pair that resources carry. */
  of(path: string): readonly { rel: string; href: string }[] {
    return [
      { rel: 'self', href: this.self(path) },
      { rel: 'bookmark', href: `${this.#prefix}${this.#project}${path}` },
    ]
  }
}

/**
 * The prefix of a request's links.
 * `public_endpoint` wins over everything; the last `X-Forwarded-Host` counts even where proxies are not believed.
 * @see block-storage-api specification 1.1
 */
export function linkPrefix(
  request: { protocol: string; headers: Readonly<Record<string, string | string[] | undefined>> },
  { publicEndpoint, parsesProxyHeaders }: Pick<BlockSettings, 'publicEndpoint' | 'parsesProxyHeaders'>,
): string {
  if (publicEndpoint !== undefined) return publicEndpoint.replace(/\/+$/, '')
  if (parsesProxyHeaders) return requestBase(request, true)
  const forwarded = String(request.headers['x-forwarded-host'] ?? '')
    .split(',')
    .at(-1)
    ?.trim()
  const headers = forwarded ? { ...request.headers, host: forwarded } : request.headers
  return requestBase({ protocol: request.protocol, headers }, false)
}

/** A date as this API writes it: naive UTC with microseconds. @see specification 1.4 */
export function wireDate(iso: string): string
export function wireDate(iso: string | null): string | null
export function wireDate(iso: string | null): string | null {
  return iso === null ? null : `${iso.slice(0, 23)}000`
}
