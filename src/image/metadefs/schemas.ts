import Type, { type TObject, type TSchema } from 'typebox'
import { Compile, type Validator } from 'typebox/compile'
import { Invalid } from '../../kernel/errors.ts'
import { refuseSurrogates } from '../schemas/image-schemas.ts'

/** Set by the service, and so never needed in what is sent. */
const readOnlyText = (description: string) => Type.Optional(Type.String({ readOnly: true, description }))
const name = (description: string, maxLength = 80) => Type.String({ maxLength, description })
const strings = (description?: string) =>
  Type.Array(Type.String(), description === undefined ? {} : { description })

/** What a property definition may say: a part of JSON Schema. */
const propertyFields = {
  title: Type.String({ description: 'The name for people.' }),
  description: Type.Optional(Type.String()),
  operators: Type.Optional(strings()),
  type: Type.String({ enum: ['array', 'boolean', 'integer', 'number', 'object', 'string'] }),
  required: Type.Optional(strings()),
  minimum: Type.Optional(Type.Number()),
  maximum: Type.Optional(Type.Number()),
  maxLength: Type.Optional(Type.Integer({ minimum: 0 })),
  minLength: Type.Optional(Type.Integer({ minimum: 0 })),
  pattern: Type.Optional(Type.String({ format: 'regex' })),
  enum: Type.Optional(Type.Array(Type.Unknown())),
  readonly: Type.Optional(Type.Boolean()),
  confidential: Type.Optional(Type.Boolean()),
  default: Type.Optional(Type.Unknown()),
  items: Type.Optional(
    Type.Object({
      type: Type.Optional(
        Type.String({ enum: ['array', 'boolean', 'integer', 'number', 'object', 'string', 'null'] }),
      ),
      enum: Type.Optional(Type.Array(Type.Unknown())),
    }),
  ),
  maxItems: Type.Optional(Type.Integer({ minimum: 0 })),
  minItems: Type.Optional(Type.Integer({ minimum: 0 })),
  uniqueItems: Type.Optional(Type.Boolean()),
  additionalItems: Type.Optional(Type.Boolean()),
}
const closed = { additionalProperties: false }
const PropertyBody = Type.Object(propertyFields, closed)
const PropertyMap = Type.Record(Type.String({ maxLength: 80 }), PropertyBody, {
  description: 'Definitions of properties, by name.',
})
const Property = Type.Object({ name: name('The name of the property.'), ...propertyFields }, closed)

const times = {
  created_at: readOnlyText('When it was made.'),
  updated_at: readOnlyText('When it last changed.'),
}
const links = {
  self: readOnlyText('Path of this object.'),
  schema: readOnlyText('Path of its schema.'),
}

const MetadefObject = Type.Object(
  {
    name: name('The name of the object.'),
    description: Type.Optional(Type.String()),
    required: Type.Optional(strings('Properties that must be set.')),
    properties: Type.Optional(PropertyMap),
    ...times,
    ...links,
  },
  closed,
)
const Tag = Type.Object({ name: name('The name of the tag.'), ...times }, closed)
const Tags = Type.Object({ tags: Type.Array(Type.Object({ name: name('The name of a tag.') }, closed)) })
const Association = Type.Object(
  {
    name: name('The resource type, as the Orchestration service names it where it has a name for it.'),
    prefix: Type.Optional(name('Put before the names of properties, for resources of this type.')),
    properties_target: Type.Optional(name('What of the resource the properties belong to.')),
    ...times,
  },
  closed,
)
const Namespace = Type.Object(
  {
    namespace: name('The unique name of the namespace.'),
    display_name: Type.Optional(name('The name for people.')),
    description: Type.Optional(Type.String({ maxLength: 500, description: 'A text for people.' })),
    visibility: Type.Optional(
      Type.String({ enum: ['public', 'private'], description: 'Who may see the namespace.' }),
    ),
    protected: Type.Optional(Type.Boolean({ description: 'Keeps the namespace from being deleted.' })),
    owner: Type.Optional(Type.String({ maxLength: 255, description: 'Project that owns the namespace.' })),
    ...times,
    ...links,
    resource_type_associations: Type.Optional(Type.Array(Association)),
    properties: Type.Optional(PropertyMap),
    objects: Type.Optional(Type.Array(MetadefObject)),
    tags: Type.Optional(Type.Array(Tag)),
  },
  closed,
)

/** What clients may send; fields of the service's own are refused before these look. */
const input = {
  namespace: Namespace,
  property: Property,
  object: MetadefObject,
  tag: Tag,
  tags: Tags,
  association: Association,
} as const satisfies Readonly<Record<string, TSchema>>

export type MetadefKind = keyof typeof input

const required: Readonly<Record<MetadefKind, string>> = {
  namespace: 'namespace',
  property: 'name',
  object: 'name',
  tag: 'name',
  tags: 'tags',
  association: 'name',
}

const validators = new Map<MetadefKind, Validator>()

/** Compiled when it is needed first: not everybody has metadata definitions. */
function validatorOf(kind: MetadefKind): Validator {
  const known = validators.get(kind)
  if (known !== undefined) return known
  const validator: Validator = Compile(input[kind])
  validators.set(kind, validator)
  return validator
}

/** @throws Invalid unless the body is what the schema says */
export function checkMetadef(kind: MetadefKind, body: Readonly<Record<string, unknown>>): void {
  refuseSurrogates(body)
  if (!(required[kind] in body)) throw notMatching(kind, `'${required[kind]}' is a required property`)
  const validator = validatorOf(kind)
  if (validator.Check(body)) return
  const [error] = validator.Errors(body)
  throw notMatching(kind, `${error?.instancePath ?? ''} ${error?.message ?? 'is not valid'}`.trim())
}

function notMatching(kind: MetadefKind, problem: string): Invalid {
  const schema = kind === 'association' ? 'resource_type_association' : kind
  return new Invalid(`Provided object does not match schema '${schema}': ${problem}.`)
}

/** Pieces that the schemas of upstream refer to; ours have them in their places, clients look here. */
const definitions = {
  positiveInteger: { minimum: 0, type: 'integer' },
  positiveIntegerDefault0: { allOf: [{ $ref: '#/definitions/positiveInteger' }, { default: 0 }] },
  stringArray: { type: 'array', items: { type: 'string' }, uniqueItems: true },
  property: { type: 'object', additionalProperties: PropertyBody },
}

function single(schemaName: string, schema: TObject, needed: readonly string[]): Record<string, unknown> {
  const properties: Readonly<Record<string, TSchema>> = schema.properties
  return { name: schemaName, properties, additionalProperties: false, definitions, required: needed }
}

function collection(schemaName: string, item: TSchema, paged: boolean): Record<string, unknown> {
  const page = { first: { type: 'string' }, next: { type: 'string' } }
  return {
    name: schemaName,
    properties: {
      [schemaName]: { type: 'array', items: item },
      ...(paged ? page : {}),
      schema: { type: 'string' },
    },
    definitions,
    links: [
      ...(paged
        ? [
            { rel: 'first', href: '{first}' },
            { rel: 'next', href: '{next}' },
          ]
        : []),
      { rel: 'describedby', href: '{schema}' },
    ],
  }
}

/** By the last part of `/v2/schemas/metadefs/<name>`. */
export const servedMetadefSchemas: ReadonlyMap<string, Record<string, unknown>> = new Map([
  ['namespace', single('namespace', Namespace, ['namespace'])],
  ['namespaces', collection('namespaces', Namespace, true)],
  ['resource_type', single('resource_type_association', Association, ['name'])],
  ['resource_types', collection('resource_type_associations', Association, false)],
  ['property', single('property', Property, ['name', 'title', 'type'])],
  [
    'properties',
    {
      name: 'properties',
      properties: { properties: { type: 'object', additionalProperties: PropertyBody } },
      definitions,
    },
  ],
  ['object', single('object', MetadefObject, ['name'])],
  ['objects', collection('objects', MetadefObject, true)],
  ['tag', single('tag', Tag, ['name'])],
  ['tags', collection('tags', Tag, true)],
])
