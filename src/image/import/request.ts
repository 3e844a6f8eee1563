import { Invalid } from '../../kernel/errors.ts'
import type { Environment } from '../environment.ts'
import { uuidPattern } from '../schemas/image-schemas.ts'

/** How the data comes. */
export type ImportMethod =
  | { readonly name: 'glance-direct' }
  | { readonly name: 'web-download'; readonly uri: string }
  | { readonly name: 'copy-image' }
  | {
      readonly name: 'glance-download'
      readonly region: string
      readonly imageId: string
      readonly interface: string
    }

export interface ImportRequest {
  readonly method: ImportMethod
  readonly stores: readonly string[] | undefined
  readonly allStores: boolean
  readonly mustSucceed: boolean
  /** What was sent, without secrets; callers are shown it. */
  readonly shown: Readonly<Record<string, string | boolean | readonly string[] | Record<string, string>>>
}

/**
 * Reads the body of an import.
 * @throws Invalid for whatever is not one, or names a method that is not enabled
 * @see image-api specification 4.2, checks 1 and 6
 */
export function parseImport(
  body: Readonly<Record<string, unknown>>,
  environment: Pick<Environment, 'importMethods'>,
): ImportRequest {
  const method = body['method']
  if (typeof method !== 'object' || method === null || Array.isArray(method)) {
    throw new Invalid("Required key 'method' is missing from the request body.")
  }
  const fields = new Map<string, unknown>(Object.entries(method))
  const name = fields.get('name')
  if (typeof name !== 'string') throw new Invalid("Required key 'name' is missing from 'method'.")
  if (!environment.importMethods.includes(name)) {
    throw new Invalid(`Unknown import method name '${name}'.`)
  }
  const stores = storesOf(body['stores'])
  const allStores = flagOf(body, 'all_stores', false)
  const mustSucceed = flagOf(body, 'all_stores_must_succeed', true)
  return {
    method: methodOf(name, fields),
    stores,
    allStores,
    mustSucceed,
    shown: {
      method: Object.fromEntries(
        [...fields].map(([key, value]) => [key, key === 'uri' ? withoutLogin(String(value)) : String(value)]),
      ),
      ...(stores === undefined ? {} : { stores }),
      all_stores: allStores,
      all_stores_must_succeed: mustSucceed,
    },
  }
}

function withoutLogin(uri: string): string {
  return uri.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/?#]*@/i, '$1')
}

function methodOf(name: string, fields: ReadonlyMap<string, unknown>): ImportMethod {
  switch (name) {
    case 'web-download': {
      const uri = fields.get('uri')
      if (typeof uri !== 'string' || uri === '') {
        throw new Invalid("URI is required if using 'web-download' import method.")
      }
      return { name, uri }
    }
    case 'glance-download': {
      const imageId = textIn(fields, 'glance_image_id')
      const region = textIn(fields, 'glance_region')
      const wanted = fields.get('glance_service_interface')
      if (!new RegExp(uuidPattern).test(imageId)) {
        throw new Invalid(`Remote image id does not look like a UUID: ${imageId}`)
      }
      return { name, region, imageId, interface: typeof wanted === 'string' ? wanted : 'public' }
    }
    case 'copy-image':
      return { name }
    default:
      return { name: 'glance-direct' }
  }
}

function textIn(fields: ReadonlyMap<string, unknown>, name: string): string {
  const value = fields.get(name)
  if (typeof value === 'string' && value !== '') return value
  throw new Invalid(`'${name}' needs to be set for glance-download import method.`)
}

function storesOf(value: unknown): readonly string[] | undefined {
  if (value === undefined || value === null) return undefined
  if (!Array.isArray(value)) throw new Invalid("'stores' must be a list of store ids.")
  const ids = value.filter((id) => typeof id === 'string')
  if (ids.length !== value.length || ids.length === 0) {
    throw new Invalid("'stores' must be a list of at least one store id.")
  }
  return [...new Set(ids)]
}

function flagOf(body: Readonly<Record<string, unknown>>, name: string, fallback: boolean): boolean {
  const value = body[name] ?? fallback
  if (typeof value === 'boolean') return value
  const word = typeof value === 'string' ? value.toLowerCase() : ''
  if (word === 'true' || word === 'false') return word === 'true'
  throw new Invalid(`'${name}' must be boolean value only`)
}
