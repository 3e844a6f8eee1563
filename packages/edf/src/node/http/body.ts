import { type Static, type TSchema, Type } from 'typebox'
import { Compile, type Validator } from 'typebox/compile'
import { Value } from 'typebox/value'
import { invalidRequest, validationFailed } from '../errors.ts'

/** What came with a request, not yet read: reading it is the handler's act, after it has found its object. */
export interface RawBody {
  readonly bytes: Uint8Array
  /** Without parameters, lower case; empty when the client named none. */
  readonly mediaType: string
}

/**
 * JSON (also without a content type), or a form whose `"true"` and `"false"` are booleans. An empty body and JSON
 * `null` are "no body". (EDF API specification, section 1.5.)
 * @throws ApiError 400 when it is neither
 */
export function decodeBody(raw: RawBody | undefined): unknown {
  if (raw === undefined || raw.bytes.byteLength === 0) return undefined
  const text = new TextDecoder().decode(raw.bytes)
  if (text.trim() === '') return undefined
  if (raw.mediaType === 'application/x-www-form-urlencoded') return decodeForm(text)
  try {
    const value: unknown = JSON.parse(text)
    return value === null ? undefined : value
  } catch {
    throw invalidRequest('The body of the request is not valid JSON')
  }
}

function decodeForm(text: string): Record<string, unknown> {
  const form: Record<string, unknown> = {}
  for (const [name, value] of new URLSearchParams(text)) {
    form[name] = value === 'true' ? true : value === 'false' ? false : value
  }
  return form
}

const validators = new WeakMap<TSchema, Validator>()

/**
 * Makes a body fit its schema: null values are left out, numbers and booleans in strings are converted, attributes
 * that the schema does not name stay unread.
 * @throws ApiError 422, naming each attribute that does not fit
 */
export function validateBody<Schema extends TSchema>(schema: Schema, body: unknown): Static<Schema> {
  if (body !== undefined && !isPlainObject(body)) {
    throw validationFailed('The body of the request has to be a JSON object')
  }
  const converted = Value.Convert(schema, withoutNulls(body ?? {}))
  let validator = validators.get(schema)
  if (validator === undefined) {
    validator = Compile(schema)
    validators.set(schema, validator)
  }
  if (!validator.Check(converted)) {
    const errors = validator
      .Errors(converted)
      .filter((error) => error.keyword !== 'anyOf' && error.keyword !== 'const')
      .slice(0, 20)
      .map((error) => `${error.instancePath.slice(1).replaceAll('/', '.') || 'body'} ${error.message}`)
    throw validationFailed(errors.join('; ') || 'The body of the request does not fit its schema', errors)
  }
  // The validator has just proved it.
  return converted as Static<Schema>
}

export function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Go sends null for what it leaves unset; an attribute that is null counts as absent. */
function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.filter((item) => item !== null).map(withoutNulls)
  if (!isPlainObject(value)) return value
  const result: Record<string, unknown> = {}
  for (const [key, item] of Object.entries(value)) {
    if (item !== null) result[key] = withoutNulls(item)
  }
  return result
}

/** Any JSON object, values untouched: for metadata. */
export const AnyObject = Type.Record(Type.String(), Type.Unknown())
