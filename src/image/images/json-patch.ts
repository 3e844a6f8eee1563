import { Invalid } from '../../kernel/errors.ts'

/** The two media types of image patches. */
export const patchMediaTypes = {
  'application/openstack-images-v2.1-json-patch': 'v2.1',
  'application/openstack-images-v2.0-json-patch': 'v2.0',
} as const

export type PatchDialect = (typeof patchMediaTypes)[keyof typeof patchMediaTypes]

export interface PatchOperation {
  readonly op: 'add' | 'remove' | 'replace'
  /** The decoded segments of the pointer: one, or two below `locations`. */
  readonly path: readonly string[]
  /** Of add and replace. */
  readonly value: unknown
}

const operations = ['add', 'remove', 'replace'] as const

/**
 * Reads a patch.
 * @throws Invalid for whatever is not a list of well-formed operations
 * @see image-api specification 1.11
 */
export function parsePatch(body: unknown, dialect: PatchDialect): readonly PatchOperation[] {
  if (!Array.isArray(body)) throw new Invalid('Request body must be a JSON array of operation objects.')
  return body.map((entry: unknown) => {
    if (typeof entry !== 'object' || entry === null || Array.isArray(entry)) {
      throw new Invalid('Operations must be JSON objects.')
    }
    const fields = new Map<string, unknown>(Object.entries(entry))
    const { op, pointer } = dialect === 'v2.1' ? readNew(fields) : readOld(fields)
    if (op !== 'remove' && !fields.has('value'))
      throw new Invalid(`Operation "${op}" requires a member named "value".`)
    const path = parsePointer(pointer)
    checkDepth(op, path)
    return { op, path, value: op === 'remove' ? undefined : fields.get('value') }
  })
}

function readNew(fields: ReadonlyMap<string, unknown>): { op: PatchOperation['op']; pointer: unknown } {
  const name = fields.get('op')
  const op = operations.find((known) => known === name)
  if (op === undefined) {
    throw new Invalid(`Operations must be one of ${operations.join(', ')}, in a member named "op".`)
  }
  if (!fields.has('path')) throw new Invalid('Operations must have a member named "path".')
  return { op, pointer: fields.get('path') }
}

function readOld(fields: ReadonlyMap<string, unknown>): { op: PatchOperation['op']; pointer: unknown } {
  const present = operations.filter((known) => fields.has(known))
  const [op] = present
  if (op === undefined || present.length !== 1) {
    throw new Invalid(`Operation objects must contain exactly one member named ${operations.join(', ')}.`)
  }
  return { op, pointer: fields.get(op) }
}

/** A JSON pointer: a leading slash, no empty segment, `~0` and `~1` as the only escapes. */
function parsePointer(pointer: unknown): readonly string[] {
  if (typeof pointer !== 'string') throw new Invalid('The path of an operation must be a string.')
  if (!pointer.startsWith('/')) throw new Invalid(`Pointer \`${pointer}\` does not start with "/".`)
  if (pointer.trim() !== pointer) throw new Invalid(`Pointer \`${pointer}\` begins or ends with a blank.`)
  return pointer
    .slice(1)
    .split('/')
    .map((segment) => {
      if (segment === '') throw new Invalid(`Pointer \`${pointer}\` contains an empty segment.`)
      if (/~(?![01])/.test(segment))
        throw new Invalid(`Pointer \`${pointer}\` contains "~" that is not an escape.`)
      return segment.replaceAll('~1', '/').replaceAll('~0', '~')
    })
}

/** Lists other than that of the locations are replaced as a whole. */
function checkDepth(op: PatchOperation['op'], path: readonly string[]): void {
  const wanted = path[0] === 'locations' && op !== 'replace' ? 2 : 1
  if (path.length !== wanted)
    throw new Invalid(`Invalid JSON pointer for this resource: '/${path.join('/')}'`)
}
