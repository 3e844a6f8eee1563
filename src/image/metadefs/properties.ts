import type { Db } from '../../kernel/db/database.ts'
import { isUniqueViolation } from '../../kernel/db/violations.ts'
import { Conflict, NotFound } from '../../kernel/errors.ts'
import type { ImageTables } from '../db/tables.ts'
import type { Environment, ImageRequest } from '../environment.ts'
import { findNamespace, type NamespaceRow, refuseProtected } from './access.ts'
import { checkMetadef } from './schemas.ts'
import { textOf } from './values.ts'

type Body = Readonly<Record<string, unknown>>

/** Definitions by name, with the prefix of a resource type before each. */
export async function propertiesOf(
  db: Db<ImageTables>,
  namespaceId: string,
  prefix = '',
): Promise<Record<string, unknown>> {
  const rows = await db
    .selectFrom('metadef_properties')
    .select(['name', 'body'])
    .where('namespace_id', '=', namespaceId)
    .orderBy('created_at')
    .orderBy('name')
    .execute()
  return Object.fromEntries(rows.map((row) => [`${prefix}${row.name}`, JSON.parse(row.body)]))
}

export async function listProperties(
  environment: Environment,
  request: ImageRequest,
  namespaceName: string,
): Promise<Record<string, unknown>> {
  const namespace = await findNamespace(environment, request, namespaceName, 'get_metadef_properties')
  return await propertiesOf(environment.db, namespace.id)
}

/** @param resourceType the name that is given carries this association's prefix. @throws NotFound */
export async function showProperty(
  environment: Environment,
  request: ImageRequest,
  namespaceName: string,
  given: string,
  resourceType: string | undefined,
): Promise<Record<string, unknown>> {
  const namespace = await findNamespace(environment, request, namespaceName, 'get_metadef_property')
  let name = given
  if (resourceType !== undefined) {
    const prefix = await prefixOf(environment, namespace, resourceType)
    if (!given.startsWith(prefix)) throw noSuchProperty(given, namespaceName)
    name = given.slice(prefix.length)
  }
  const row = await environment.db
    .selectFrom('metadef_properties')
    .select('body')
    .where('namespace_id', '=', namespace.id)
    .where('name', '=', name)
    .executeTakeFirst()
  if (row === undefined) throw noSuchProperty(given, namespaceName)
  return { name: given, ...JSON.parse(row.body) }
}

/** What comes before property names for resources of a type. @throws NotFound when there is no association */
export async function prefixOf(
  environment: Environment,
  namespace: NamespaceRow,
  resourceType: string,
): Promise<string> {
  const association = await environment.db
    .selectFrom('metadef_associations')
    .select('prefix')
    .where('namespace_id', '=', namespace.id)
    .where('name', '=', resourceType)
    .executeTakeFirst()
  if (association === undefined) {
    throw new NotFound(
      `The metadata definition resource-type association of resource-type=${resourceType} to namespace=${namespace.namespace}, was not found.`,
    )
  }
  return association.prefix ?? ''
}

/** @throws Invalid, Conflict */
export async function createProperty(
  environment: Environment,
  request: ImageRequest,
  namespaceName: string,
  body: Body,
): Promise<Body> {
  checkMetadef('property', body)
  const namespace = await findNamespace(environment, request, namespaceName, 'add_metadef_property')
  const { name, ...rest } = body
  await insertProperty(environment.db, namespace, textOf(name) ?? '', rest, environment.now().toISOString())
  return body
}

export async function insertProperty(
  db: Db<ImageTables>,
  namespace: NamespaceRow,
  name: string,
  body: Body,
  now: string,
): Promise<void> {
  try {
    await db
      .insertInto('metadef_properties')
      .values({
        namespace_id: namespace.id,
        name,
        body: JSON.stringify(body),
        created_at: now,
        updated_at: now,
      })
      .execute()
  } catch (error) {
    if (isUniqueViolation(error)) throw propertyExists(name, namespace.namespace, error)
    throw error
  }
}

/** Replaces a definition as a whole, its name included. @throws Invalid, Conflict, NotFound */
export async function updateProperty(
  environment: Environment,
  request: ImageRequest,
  namespaceName: string,
  oldName: string,
  body: Body,
): Promise<Body> {
  checkMetadef('property', body)
  const namespace = await findNamespace(environment, request, namespaceName, 'modify_metadef_property')
  const { name, ...rest } = body
  const newName = textOf(name) ?? oldName
  try {
    const updated = await environment.db
      .updateTable('metadef_properties')
      .set({ name: newName, body: JSON.stringify(rest), updated_at: environment.now().toISOString() })
      .where('namespace_id', '=', namespace.id)
      .where('name', '=', oldName)
      .executeTakeFirst()
    if (updated.numUpdatedRows === 0n) throw noSuchProperty(oldName, namespaceName)
  } catch (error) {
    if (isUniqueViolation(error)) throw propertyExists(newName, namespaceName, error)
    throw error
  }
  return body
}

/** @throws NotFound */
export async function deleteProperty(
  environment: Environment,
  request: ImageRequest,
  namespaceName: string,
  name: string,
): Promise<void> {
  const namespace = await findNamespace(environment, request, namespaceName, 'remove_metadef_property')
  refuseProtected(namespace)
  const deleted = await environment.db
    .deleteFrom('metadef_properties')
    .where('namespace_id', '=', namespace.id)
    .where('name', '=', name)
    .executeTakeFirst()
  if (deleted.numDeletedRows === 0n) throw noSuchProperty(name, namespaceName)
}

function noSuchProperty(name: string, namespace: string): NotFound {
  return new NotFound(
    `The metadata definition property with name=${name} was not found in namespace=${namespace}.`,
  )
}

function propertyExists(name: string, namespace: string, cause: unknown): Conflict {
  return new Conflict(
    `A metadata definition property with name=${name} already exists in namespace=${namespace}.`,
    { cause },
  )
}
