import type { Selectable } from 'kysely'
import type { Db } from '../../kernel/db/database.ts'
import { isUniqueViolation } from '../../kernel/db/violations.ts'
import { Conflict, NotFound } from '../../kernel/errors.ts'
import type { ImageTables, MetadefObjectsTable } from '../db/tables.ts'
import type { Environment, ImageRequest } from '../environment.ts'
import type { Query } from '../images/filters.ts'
import { wireTime } from '../images/view.ts'
import { findNamespace, type NamespaceRow, refuseProtected, refuseServiceFields } from './access.ts'
import { pageOf } from './paging.ts'
import { checkMetadef } from './schemas.ts'
import { listIn, objectIn, textOf, withoutNulls } from './values.ts'

type Body = Readonly<Record<string, unknown>>
type ObjectRow = Selectable<MetadefObjectsTable>

/** @param prefix put before the names of properties */
export function objectView(row: ObjectRow, namespace: string, prefix = ''): Record<string, unknown> {
  const required: readonly string[] = JSON.parse(row.required)
  const properties: Readonly<Record<string, unknown>> = JSON.parse(row.properties)
  return withoutNulls({
    name: row.name,
    description: row.description,
    required: required.map((name) => `${prefix}${name}`),
    properties: Object.fromEntries(
      Object.entries(properties).map(([name, body]) => [`${prefix}${name}`, body]),
    ),
    created_at: wireTime(row.created_at),
    updated_at: wireTime(row.updated_at),
    self: `/v2/metadefs/namespaces/${namespace}/objects/${row.name}`,
    schema: '/v2/schemas/metadefs/object',
  })
}

export async function objectsOf(db: Db<ImageTables>, namespaceId: string): Promise<readonly ObjectRow[]> {
  return await db
    .selectFrom('metadef_objects')
    .selectAll()
    .where('namespace_id', '=', namespaceId)
    .orderBy('created_at')
    .orderBy('name')
    .execute()
}

/** @throws Invalid for a wrong limit, marker or order */
export async function listObjects(
  environment: Environment,
  request: ImageRequest,
  namespaceName: string,
  query: Query,
): Promise<readonly object[]> {
  const namespace = await findNamespace(environment, request, namespaceName, 'get_metadef_objects')
  const rows = pageOf(await objectsOf(environment.db, namespace.id), query, environment.settings)
  return rows.map((row) => objectView(row, namespaceName))
}

/** @throws NotFound */
export async function showObject(
  environment: Environment,
  request: ImageRequest,
  namespaceName: string,
  name: string,
): Promise<Record<string, unknown>> {
  const namespace = await findNamespace(environment, request, namespaceName, 'get_metadef_object')
  const row = await environment.db
    .selectFrom('metadef_objects')
    .selectAll()
    .where('namespace_id', '=', namespace.id)
    .where('name', '=', name)
    .executeTakeFirst()
  if (row === undefined) throw noSuchObject(name, namespaceName)
  return objectView(row, namespaceName)
}

/** @throws Invalid, Conflict */
export async function createObject(
  environment: Environment,
  request: ImageRequest,
  namespaceName: string,
  body: Body,
): Promise<Record<string, unknown>> {
  refuseServiceFields(body)
  checkMetadef('object', body)
  const namespace = await findNamespace(environment, request, namespaceName, 'add_metadef_object')
  const row = await insertObject(environment.db, namespace, body, environment.now().toISOString())
  return objectView(row, namespaceName)
}

export async function insertObject(
  db: Db<ImageTables>,
  namespace: NamespaceRow,
  body: Body,
  now: string,
): Promise<ObjectRow> {
  const row: ObjectRow = { ...columnsOf(body), namespace_id: namespace.id, created_at: now, updated_at: now }
  try {
    await db.insertInto('metadef_objects').values(row).execute()
  } catch (error) {
    if (isUniqueViolation(error)) throw objectExists(row.name, namespace.namespace, error)
    throw error
  }
  return row
}

function columnsOf(body: Body) {
  return {
    name: textOf(body['name']) ?? '',
    description: textOf(body['description']),
    required: JSON.stringify(listIn(body, 'required')),
    properties: JSON.stringify(objectIn(body['properties'])),
  }
}

/** Replaces an object as a whole, its name included. @throws Invalid, Conflict, NotFound */
export async function updateObject(
  environment: Environment,
  request: ImageRequest,
  namespaceName: string,
  oldName: string,
  body: Body,
): Promise<Record<string, unknown>> {
  refuseServiceFields(body)
  checkMetadef('object', body)
  const namespace = await findNamespace(environment, request, namespaceName, 'modify_metadef_object')
  const columns = columnsOf(body)
  try {
    const row = await environment.db
      .updateTable('metadef_objects')
      .set({ ...columns, updated_at: environment.now().toISOString() })
      .where('namespace_id', '=', namespace.id)
      .where('name', '=', oldName)
      .returningAll()
      .executeTakeFirst()
    if (row === undefined) throw noSuchObject(oldName, namespaceName)
    return objectView(row, namespaceName)
  } catch (error) {
    if (isUniqueViolation(error)) throw objectExists(columns.name, namespaceName, error)
    throw error
  }
}

/** @throws NotFound */
export async function deleteObject(
  environment: Environment,
  request: ImageRequest,
  namespaceName: string,
  name: string,
): Promise<void> {
  const namespace = await findNamespace(environment, request, namespaceName, 'delete_metadef_object')
  refuseProtected(namespace)
  const deleted = await environment.db
    .deleteFrom('metadef_objects')
    .where('namespace_id', '=', namespace.id)
    .where('name', '=', name)
    .executeTakeFirst()
  if (deleted.numDeletedRows === 0n) throw noSuchObject(name, namespaceName)
}

function noSuchObject(name: string, namespace: string): NotFound {
  return new NotFound(
    `The metadata definition object with name=${name} was not found in namespace=${namespace}.`,
  )
}

function objectExists(name: string, namespace: string, cause: unknown): Conflict {
  return new Conflict(
    `A metadata definition object with name=${name} already exists in namespace=${namespace}.`,
    { cause },
  )
}
