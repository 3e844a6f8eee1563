import type { EdfClient } from './edf-client.ts'
import { EdfConflict, EdfForbidden, EdfInvalid } from './errors.ts'
import type { EdfCall } from './exchange.ts'
import { Exclusive } from './exclusive.ts'

/** A tenant as configured: a path, one per project, or none at all. */
export type TenantRule =
  | { readonly kind: 'path'; readonly path: string }
  /** `/root/OS-<project id>`. */
  | { readonly kind: 'map' }
  /** No tenant header. */
  | { readonly kind: 'none' }

/** Name or UUID. */
const segmentPattern = /^([a-zA-Z_][a-zA-Z0-9_.-]{2,63}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$/i

/**
 * Reads a configured tenant, in any of the forms that are in use: nothing, `root`, `/root`, `x`, `root/x`, `/root/x`,
 * `/x`, `Map`, `None`. Nested tenants are allowed.
 * @throws RangeError that says what is wrong
 */
export function parseTenant(configured: string | undefined): TenantRule {
  const text = (configured ?? '').trim()
  const lower = text.toLowerCase()
  if (lower === 'map') return { kind: 'map' }
  if (lower === 'none') return { kind: 'none' }
  if (lower === 'all') throw new RangeError(`'all' is not a tenant`)
  const bare = text.replace(/^\//, '')
  if (bare === '' || bare === 'root') return { kind: 'path', path: '/root' }
  const rest = bare.startsWith('root/') ? bare.slice('root/'.length) : bare
  for (const segment of rest.split('/')) {
    if (!segmentPattern.test(segment)) {
      throw new RangeError(`'${segment}' is not a tenant's name: 3 to 64 letters, digits, '_', '-' or '.'`)
    }
  }
  return { kind: 'path', path: `/root/${rest}` }
}

/** The tenant header's value, or `undefined` for no header. */
export function tenantOf(rule: TenantRule, projectId: string): string | undefined {
  if (rule.kind === 'none') return undefined
  return rule.kind === 'map' ? `/root/OS-${projectId}` : rule.path
}

/**
 * Makes tenants that do not exist yet, once per tenant, level by level. An account that may not create tenants is
 * told so through `onRefused`, and the call goes on: the next request tells the truth.
 */
export class Tenants {
  readonly #client: EdfClient
  readonly #onRefused: (tenant: string, error: Error) => void
  readonly #known = new Set<string>(['/root'])
  readonly #exclusive = new Exclusive()

  constructor(client: EdfClient, onRefused: (tenant: string, error: Error) => void) {
    this.#client = client
    this.#onRefused = onRefused
  }

  /** @param tenant as `tenantOf` answers it */
  async ensure(tenant: string | undefined, call: EdfCall): Promise<void> {
    if (tenant === undefined || this.#known.has(tenant)) return
    await this.#exclusive.run(tenant, call.signal, () => this.#ensureLevels(tenant, call))
  }

  /** Forgets a tenant, after the array has said that it does not exist. */
  forget(tenant: string | undefined): void {
    if (tenant !== undefined && tenant !== '/root') this.#known.delete(tenant)
  }

  async #ensureLevels(tenant: string, call: EdfCall): Promise<void> {
    if (this.#known.has(tenant)) return
    const root = this.#client.in('/root')
    const names = tenant.split('/').filter((name) => name !== '')
    for (let level = 2; level <= names.length; level += 1) {
      const path = `/${names.slice(0, level).join('/')}`
      if (this.#known.has(path)) continue
      const found = await root.tenants.find(`/tenants${path}`, call)
      if (found === undefined) {
        const parent = `/${names.slice(0, level - 1).join('/')}`
        const name = names[level - 1] ?? ''
        try {
          await root.tenants.create({ name, ...(parent === '/root' ? {} : { parent_path: parent }) }, call)
        } catch (error) {
          if (error instanceof EdfForbidden || error instanceof EdfInvalid) {
            this.#onRefused(path, error)
            return
          }
          if (!(error instanceof EdfConflict)) throw error
        }
      }
      this.#known.add(path)
    }
  }
}
