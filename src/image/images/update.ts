import { Conflict, Forbidden, Invalid } from '../../kernel/errors.ts'
import { type Environment, type ImageRequest, requesterOf } from '../environment.ts'
import {
  applyToLocations,
  type CheckedLocations,
  checkPatchedLocations,
  type LocationDraft,
} from '../locations/patch.ts'
import { saveLocations } from '../locations/save.ts'
import { detailed, findAllowed, requireAllowed, type VisibleImage } from './access.ts'
import { checkQuota, normalTags, protectedProperty, refuseReadOnly, refuseReserved } from './attributes.ts'
import type { PatchDialect, PatchOperation } from './json-patch.ts'
import { deleteDetails, type Image, type ImageRow, insertDetails } from './queries.ts'
import { grantStoreAccess } from './store-access.ts'

/** Attributes that a client may change: the image's own columns, as they are on the wire. */
const changeable = [
  'name',
  'visibility',
  'protected',
  'os_hidden',
  'owner',
  'container_format',
  'disk_format',
  'min_disk',
  'min_ram',
] as const
type Changeable = (typeof changeable)[number]

/** The image while operations are applied to it. */
interface Draft extends LocationDraft {
  properties: Record<string, string>
  tags: readonly string[]
  propertiesChanged: boolean
  tagsChanged: boolean
}

/**
 * Applies a patch: all of it or nothing, in the order of its operations.
 * @throws Forbidden, Conflict, Invalid, OverQuota as the specification's table says
 * @see image-api specification 1.11
 */
export async function updateImage(
  environment: Environment,
  request: ImageRequest,
  imageId: string,
  operations: readonly PatchOperation[],
  dialect: PatchDialect,
): Promise<Image> {
  const checked = await checkPatchedLocations(environment, request, imageId, operations)
  const image = await patchImage(environment, request, imageId, operations, dialect, checked)
  if (operations.some(({ path: [name = ''] }) => changesReaders.has(name))) {
    await grantStoreAccess(environment, imageId, { ...request, requester: requesterOf(request) })
  }
  return image
}

/** Attributes that decide who may read the data, or where it is. */
const changesReaders: ReadonlySet<string> = new Set(['visibility', 'locations'])

async function patchImage(
  environment: Environment,
  request: ImageRequest,
  imageId: string,
  operations: readonly PatchOperation[],
  dialect: PatchDialect,
  checked: CheckedLocations,
): Promise<Image> {
  return await environment.db.transaction().execute(async (transaction) => {
    const found = await findAllowed(environment, request, imageId, 'modify_image', {
      db: transaction,
      lock: true,
    })
    const image = await detailed(transaction, found.row)
    if (operations.length === 0) return image
    const draft: Draft = {
      row: found.row,
      properties: { ...image.properties },
      tags: image.tags,
      propertiesChanged: false,
      tagsChanged: false,
      locations: environment.stores.byWeight(image.locations),
      locationsChanged: false,
    }
    for (const operation of operations) {
      if (operation.path[0] === 'locations') {
        applyToLocations(environment, request, found, draft, operation, checked)
      } else apply(environment, request, found, draft, operation, dialect)
    }
    const before = Object.keys(image.properties).length
    const after = Object.keys(draft.properties).length
    if (after > before) checkQuota(after, environment.settings.propertyQuota, 'properties')

    const row: ImageRow = { ...draft.row, updated_at: environment.now().toISOString() }
    const updated = await transaction
      .updateTable('images')
      .set({ ...changed(row), ...(draft.locationsChanged ? ofData(row) : {}), updated_at: row.updated_at })
      .where('id', '=', imageId)
      .where('deleted_at', 'is', null)
      // formats belong to the data: they must not change under an upload that has just begun
      .where('status', '=', found.row.status)
      .executeTakeFirst()
    if (updated.numUpdatedRows === 0n)
      throw new Conflict(`Image ${imageId} was changed by somebody else meanwhile.`)
    await deleteDetails(transaction, imageId, {
      properties: draft.propertiesChanged,
      tags: draft.tagsChanged,
    })
    await insertDetails(transaction, imageId, {
      properties: draft.propertiesChanged ? draft.properties : {},
      tags: draft.tagsChanged ? draft.tags : [],
    })
    if (draft.locationsChanged) {
      await saveLocations(transaction, environment, request, imageId, draft.locations)
    }
    return await detailed(transaction, row)
  })
}

function changed(row: ImageRow): Pick<ImageRow, Changeable> {
  const { name, visibility, os_hidden, owner, container_format, disk_format, min_disk, min_ram } = row
  return {
    name,
    visibility,
    protected: row.protected,
    os_hidden,
    owner,
    container_format,
    disk_format,
    min_disk,
    min_ram,
  }
}

/** What the first location of an image, and what is said of its data, change. */
function ofData({ status, size, checksum, os_hash_algo, os_hash_value }: ImageRow) {
  return { status, size, checksum, os_hash_algo, os_hash_value }
}

function apply(
  environment: Environment,
  request: ImageRequest,
  found: VisibleImage,
  draft: Draft,
  operation: PatchOperation,
  dialect: PatchDialect,
): void {
  const [name = ''] = operation.path
  refuseReserved(name)
  refuseReadOnly(name)
  const attribute = changeable.find((known) => known === name)
  if (attribute === undefined && name !== 'tags') {
    requireProperty(environment, request, draft, operation, name)
    applyToProperty(environment, draft, operation, name, dialect)
    return
  }
  if (operation.op === 'remove') throw new Forbidden(`Property ${name} may not be removed.`)
  if (operation.op === 'add' && dialect === 'v2.0') throw new Conflict(`Property ${name} already present.`)
  environment.schemas.checkAttribute(name, operation.value)
  if (attribute === undefined) {
    const tags = Array.isArray(operation.value)
      ? operation.value.filter((tag) => typeof tag === 'string')
      : []
    draft.tags = normalTags(tags, environment.settings.tagQuota)
    draft.tagsChanged = true
    return
  }
  checkChange(environment, request, found, attribute, operation.value)
  draft.row = { ...draft.row, [attribute]: columnOf(operation.value) }
}

/** Booleans are 0 and 1 in the table; all else is stored as it is on the wire. */
function columnOf(value: unknown): unknown {
  if (typeof value === 'boolean') return value ? 1 : 0
  return value
}

function checkChange(
  environment: Environment,
  request: ImageRequest,
  found: VisibleImage,
  attribute: Changeable,
  value: unknown,
): void {
  const { row } = found
  if (attribute === 'owner' && value !== row.owner && !request.isAdmin) {
    throw new Forbidden(`You are not permitted to modify 'owner' on this image.`)
  }
  if (attribute === 'visibility' && value === 'public') {
    requireAllowed(environment, request, 'publicize_image', found)
  }
  if (attribute === 'visibility' && value === 'community') {
    requireAllowed(environment, request, 'communitize_image', found)
  }
  if (attribute === 'disk_format' || attribute === 'container_format') {
    if (row.status !== 'queued' && row.status !== 'importing') {
      throw new Forbidden(`Attribute ${attribute} can be only replaced for a queued image.`)
    }
  }
}

/**
 * Property protections: what may not be read looks as if it were not there.
 * @throws Forbidden, Conflict
 */
function requireProperty(
  environment: Environment,
  request: ImageRequest,
  draft: Draft,
  operation: PatchOperation,
  name: string,
): void {
  const { protections } = environment
  const isPresent = Object.hasOwn(draft.properties, name)
  const needed = operation.op === 'remove' ? 'delete' : isPresent ? 'update' : 'create'
  if (isPresent && operation.op !== 'add' && !protections.allows('read', name, request.identity)) {
    throw new Conflict(`Property ${name} does not exist.`)
  }
  if (!isPresent && operation.op !== 'add') return // it is told that it does not exist
  if (!protections.allows(needed, name, request.identity)) throw protectedProperty(name)
}

function applyToProperty(
  environment: Environment,
  draft: Draft,
  operation: PatchOperation,
  name: string,
  dialect: PatchDialect,
): void {
  const present = Object.hasOwn(draft.properties, name)
  if (operation.op === 'remove') {
    if (!present) throw new Conflict(`Property ${name} does not exist.`)
    delete draft.properties[name]
  } else {
    if (operation.op === 'replace' && !present) throw new Conflict(`Property ${name} does not exist.`)
    if (operation.op === 'add' && present && dialect === 'v2.0') {
      throw new Conflict(`Property ${name} already present.`)
    }
    environment.schemas.checkAttribute(name, operation.value)
    const value = operation.value ?? ''
    if (typeof value !== 'string') throw new Invalid(`Property ${name} must be a string.`)
    draft.properties[name] = value
  }
  draft.propertiesChanged = true
}
