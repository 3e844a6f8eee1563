import { type Static, type TSchema, Type } from 'typebox'
import { Compile } from 'typebox/compile'
import { Invalid } from '../kernel/errors.ts'

/** Words that upstream's lax booleans take. */
const trueWords = ['True', 'TRUE', 'true', '1', 'ON', 'On', 'on', 'YES', 'Yes', 'yes', 'y', 't']
const falseWords = ['False', 'FALSE', 'false', '0', 'OFF', 'Off', 'off', 'NO', 'No', 'no', 'n', 'f']

/** A boolean or one of upstream's words for it; read it with `booleanOf`. */
export const LaxBoolean = Type.Union(
  [Type.Boolean(), ...[...trueWords, ...falseWords].map((word) => Type.Literal(word))],
  { description: 'is not a boolean' },
)

export function booleanOf(value: Static<typeof LaxBoolean>): boolean {
  return value === true || (typeof value === 'string' && trueWords.includes(value))
}

/** A strict boolean of a query string. @throws Invalid for an unknown word */
export function queryBoolean(name: string, text: string): boolean {
  const lower = text.trim().toLowerCase()
  if (['true', '1', 'on', 'yes', 'y', 't'].includes(lower)) return true
  if (['false', '0', 'off', 'no', 'n', 'f'].includes(lower)) return false
  throw new Invalid(`Invalid value '${text}' for ${name}: it is not a boolean.`)
}

/** A whole number, also as text; read it with `Number`. The range is checked on either. */
export function laxInteger(minimum: number, maximum = 2_147_483_647) {
  return Type.Union([Type.Integer({ minimum, maximum }), Type.String({ pattern: '^-?[0-9]+$' })], {
    description: `is not a whole number from ${minimum} to ${maximum}`,
    integerRange: [minimum, maximum],
  })
}

const trimmedLength = 255

/** A display name or description. Blanks around it do not count. */
export const Name = Type.Union([Type.String({ maxLength: trimmedLength }), Type.Null()], {
  description: `is not text of at most ${trimmedLength} characters`,
})

/** Strings by key. @param keyPattern what a key may look like */
function stringMap(keyPattern: string, maxLength: number) {
  return Type.Record(Type.String({ pattern: keyPattern }), Type.String({ maxLength }), {
    additionalProperties: false,
    description: 'is not an object of strings with valid keys',
  })
}

export const Metadata = stringMap('^[a-zA-Z0-9\\-_:. /]{1,255}$', 255)
export const SnapshotMetadata = stringMap('^[a-zA-Z0-9\\-_:. ]{1,255}$', 255)
export const ImageMetadata = stringMap('^[a-zA-Z0-9\\-_:. ]{1,255}$', 65_535)
export const ExtraSpecs = stringMap('^[a-zA-Z0-9\\-_:.]{1,255}$', 255)

const uuidText = '^[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}$'
export const Uuid = Type.String({ pattern: uuidText, description: 'is not a UUID' })
export const UuidOrNull = Type.Union([Uuid, Type.Null()], { description: 'is not a UUID' })

/** An object that takes the named keys only. */
export function closed<Properties extends Record<string, TSchema>>(properties: Properties) {
  return Type.Object(properties, { additionalProperties: false })
}

/** Checks values against one schema. */
export interface Validator<Value> {
  /** @returns the value itself @throws Invalid in upstream's words */
  check(value: unknown): Value
}

/** @param schema what a request body must look like; compiled once */
export function validator<Schema extends TSchema>(schema: Schema): Validator<Static<Schema>> {
  let compiled: ReturnType<typeof Compile<Schema>> | undefined
  return {
    check(value) {
      compiled ??= Compile(schema)
      if (value === undefined) throw new Invalid("None is not of type 'object'")
      if (!compiled.Check(value)) throw new Invalid(describe(schema, value, compiled.Errors(value)))
      checkIntegers(schema, value, '')
      return value as Static<Schema> // Check has just proved it
    },
  }
}

interface SchemaNode {
  readonly description?: string
  readonly anyOf?: readonly SchemaNode[]
  readonly properties?: Readonly<Record<string, SchemaNode>>
  readonly integerRange?: readonly [number, number]
}

/** The part of JSON Schema that we walk; TypeBox schemas are plain objects of it. */
const nodeOf = (schema: TSchema): SchemaNode => schema as SchemaNode

/** Digit strings cannot be range-checked by a schema. */
function checkIntegers(schema: TSchema, value: unknown, name: string): void {
  const node = nodeOf(schema)
  if (node.integerRange !== undefined && typeof value === 'string') {
    const [minimum, maximum] = node.integerRange
    const number = Number(value)
    if (number < minimum || number > maximum) throw invalidField(name, value, node.description ?? '')
  }
  if (node.properties === undefined || typeof value !== 'object' || value === null) return
  for (const [key, child] of Object.entries(node.properties)) {
    const part = (value as Record<string, unknown>)[key] // an object: the null case is excluded above
    if (part !== undefined) checkIntegers(child as TSchema, part, key)
  }
}

function invalidField(name: string, value: unknown, reason: string): Invalid {
  return new Invalid(
    `Invalid input for field/attribute ${name}. Value: ${wireText(value)}. ${wireText(value)} ${reason}`,
  )
}

function wireText(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  return text === undefined ? 'None' : text.length > 300 ? `${text.slice(0, 300)}…` : text
}

interface SchemaError {
  readonly keyword: string
  readonly instancePath: string
  readonly message: string
  readonly params: object
}

/** One sentence for the first thing that is wrong, in upstream's words where it has some. */
function describe(schema: TSchema, value: unknown, errors: readonly SchemaError[]): string {
  const missing = errors.find((error) => error.keyword === 'required')
  if (missing !== undefined && 'requiredProperties' in missing.params) {
    const [name] = missing.params.requiredProperties as readonly string[] // what TypeBox puts there
    return `Invalid input for field/attribute ${fieldOf(missing.instancePath) ?? 'body'}. '${name}' is a required property`
  }
  const extra = errors.find((error) => error.keyword === 'additionalProperties')
  if (extra !== undefined && 'additionalProperties' in extra.params) {
    const names = (extra.params.additionalProperties as readonly string[]).map((name) => `'${name}'`) // as above
    const where = fieldOf(extra.instancePath) ?? 'body'
    const were = names.length === 1 ? 'was' : 'were'
    return `Invalid input for field/attribute ${where}. Additional properties are not allowed (${names.join(', ')} ${were} unexpected)`
  }
  const error = errors.at(-1)
  if (error === undefined) return 'Invalid input.'
  let node: SchemaNode | undefined = nodeOf(schema)
  let part: unknown = value
  for (const key of error.instancePath.split('/').slice(1)) {
    node = node?.properties?.[key]
    part = typeof part === 'object' && part !== null ? (part as Record<string, unknown>)[key] : undefined
  }
  const name = fieldOf(error.instancePath) ?? 'body'
  if (name === 'name' || name === 'description' || name === 'display_name') {
    if (typeof part === 'string') {
      return `An invalid '${name}' value was provided. ${name} has ${part.length} characters, more than 255.`
    }
    return `An invalid '${name}' value was provided. ${wireText(part)} is not of type 'string'`
  }
  return invalidField(name, part, reasonOf(node, error)).message
}

/** Upstream's words, which are those of Python's jsonschema, for what a value does not satisfy. */
const reasons: Readonly<Record<string, string>> = {
  anyOf: 'is not valid under any of the given schemas',
  minLength: 'is too short',
  maxLength: 'is too long',
  minProperties: 'does not have enough properties',
}

/** What is wrong: as the schema says it, or the alternative of it that says something. */
function reasonOf(node: SchemaNode | undefined, error: SchemaError): string {
  const described = [node, ...(node?.anyOf ?? [])].find((each) => each?.description !== undefined)
  if (described?.description !== undefined) return described.description
  if (error.keyword === 'type' && 'type' in error.params) return `is not of type '${error.params.type}'`
  return reasons[error.keyword] ?? error.message
}

function fieldOf(instancePath: string): string | undefined {
  const name = instancePath.split('/').at(-1)
  return name === undefined || name === '' ? undefined : name
}
