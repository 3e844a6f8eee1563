import { randomUUID } from 'node:crypto'
import type { Db } from '../../kernel/db/database.ts'
import { isUniqueViolation } from '../../kernel/db/violations.ts'
import { Conflict, Forbidden } from '../../kernel/errors.ts'
import type { ImageTables } from '../db/tables.ts'
import type { Environment, ImageRequest } from '../environment.ts'
import {
  allows,
  findNamespace,
  type NamespaceRow,
  refuseProtected,
  refuseServiceFields,
  requireRule,
} from './access.ts'
import { associationsOf, insertAssociation } from './associations.ts'
import { insertObject, objectsOf, objectView } from './objects.ts'
import { insertProperty, prefixOf, propertiesOf } from './properties.ts'
import { checkMetadef } from './schemas.ts'
import { insertTag, tagsOf } from './tags.ts'
import { listIn, objectIn, textOf } from './values.ts'
import { namespaceView } from './view.ts'

type Body = Readonly<Record<string, unknown>>

/**
 * A namespace with all its parts; parts that it has none of are left out.
 * @param resourceType property names carry the prefix of this association
 * @throws NotFound
 */
export async function showNamespace(
  environment: Environment,
  request: ImageRequest,
  name: string,
  resourceType: string | undefined,
): Promise<Record<string, unknown>> {
  const row = await findNamespace(environment, request, name, 'get_metadef_namespace')
  return await withParts(environment, request, row, resourceType)
}

async function withParts(
  environment: Environment,
  request: ImageRequest,
  row: NamespaceRow,
  resourceType?: string,
): Promise<Record<string, unknown>> {
  const { db } = environment
  const view = namespaceView(row)
  const prefix = resourceType === undefined ? '' : await prefixOf(environment, row, resourceType)
  if (allows(environment, request, 'list_metadef_resource_types', row)) {
    const associations = (await associationsOf(db, [row.id])).get(row.id) ?? []
    if (associations.length > 0) view['resource_type_associations'] = associations
  }
  if (allows(environment, request, 'get_metadef_objects', row)) {
    const objects = await objectsOf(db, row.id)
    if (objects.length > 0) {
      view['objects'] = objects.map((object) => objectView(object, row.namespace, prefix))
    }
  }
  if (allows(environment, request, 'get_metadef_properties', row)) {
    const properties = await propertiesOf(db, row.id, prefix)
    if (Object.keys(properties).length > 0) view['properties'] = properties
  }
  if (allows(environment, request, 'get_metadef_tags', row)) {
    const tags = await tagsOf(db, row.id)
    if (tags.length > 0) view['tags'] = tags.map(({ name }) => ({ name }))
  }
  return view
}

/**
 * Makes a namespace with whatever parts the body has: all of it or nothing.
 * @throws Invalid, Conflict, Forbidden
 */
export async function createNamespace(
  environment: Environment,
  request: ImageRequest,
  body: Body,
): Promise<Record<string, unknown>> {
  refuseServiceFields(body)
  requireRule(environment, request, 'add_metadef_namespace')
  checkMetadef('namespace', body)
  const associations = listIn(body, 'resource_type_associations').map(objectIn)
  const properties = Object.entries(objectIn(body['properties']))
  const objects = listIn(body, 'objects').map(objectIn)
  const tags = listIn(body, 'tags').map(objectIn)
  if (associations.length > 0) requireRule(environment, request, 'add_metadef_resource_type_association')
  if (properties.length > 0) requireRule(environment, request, 'add_metadef_property')
  if (objects.length > 0) requireRule(environment, request, 'add_metadef_object')
  if (tags.length > 0) requireRule(environment, request, 'add_metadef_tag')

  const row = await environment.db.transaction().execute(async (transaction) => {
    const now = environment.now().toISOString()
    const inserted = await insertNamespace(transaction, request, body, now)
    for (const association of associations) await insertAssociation(transaction, inserted, association, now)
    for (const [name, property] of properties) {
      await insertProperty(transaction, inserted, name, objectIn(property), now)
    }
    for (const object of objects) await insertObject(transaction, inserted, object, now)
    for (const tag of tags) await insertTag(transaction, inserted, textOf(tag['name']) ?? '', now)
    return inserted
  })
  return await withParts(environment, request, row)
}

async function insertNamespace(
  db: Db<ImageTables>,
  request: ImageRequest,
  body: Body,
  now: string,
): Promise<NamespaceRow> {
  const row: NamespaceRow = {
    id: randomUUID(),
    ...columnsOf(body, request, undefined),
    created_at: now,
    updated_at: now,
  }
  try {
    await db.insertInto('metadef_namespaces').values(row).execute()
  } catch (error) {
    if (isUniqueViolation(error)) throw namespaceExists(row.namespace, error)
    throw error
  }
  return row
}

/** Omitted fields have their defaults, on creation and in an update alike. @throws Forbidden for a foreign owner */
function columnsOf(body: Body, request: ImageRequest, present: NamespaceRow | undefined) {
  const { projectId } = request.identity
  const owner = textOf(body['owner']) ?? present?.owner ?? projectId ?? null
  if (owner !== (present?.owner ?? projectId ?? null) && !request.isAdmin) {
    throw new Forbidden(`You are not permitted to own metadata definitions as '${owner}'.`)
  }
  return {
    namespace: textOf(body['namespace']) ?? present?.namespace ?? '',
    display_name: textOf(body['display_name']),
    description: textOf(body['description']),
    visibility: textOf(body['visibility']) ?? 'private',
    protected: body['protected'] === true ? 1 : 0,
    owner,
  }
}

/** Replaces the fields of a namespace, its name included; its parts stay. @throws Invalid, Conflict, NotFound */
export async function updateNamespace(
  environment: Environment,
  request: ImageRequest,
  name: string,
  body: Body,
): Promise<Record<string, unknown>> {
  refuseServiceFields(body)
  checkMetadef('namespace', body)
  const present = await findNamespace(environment, request, name, 'modify_metadef_namespace')
  const columns = columnsOf(body, request, present)
  try {
    const row = await environment.db
      .updateTable('metadef_namespaces')
      .set({ ...columns, updated_at: environment.now().toISOString() })
      .where('id', '=', present.id)
      .returningAll()
      .executeTakeFirstOrThrow()
    return namespaceView(row)
  } catch (error) {
    if (isUniqueViolation(error)) throw namespaceExists(columns.namespace, error)
    throw error
  }
}

/** Deletes a namespace with all its parts. @throws Forbidden while it is protected; NotFound */
export async function deleteNamespace(
  environment: Environment,
  request: ImageRequest,
  name: string,
): Promise<void> {
  const row = await findNamespace(environment, request, name, 'delete_metadef_namespace')
  refuseProtected(row)
  await environment.db.deleteFrom('metadef_namespaces').where('id', '=', row.id).execute()
}

/** Deletes all parts of one kind. @throws Forbidden while the namespace is protected; NotFound */
export async function deleteParts(
  environment: Environment,
  request: ImageRequest,
  name: string,
  table: 'metadef_properties' | 'metadef_objects' | 'metadef_tags',
): Promise<void> {
  const row = await findNamespace(environment, request, name, 'delete_metadef_namespace')
  refuseProtected(row)
  await environment.db.deleteFrom(table).where('namespace_id', '=', row.id).execute()
}

function namespaceExists(name: string, cause: unknown): Conflict {
  return new Conflict(`The metadata definition namespace=${name} already exists.`, { cause })
}
