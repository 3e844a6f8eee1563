import type { Static, TSchema } from 'typebox'
import { Compile } from 'typebox/compile'
import { EdfProtocol } from './errors.ts'

interface Check {
  Check(value: unknown): boolean
  Errors(value: unknown): readonly { instancePath: string; message: string }[]
}

/** Compiled when first needed: a client uses few of the shapes. */
const checks = new WeakMap<TSchema, Check>()

/** @throws EdfProtocol that says where the value differs from the shape */
export function expectShape<Schema extends TSchema>(
  schema: Schema,
  value: unknown,
  path: string,
): Static<Schema> {
  let check = checks.get(schema)
  if (check === undefined) {
    check = Compile(schema)
    checks.set(schema, check)
  }
  if (!hasShape(schema, value, check)) {
    const [first] = check.Errors(value)
    const where = first === undefined ? '' : `: ${first.instancePath || '/'} ${first.message}`
    throw new EdfProtocol(`the array's answer to ${path} has an unexpected form${where}`, { path })
  }
  return value
}

function hasShape<Schema extends TSchema>(
  _schema: Schema,
  value: unknown,
  check: Check,
): value is Static<Schema> {
  return check.Check(value)
}

/** What an enveloped answer carries. @throws EdfProtocol when there is no envelope */
export function dataOf(body: unknown, path: string): unknown {
  if (typeof body !== 'object' || body === null || !('data' in body)) {
    throw new EdfProtocol(`the array's answer to ${path} has no data`, { path })
  }
  return body.data
}
