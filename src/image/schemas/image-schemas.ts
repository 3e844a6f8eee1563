import Type, { type TSchema } from 'typebox'
import { Compile, type Validator } from 'typebox/compile'
import { Invalid } from '../../kernel/errors.ts'

/** A piece of JSON Schema that TypeBox has no builder for; `Value` is what it describes. */
const described = <Value>(schema: Record<string, unknown>) => Type.Unsafe<Value>(schema)

const nullableText = (maxLength: number, description: string, extra: Record<string, unknown> = {}) =>
  described<string | null>({ type: ['null', 'string'], maxLength, description, ...extra })

const readOnly = { readOnly: true }
/** The wire has integers of 32 bits here. */
const maxInteger = 2_147_483_647

export const uuidPattern =
  '^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$'

/** Properties that clients agree on; upstream ships the same list as `schema-image.json`. */
const wellKnown = {
  kernel_id: nullableText(255, 'ID of the kernel image to boot an AMI-style image with.', {
    pattern: uuidPattern,
    is_base: false,
  }),
  ramdisk_id: nullableText(255, 'ID of the ramdisk image to boot an AMI-style image with.', {
    pattern: uuidPattern,
    is_base: false,
  }),
  instance_uuid: described<string>({
    type: 'string',
    description: 'ID of the server that the image was made of.',
    is_base: false,
  }),
  architecture: described<string>({
    type: 'string',
    description: 'Processor architecture of the operating system.',
    is_base: false,
  }),
  os_distro: described<string>({
    type: 'string',
    description: 'Common name of the distribution of the operating system.',
    is_base: false,
  }),
  os_version: described<string>({
    type: 'string',
    description: 'Version of the operating system, as its distributor names it.',
    is_base: false,
  }),
  description: described<string>({ type: 'string', description: 'A text for people.', is_base: false }),
  cinder_encryption_key_id: described<string>({
    type: 'string',
    description: 'Key that encrypted volume data in the image.',
    is_base: false,
  }),
  cinder_encryption_key_deletion_policy: described<string>({
    type: 'string',
    enum: ['on_image_deletion', 'do_not_delete'],
    description: 'What becomes of that key when the image is deleted.',
    is_base: false,
  }),
}

const Location = Type.Object({
  url: Type.String({ maxLength: 255 }),
  metadata: described<Record<string, unknown>>({ type: 'object' }),
  validation_data: Type.Optional(
    Type.Object(
      {
        checksum: Type.Optional(Type.String({ minLength: 32, maxLength: 32 })),
        os_hash_algo: Type.String({ maxLength: 64 }),
        os_hash_value: Type.String({ maxLength: 128 }),
      },
      { description: 'Digests of the data, on input only.', additionalProperties: false },
    ),
  ),
})

function imageProperties(formats: { diskFormats: readonly string[]; containerFormats: readonly string[] }) {
  return {
    ...wellKnown,
    id: Type.String({ pattern: uuidPattern, description: 'Identifier of the image.' }),
    name: nullableText(255, 'A name for people.'),
    status: Type.String({
      ...readOnly,
      description: 'State of the image.',
      enum: [
        'queued',
        'saving',
        'active',
        'killed',
        'deleted',
        'uploading',
        'importing',
        'pending_delete',
        'deactivated',
      ],
    }),
    visibility: described<string>({
      type: 'string',
      description: 'Who may see the image.',
      enum: ['community', 'public', 'private', 'shared'],
    }),
    protected: Type.Boolean({ description: 'Keeps the image from being deleted.' }),
    os_hidden: Type.Boolean({ description: 'Leaves the image out of lists unless they ask for it.' }),
    checksum: nullableText(32, 'MD5 of the data.', readOnly),
    os_hash_algo: nullableText(64, 'Algorithm of os_hash_value.', readOnly),
    os_hash_value: nullableText(128, 'Digest of the data, hexadecimal.', readOnly),
    owner: nullableText(255, 'Project that owns the image.'),
    size: described<number | null>({
      type: ['null', 'integer'],
      ...readOnly,
      description: 'Bytes of the data.',
    }),
    virtual_size: described<number | null>({
      type: ['null', 'integer'],
      ...readOnly,
      description: 'Bytes of the disk that the data describes.',
    }),
    container_format: described<string | null>({
      type: ['null', 'string'],
      description: 'What the data is wrapped in.',
      enum: [null, ...formats.containerFormats],
    }),
    disk_format: described<string | null>({
      type: ['null', 'string'],
      description: 'Format of the disk.',
      enum: [null, ...formats.diskFormats],
    }),
    created_at: Type.String({ ...readOnly, description: 'When the image was created.' }),
    updated_at: Type.String({ ...readOnly, description: 'When the image was last changed.' }),
    tags: Type.Array(Type.String({ maxLength: 255 }), { description: 'Labels of the image.' }),
    direct_url: Type.String({ ...readOnly, description: 'Where the data lies.' }),
    min_ram: Type.Integer({ minimum: 0, maximum: maxInteger, description: 'MiB of memory needed to boot.' }),
    min_disk: Type.Integer({ minimum: 0, maximum: maxInteger, description: 'GiB of disk needed to boot.' }),
    self: Type.String({ ...readOnly, description: 'Path of the image.' }),
    file: Type.String({ ...readOnly, description: 'Path of the data.' }),
    stores: Type.String({ ...readOnly, description: 'Stores that hold the data.' }),
    schema: Type.String({ ...readOnly, description: 'Path of this schema.' }),
    locations: Type.Array(Location, { description: 'Where the data lies, and what is known of it there.' }),
  }
}

const memberProperties = {
  created_at: Type.String({ description: 'When the member was added.' }),
  image_id: Type.String({ pattern: uuidPattern, description: 'Identifier of the image.' }),
  member_id: Type.String({ description: 'Project that the image is shared with.' }),
  schema: Type.String({ readOnly: true }),
  status: Type.String({
    description: 'What the project says to it.',
    enum: ['pending', 'accepted', 'rejected'],
  }),
  updated_at: Type.String({ description: 'When the member was last changed.' }),
}

const taskProperties = {
  id: Type.String({ pattern: uuidPattern, description: 'Identifier of the task.' }),
  type: Type.String({
    enum: ['import', 'api_image_import', 'location_import'],
    description: 'Kind of work.',
  }),
  status: Type.String({
    enum: ['pending', 'processing', 'success', 'failure'],
    description: 'How far the work is.',
  }),
  input: described<object | null>({ type: ['null', 'object'], description: 'What was asked for.' }),
  result: described<object | null>({ type: ['null', 'object'], description: 'What came of it.' }),
  owner: Type.String({ description: 'Project that asked.' }),
  message: Type.String({ description: 'A text for people, in particular about failure.' }),
  image_id: Type.String({ description: 'The image it works on.' }),
  request_id: Type.String({ description: 'The request that asked for it.' }),
  user_id: Type.String({ description: 'The user who asked for it.' }),
  expires_at: described<string | null>({
    type: ['null', 'string'],
    description: 'When the record goes away.',
  }),
  created_at: Type.String({ description: 'When it was asked for.' }),
  updated_at: Type.String({ description: 'When it last changed.' }),
  self: Type.String({ readOnly: true }),
  schema: Type.String({ readOnly: true }),
}

/** A schema as `GET /v2/schemas/<name>` answers it. */
function collection(name: string, item: Record<string, unknown>, paged: boolean): Record<string, unknown> {
  const page = { first: { type: 'string' }, next: { type: 'string' } }
  return {
    name,
    properties: {
      [name]: { type: 'array', items: item },
      ...(paged ? page : {}),
      schema: { type: 'string' },
    },
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

/** The schemas of the API: what validates requests is what is served. */
export class ImageSchemas {
  /** By the name in `/v2/schemas/<name>`. */
  readonly served: ReadonlyMap<string, Record<string, unknown>>
  readonly #image: Validator
  readonly #attributes: ReadonlyMap<string, Validator>

  /** @param formats the configured ones: they are enums of the schema */
  constructor(formats: { diskFormats: readonly string[]; containerFormats: readonly string[] }) {
    const properties = imageProperties(formats)
    this.#image = Compile(Type.Partial(Type.Object(properties), { additionalProperties: { type: 'string' } }))
    this.#attributes = new Map(
      Object.entries<TSchema>(properties).map(([name, schema]) => [name, Compile(schema)]),
    )
    const image = {
      name: 'image',
      properties,
      additionalProperties: { type: 'string' },
      links: [
        { rel: 'self', href: '{self}' },
        { rel: 'enclosure', href: '{file}' },
        { rel: 'describedby', href: '{schema}' },
      ],
    }
    const member = { name: 'member', properties: memberProperties }
    const task = { name: 'task', properties: taskProperties }
    this.served = new Map<string, Record<string, unknown>>([
      ['image', image],
      ['images', collection('images', image, true)],
      ['member', member],
      ['members', collection('members', member, false)],
      ['task', task],
      ['tasks', collection('tasks', task, true)],
    ])
  }

  /** @throws Invalid for a body of a creation that the schema forbids */
  checkImage(body: object): void {
    for (const [name, value] of Object.entries(body)) this.checkAttribute(name, value)
    if (!this.#image.Check(body)) throw this.#invalid('', this.#image, body)
  }

  /** Is it an attribute of its own, rather than a custom property? */
  isAttribute(name: string): boolean {
    return this.#attributes.has(name) && !(name in wellKnown)
  }

  /** @throws Invalid for a value that an attribute, or a custom property, cannot have */
  checkAttribute(name: string, value: unknown): void {
    if (name.length > 255) throw new Invalid('The name of a property has at most 255 characters.')
    if (name === '__proto__') throw new Invalid('A property cannot be called __proto__.')
    refuseSurrogates(name, value)
    const validator = this.#attributes.get(name)
    if (validator === undefined) {
      if (typeof value !== 'string') {
        throw new Invalid(`Provided object does not match schema 'image': ${name} must be a string.`)
      }
      if (value.length > 65_535) throw new Invalid(`The value of ${name} is too long.`)
    } else if (!validator.Check(value)) {
      throw this.#invalid(name, validator, value)
    }
  }

  #invalid(name: string, validator: Validator, value: unknown): Invalid {
    const [error] = validator.Errors(value)
    const what = error === undefined ? 'is not valid' : error.message
    const where = `${name}${error?.instancePath ?? ''}`.replace(/^\//, '')
    return new Invalid(`Provided object does not match schema 'image': ${where} ${what}.`)
  }
}

/** Characters outside the basic multilingual plane are refused, visibly, as upstream does. */
const beyondBasicPlane = /[\u{10000}-\u{10ffff}]/u

/** @throws Invalid when a text anywhere in the value has such a character */
export function refuseSurrogates(...values: readonly unknown[]): void {
  for (const value of values) {
    if (typeof value === 'string') {
      if (beyondBasicPlane.test(value)) {
        throw new Invalid('Characters outside the basic multilingual plane are not accepted.')
      }
      if (value.includes('\0')) throw new Invalid('The character with the number 0 is not accepted.')
    } else if (Array.isArray(value)) {
      refuseSurrogates(...value)
    } else if (typeof value === 'object' && value !== null) {
      refuseSurrogates(...Object.keys(value), ...Object.values(value))
    }
  }
}
