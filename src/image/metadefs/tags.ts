import type { Db } from '../../kernel/db/database.ts'
import { isUniqueViolation } from '../../kernel/db/violations.ts'
import { Conflict, Invalid, NotFound } from '../../kernel/errors.ts'
import type { ImageTables } from '../db/tables.ts'
import type { Environment, ImageRequest } from '../environment.ts'
import type { Query } from '../images/filters.ts'
import { wireTime } from '../images/view.ts'
import { refuseSurrogates } from '../schemas/image-schemas.ts'
import { findNamespace, type NamespaceRow, refuseProtected, refuseServiceFields } from './access.ts'
import { pageOf } from './paging.ts'
import { checkMetadef } from './schemas.ts'
import { listIn, objectIn, textOf } from './values.ts'

interface TagRow {
  readonly name: string
  readonly created_at: string
  readonly updated_at: string
}

function tagView(row: TagRow): object {
  return { name: row.name, created_at: wireTime(row.created_at), updated_at: wireTime(row.updated_at) }
}

export async function tagsOf(db: Db<ImageTables>, namespaceId: string): Promise<readonly TagRow[]> {
  return await db
    .selectFrom('metadef_tags')
    .select(['name', 'created_at', 'updated_at'])
    .where('namespace_id', '=', namespaceId)
    .orderBy('name')
    .execute()
}

/** @throws Invalid for a wrong limit, marker or order */
export async function listTags(
  environment: Environment,
  request: ImageRequest,
  namespaceName: string,
  query: Query,
): Promise<readonly object[]> {
  const namespace = await findNamespace(environment, request, namespaceName, 'get_metadef_tags')
  return pageOf(await tagsOf(environment.db, namespace.id), query, environment.settings).map(tagView)
}

/** @throws NotFound */
export async function showTag(
  environment: Environment,
  request: ImageRequest,
  namespaceName: string,
  name: string,
): Promise<object> {
  const namespace = await findNamespace(environment, request, namespaceName, 'get_metadef_tag')
  const found = (await tagsOf(environment.db, namespace.id)).find((row) => row.name === name)
  if (found === undefined) throw noSuchTag(name, namespaceName)
  return tagView(found)
}

/** @throws Invalid, Conflict */
export async function createTag(
  environment: Environment,
  request: ImageRequest,
  namespaceName: string,
  name: string,
): Promise<object> {
  refuseSurrogates(name)
  if (name.length > 80) throw new Invalid('The name of a tag has at most 80 characters.')
  const namespace = await findNamespace(environment, request, namespaceName, 'add_metadef_tag')
  return tagView(await insertTag(environment.db, namespace, name, environment.now().toISOString()))
}

export async function insertTag(
  db: Db<ImageTables>,
  namespace: NamespaceRow,
  name: string,
  now: string,
): Promise<TagRow> {
  const row = { name, created_at: now, updated_at: now }
  try {
    await db
      .insertInto('metadef_tags')
      .values({ namespace_id: namespace.id, ...row })
      .execute()
  } catch (error) {
    if (isUniqueViolation(error)) throw tagExists(name, namespace.namespace, error)
    throw error
  }
  return row
}

/**
 * Sets the tags of a namespace.
 * @param append keeps those that are there
 * @returns the names that were sent
 * @throws Invalid, Conflict for a name that is there, in whatever case
 */
export async function createTags(
  environment: Environment,
  request: ImageRequest,
  namespaceName: string,
  body: Readonly<Record<string, unknown>>,
  append: boolean,
): Promise<readonly { name: string }[]> {
  checkMetadef('tags', body)
  const names = listIn(body, 'tags').map((tag) => textOf(objectIn(tag)['name']) ?? '')
  await environment.db.transaction().execute(async (transaction) => {
    const namespace = await findNamespace(
      environment,
      request,
      namespaceName,
      'add_metadef_tags',
      transaction,
    )
    if (!append)
      await transaction.deleteFrom('metadef_tags').where('namespace_id', '=', namespace.id).execute()
    const now = environment.now().toISOString()
    for (const name of names) await insertTag(transaction, namespace, name, now)
  })
  return names.map((name) => ({ name }))
}

/** @throws Invalid, Conflict, NotFound */
export async function renameTag(
  environment: Environment,
  request: ImageRequest,
  namespaceName: string,
  oldName: string,
  body: Readonly<Record<string, unknown>>,
): Promise<object> {
  refuseServiceFields(body)
  checkMetadef('tag', body)
  const namespace = await findNamespace(environment, request, namespaceName, 'modify_metadef_tag')
  const name = textOf(body['name']) ?? oldName
  try {
    const row = await environment.db
      .updateTable('metadef_tags')
      .set({ name, updated_at: environment.now().toISOString() })
      .where('namespace_id', '=', namespace.id)
      .where('name', '=', oldName)
      .returning(['name', 'created_at', 'updated_at'])
      .executeTakeFirst()
    if (row === undefined) throw noSuchTag(oldName, namespaceName)
    return tagView(row)
  } catch (error) {
    if (isUniqueViolation(error)) throw tagExists(name, namespaceName, error)
    throw error
  }
}

/** @throws NotFound */
export async function deleteTag(
  environment: Environment,
  request: ImageRequest,
  namespaceName: string,
  name: string,
): Promise<void> {
  const namespace = await findNamespace(environment, request, namespaceName, 'delete_metadef_tag')
  refuseProtected(namespace)
  const deleted = await environment.db
    .deleteFrom('metadef_tags')
    .where('namespace_id', '=', namespace.id)
    .where('name', '=', name)
    .executeTakeFirst()
  if (deleted.numDeletedRows === 0n) throw noSuchTag(name, namespaceName)
}

function noSuchTag(name: string, namespace: string): NotFound {
  return new NotFound(
    `The metadata definition tag with name=${name} was not found in namespace=${namespace}.`,
  )
}

function tagExists(name: string, namespace: string, cause: unknown): Conflict {
  return new Conflict(
    `A metadata definition tag with name=${name} already exists in namespace=${namespace}.`,
    { cause },
  )
}
