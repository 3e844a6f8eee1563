import { PostgresAdapter, type Selectable, sql } from 'kysely'
import type { Db } from '../../kernel/db/database.ts'
import { NotFound } from '../../kernel/errors.ts'
import type { Identity } from '../../kernel/http/request-context.ts'
import type { ImagesTable, ImageTables } from '../db/tables.ts'

export type ImageRow = Selectable<ImagesTable>

/** One place where an image's data lies. */
export interface ImageLocation {
  readonly id: string
  readonly position: number
  readonly url: string
  readonly metadata: Readonly<Record<string, unknown>>
  /** `metadata.store`. */
  readonly storeId: string | undefined
}

/** An image with everything that is shown of it. */
export interface Image extends ImageRow {
  readonly properties: Readonly<Record<string, string>>
  readonly tags: readonly string[]
  /** In the order of insertion. */
  readonly locations: readonly ImageLocation[]
}

/** The caller, as far as visibility is concerned. */
export interface Viewer {
  readonly isAdmin: boolean
  readonly identity: Pick<Identity, 'projectId'>
}

/** `column in (ids)` with one parameter, so that the statement is the same for any number of ids. */
export function inIds(db: Db<ImageTables>, column: string, ids: readonly string[]) {
  const json = JSON.stringify(ids)
  return db.getExecutor().adapter instanceof PostgresAdapter
    ? sql<boolean>`${sql.ref(column)} in (select json_array_elements_text(${json}::json))`
    : sql<boolean>`${sql.ref(column)} in (select value from json_each(${json}))`
}

/** Adds properties, tags and locations to rows, with one query for each of the three. */
export async function withDetails(db: Db<ImageTables>, rows: readonly ImageRow[]): Promise<readonly Image[]> {
  if (rows.length === 0) return []
  const ids = rows.map((row) => row.id)
  const properties = await db
    .selectFrom('image_properties')
    .selectAll()
    .where(inIds(db, 'image_id', ids))
    .execute()
  const tags = await db
    .selectFrom('image_tags')
    .selectAll()
    .where(inIds(db, 'image_id', ids))
    .orderBy('value')
    .execute()
  const locations = await db
    .selectFrom('image_locations')
    .selectAll()
    .where(inIds(db, 'image_id', ids))
    .where('status', '=', 'active')
    .orderBy('position')
    .execute()

  const details = new Map<
    string,
    { properties: Record<string, string>; tags: string[]; locations: ImageLocation[] }
  >()
  for (const id of ids) details.set(id, { properties: {}, tags: [], locations: [] })
  for (const { image_id, name, value } of properties) {
    const detail = details.get(image_id)
    if (detail !== undefined) detail.properties[name] = value
  }
  for (const { image_id, value } of tags) details.get(image_id)?.tags.push(value)
  for (const location of locations) details.get(location.image_id)?.locations.push(locationOf(location))
  return rows.map((row) => {
    const detail = details.get(row.id) ?? { properties: {}, tags: [], locations: [] }
    return { ...row, ...detail }
  })
}

function locationOf(row: { id: string; position: number; url: string; metadata: string }): ImageLocation {
  const metadata: Readonly<Record<string, unknown>> = JSON.parse(row.metadata)
  const storeId = metadata['store']
  return {
    id: row.id,
    position: row.position,
    url: row.url,
    metadata,
    storeId: typeof storeId === 'string' ? storeId : undefined,
  }
}

/** The row of an image that was not deleted, whoever asks. */
export async function findRow(
  db: Db<ImageTables>,
  imageId: string,
  options: { lock?: boolean } = {},
): Promise<ImageRow | undefined> {
  const query = db.selectFrom('images').selectAll().where('id', '=', imageId).where('deleted_at', 'is', null)
  const locking = options.lock === true && db.getExecutor().adapter instanceof PostgresAdapter
  return await (locking ? query.forUpdate() : query).executeTakeFirst()
}

/** @throws NotFound when the image is not there, or deleted */
export async function requireRow(
  db: Db<ImageTables>,
  imageId: string,
  options: { lock?: boolean } = {},
): Promise<ImageRow> {
  const row = await findRow(db, imageId, options)
  if (row === undefined) throw new NotFound(`No image found with ID ${imageId}`)
  return row
}

/** Is the caller's project a member of the image, whatever the member's status? */
export async function isMember(db: Db<ImageTables>, imageId: string, projectId: string): Promise<boolean> {
  const row = await db
    .selectFrom('image_members')
    .select('member')
    .where('image_id', '=', imageId)
    .where('member', '=', projectId)
    .executeTakeFirst()
  return row !== undefined
}

/** What belongs to an image besides its row. The row must exist. */
export async function insertDetails(
  db: Db<ImageTables>,
  imageId: string,
  details: { properties: Readonly<Record<string, string>>; tags: readonly string[] },
): Promise<void> {
  const properties = Object.entries(details.properties)
  if (properties.length > 0) {
    await db
      .insertInto('image_properties')
      .values(properties.map(([name, value]) => ({ image_id: imageId, name, value })))
      .execute()
  }
  if (details.tags.length > 0) {
    await db
      .insertInto('image_tags')
      .values(details.tags.map((value) => ({ image_id: imageId, value })))
      .execute()
  }
}

export async function deleteDetails(
  db: Db<ImageTables>,
  imageId: string,
  what: { properties: boolean; tags: boolean },
): Promise<void> {
  if (what.properties) await db.deleteFrom('image_properties').where('image_id', '=', imageId).execute()
  if (what.tags) await db.deleteFrom('image_tags').where('image_id', '=', imageId).execute()
}

/** Where the next location goes in the order of insertion. Call it in a transaction that has the image's row. */
export async function nextPosition(db: Db<ImageTables>, imageId: string): Promise<number> {
  const row = await db
    .selectFrom('image_locations')
    .select(({ fn }) => fn.max('position').as('position'))
    .where('image_id', '=', imageId)
    .executeTakeFirst()
  return (row?.position ?? -1) + 1
}

export async function insertLocation(
  db: Db<ImageTables>,
  location: {
    id: string
    imageId: string
    position: number
    url: string
    metadata: Readonly<Record<string, unknown>>
  },
): Promise<void> {
  await db
    .insertInto('image_locations')
    .values({
      id: location.id,
      image_id: location.imageId,
      position: location.position,
      url: location.url,
      metadata: JSON.stringify(location.metadata),
      status: 'active',
    })
    .execute()
}
