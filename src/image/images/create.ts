import { randomUUID } from 'node:crypto'
import type { Db } from '../../kernel/db/database.ts'
import { Conflict, Forbidden, Invalid } from '../../kernel/errors.ts'
import type { ImageTables } from '../db/tables.ts'
import type { Environment, ImageRequest } from '../environment.ts'
import { detailed } from './access.ts'
import { checkQuota, normalTags, protectedProperty, refuseReadOnly, refuseReserved } from './attributes.ts'
import { type Image, type ImageRow, insertDetails } from './queries.ts'

/** A new image, checked, and not stored yet. */
export interface NewImage {
  readonly row: ImageRow
  readonly properties: Readonly<Record<string, string>>
  readonly tags: readonly string[]
}

/**
 * Makes an image without data, `queued`.
 * @throws Forbidden for reserved names and foreign owners; Invalid; OverQuota; Conflict for an id that was used
 * @see image-api specification 2.1, 2.2; glance/api/v2/images.py create
 */
export async function createImage(
  environment: Environment,
  request: ImageRequest,
  body: Readonly<Record<string, unknown>>,
): Promise<Image> {
  const image = prepareImage(environment, request, body)
  await environment.quotas.checkCreate(request)
  return await environment.db.transaction().execute((transaction) => insertImage(transaction, image))
}

/** Checks what an image is to be. @throws Forbidden, Invalid, OverQuota */
export function prepareImage(
  environment: Environment,
  request: ImageRequest,
  body: Readonly<Record<string, unknown>>,
): NewImage {
  const { settings, policy, schemas } = environment
  for (const name of Object.keys(body)) {
    refuseReserved(name)
    if (name !== 'id') refuseReadOnly(name)
    if (name === 'locations') throw new Forbidden(`Attribute 'locations' is read-only.`)
  }
  schemas.checkImage(body)

  const owner = ownerOf(body, request)
  const visibility = typeof body['visibility'] === 'string' ? body['visibility'] : 'shared'
  const target = { project_id: owner, owner, visibility }
  requireCreation(policy.allows('add_image', request.identity, target))
  if (visibility === 'public') requireCreation(policy.allows('publicize_image', request.identity, target))
  if (visibility === 'community')
    requireCreation(policy.allows('communitize_image', request.identity, target))

  const tags = normalTags(texts(body['tags']), settings.tagQuota)
  const properties = customProperties(body, (name) => schemas.isAttribute(name))
  for (const name of Object.keys(properties)) {
    if (!environment.protections.allows('create', name, request.identity)) throw protectedProperty(name)
  }
  checkQuota(Object.keys(properties).length, settings.propertyQuota, 'properties')

  const now = environment.now().toISOString()
  const row: ImageRow = {
    id: (textOf(body['id']) ?? randomUUID()).toLowerCase(),
    name: textOf(body['name']),
    status: 'queued',
    visibility,
    protected: body['protected'] === true ? 1 : 0,
    os_hidden: body['os_hidden'] === true ? 1 : 0,
    owner,
    container_format: textOf(body['container_format']),
    disk_format: textOf(body['disk_format']),
    min_disk: numberOf(body['min_disk']),
    min_ram: numberOf(body['min_ram']),
    size: null,
    virtual_size: null,
    checksum: null,
    os_hash_algo: null,
    os_hash_value: null,
    created_at: now,
    updated_at: now,
    deleted_at: null,
    upload_id: null,
    upload_alive_until: null,
  }
  return { row, properties, tags }
}

/** Call it in a transaction. @throws Conflict for an id that was used */
export async function insertImage(db: Db<ImageTables>, image: NewImage): Promise<Image> {
  const { row, properties, tags } = image
  const inserted = await db
    .insertInto('images')
    .values(row)
    .onConflict((conflict) => conflict.column('id').doNothing())
    .executeTakeFirst()
  if (inserted.numInsertedOrUpdatedRows === 0n) {
    throw new Conflict(`Image ID ${row.id} already exists!`)
  }
  await insertDetails(db, row.id, { properties, tags })
  return await detailed(db, row)
}

function ownerOf(body: Readonly<Record<string, unknown>>, request: ImageRequest): string | null {
  const own = request.identity.projectId ?? null
  if (!('owner' in body)) return own
  const owner = textOf(body['owner'])
  if (owner !== own && !request.isAdmin) {
    throw new Forbidden(`You are not permitted to create images owned by '${owner}'.`)
  }
  return owner
}

function requireCreation(allowed: boolean): void {
  if (!allowed) throw new Forbidden('You are not authorized to complete this action.')
}

/** Everything in a body that is not an attribute of its own. */
function customProperties(
  body: Readonly<Record<string, unknown>>,
  isAttribute: (name: string) => boolean,
): Readonly<Record<string, string>> {
  const properties: Record<string, string> = {}
  for (const [name, value] of Object.entries(body)) {
    if (isAttribute(name) || value === null) continue
    if (typeof value !== 'string') throw new Invalid(`Property ${name} must be a string.`)
    properties[name] = value
  }
  return properties
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' ? value : null
}

function numberOf(value: unknown): number {
  return typeof value === 'number' ? value : 0
}

function texts(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : []
}
