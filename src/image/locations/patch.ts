import type { Call } from '../../kernel/call.ts'
import { Conflict, Forbidden, Invalid } from '../../kernel/errors.ts'
import type { Environment, ImageRequest } from '../environment.ts'
import { findAllowed, requireAllowed, type VisibleImage } from '../images/access.ts'
import { checkQuota } from '../images/attributes.ts'
import type { PatchOperation } from '../images/json-patch.ts'
import type { ImageRow } from '../images/queries.ts'
import {
  type CheckedLocation,
  checkLocation,
  checkValidation,
  storeOfUrl,
  type ValidationData,
} from './check.ts'

/** A location as a client sends it. */
interface GivenLocation {
  readonly url: string
  readonly metadata: Readonly<Record<string, unknown>>
  readonly validation: ValidationData | undefined
}

/** A location while a patch is applied: with the id that it has already, or with none. */
export interface DraftLocation {
  readonly id: string | undefined
  readonly url: string
  readonly metadata: Readonly<Record<string, unknown>>
}

/** What patches of locations work on. */
export interface LocationDraft {
  row: ImageRow
  locations: readonly DraftLocation[]
  locationsChanged: boolean
}

/** Locations that a patch adds, by URL: looked at before the transaction, which must not wait for a store. */
export type CheckedLocations = ReadonlyMap<string, CheckedLocation>

/**
 * Looks at every location that a patch names.
 * @throws Forbidden when locations may not be edited; Conflict for the image's status; Invalid for a location
 *   that cannot be used
 */
export async function checkPatchedLocations(
  environment: Environment,
  request: ImageRequest,
  imageId: string,
  operations: readonly PatchOperation[],
): Promise<CheckedLocations> {
  const checked = new Map<string, CheckedLocation>()
  const named = operations.filter(({ op, path }) => path[0] === 'locations' && op !== 'remove')
  if (named.length === 0) return checked
  const found = await findAllowed(environment, request, imageId, 'modify_image')
  requireEditable(environment, request, found, 'set_image_location')
  const known = await environment.db
    .selectFrom('image_locations')
    .select('url')
    .where('image_id', '=', imageId)
    .where('status', '=', 'active')
    .execute()
  const call: Call = { signal: request.signal, log: request.log }
  for (const operation of named) {
    const given = operation.op === 'add' ? [locationOf(operation.value)] : listOf(operation.value)
    for (const location of given) {
      storeOfUrl(environment, location.url, location.metadata['store'])
      if (operation.op === 'replace' && known.some(({ url }) => url === location.url)) continue
      // what is replaced must be known already, unless there is nothing yet
      if (operation.op === 'replace' && known.length > 0) throw onlyMetadata()
      checked.set(location.url, await checkLocation(environment, location, call))
    }
  }
  return checked
}

/**
 * Applies one operation on `/locations`.
 * @see image-api specification 2.6
 */
export function applyToLocations(
  environment: Environment,
  request: ImageRequest,
  found: VisibleImage,
  draft: LocationDraft,
  operation: PatchOperation,
  checked: CheckedLocations,
): void {
  const isRemoval = operation.op === 'remove'
  requireEditable(environment, request, found, isRemoval ? 'delete_image_location' : 'set_image_location')
  if (isRemoval) remove(draft, operation.path[1] ?? '')
  else if (operation.op === 'add') {
    add(environment, draft, operation.path[1] ?? '', locationOf(operation.value), checked)
  } else replace(environment, draft, listOf(operation.value), checked)
  draft.locationsChanged = true
}

function requireEditable(
  environment: Environment,
  request: ImageRequest,
  found: VisibleImage,
  rule: 'set_image_location' | 'delete_image_location',
): void {
  if (!environment.settings.showLocations) {
    throw new Forbidden("It's not allowed to update locations if locations are invisible.")
  }
  requireAllowed(environment, request, rule, found)
  const { status } = found.row
  if (status !== 'active' && !(status === 'queued' && rule === 'set_image_location')) {
    throw new Conflict(`It's not allowed to update locations if image status is ${status}.`)
  }
}

function remove(draft: LocationDraft, segment: string): void {
  if (draft.locations.length === 1) throw new Forbidden('Cannot remove last location in the image.')
  const index = indexOf(segment, draft.locations.length - 1)
  draft.locations = draft.locations.filter((_, position) => position !== index)
}

function add(
  environment: Environment,
  draft: LocationDraft,
  segment: string,
  given: GivenLocation,
  checked: CheckedLocations,
): void {
  const found = checked.get(given.url)
  if (found === undefined) throw new Invalid(`Invalid location: ${given.url}`)
  const index = segment === '-' ? draft.locations.length : indexOf(segment, draft.locations.length)
  const location: DraftLocation = {
    id: undefined,
    url: given.url,
    metadata: environment.stores.multiStore
      ? { ...given.metadata, store: found.metadata['store'] }
      : given.metadata,
  }
  if (draft.locations.some((other) => isSame(other, location))) {
    throw new Invalid(`Duplicate location: ${given.url}`)
  }
  if (given.validation !== undefined) {
    checkValidation(environment, draft.row, given.validation)
    draft.row = {
      ...draft.row,
      checksum: given.validation.checksum ?? draft.row.checksum,
      os_hash_algo: given.validation.algorithm,
      os_hash_value: given.validation.value,
    }
  }
  draft.locations = draft.locations.toSpliced(index, 0, location)
  checkQuota(draft.locations.length, environment.settings.locationQuota, 'locations')
  activate(draft, found.sizeBytes)
}

/** The first location makes a queued image active. @throws Invalid while a format is missing */
function activate(draft: LocationDraft, sizeBytes: number): void {
  if (draft.row.status !== 'queued') return
  if (draft.row.disk_format === null || draft.row.container_format === null) {
    throw new Invalid('Properties disk_format, container_format must be set prior to saving data.')
  }
  draft.row = { ...draft.row, status: 'active', size: sizeBytes }
}

function replace(
  environment: Environment,
  draft: LocationDraft,
  given: readonly GivenLocation[],
  checked: CheckedLocations,
): void {
  if (given.length === 0) throw new Forbidden('Cannot set locations to empty list.')
  if (draft.locations.length === 0) {
    for (const location of given) add(environment, draft, '-', location, checked)
    return
  }
  const urls = (locations: readonly { readonly url: string }[]) => locations.map(({ url }) => url).sort()
  if (JSON.stringify(urls(given)) !== JSON.stringify(urls(draft.locations))) throw onlyMetadata()
  const unused = [...draft.locations]
  draft.locations = given.map(({ url, metadata }) => {
    const index = unused.findIndex((location) => location.url === url)
    const [present] = unused.splice(index, 1)
    const store = present?.metadata['store']
    return { id: present?.id, url, metadata: store === undefined ? metadata : { ...metadata, store } }
  })
}

function onlyMetadata(): Invalid {
  return new Invalid(
    'Original locations is not empty: only the metadata of the same locations may be replaced.',
  )
}

function isSame(a: DraftLocation, b: DraftLocation): boolean {
  const sorted = (metadata: Readonly<Record<string, unknown>>) =>
    JSON.stringify(Object.entries(metadata).sort(([x], [y]) => (x < y ? -1 : 1)))
  return a.url === b.url && sorted(a.metadata) === sorted(b.metadata)
}

/** @throws Invalid for what is no number from 0 to the limit */
function indexOf(segment: string, limit: number): number {
  const index = Number(segment)
  if (!/^\d+$/.test(segment) || index > limit)
    throw new Invalid(`Invalid position for adding a location: ${segment}`)
  return index
}

function listOf(value: unknown): readonly GivenLocation[] {
  if (!Array.isArray(value)) throw new Invalid('Locations must be a list.')
  return value.map(locationOf)
}

/** The schema has been looked at already where the whole list is given; one that is added has not. */
function locationOf(value: unknown): GivenLocation {
  const fields = new Map<string, unknown>(
    typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.entries(value) : [],
  )
  const url = fields.get('url')
  const metadata = fields.get('metadata')
  if (
    typeof url !== 'string' ||
    typeof metadata !== 'object' ||
    metadata === null ||
    Array.isArray(metadata)
  ) {
    throw new Invalid('Invalid location: it needs a url and metadata.')
  }
  if (url.length > 255) throw new Invalid('The URL of a location has at most 255 characters.')
  for (const name of fields.keys()) {
    if (!['url', 'metadata', 'validation_data'].includes(name)) {
      throw new Invalid(`Invalid location: it has no member ${name}.`)
    }
  }
  return {
    url,
    metadata: Object.fromEntries(Object.entries(metadata)),
    validation: validationOf(fields.get('validation_data')),
  }
}

function validationOf(value: unknown): ValidationData | undefined {
  if (value === undefined) return undefined
  const fields = new Map<string, unknown>(
    typeof value === 'object' && value !== null ? Object.entries(value) : [],
  )
  const algorithm = fields.get('os_hash_algo')
  const hash = fields.get('os_hash_value')
  const checksum = fields.get('checksum')
  if (typeof algorithm !== 'string' || typeof hash !== 'string') {
    throw new Conflict('validation_data needs os_hash_algo and os_hash_value')
  }
  if (checksum !== undefined && typeof checksum !== 'string') {
    throw new Conflict('checksum is not the hexadecimal value of an MD5 hash')
  }
  return { algorithm, value: hash, checksum }
}
