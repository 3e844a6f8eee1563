import type { Db } from '../../kernel/db/database.ts'
import { isUniqueViolation } from '../../kernel/db/violations.ts'
import { Conflict, NotFound } from '../../kernel/errors.ts'
import type { ImageTables } from '../db/tables.ts'
import type { Environment, ImageRequest } from '../environment.ts'
import { wireTime } from '../images/view.ts'
import { allows, findNamespace, type NamespaceRow, refuseProtected, refuseServiceFields } from './access.ts'
import { checkMetadef } from './schemas.ts'
import { textOf, withoutNulls } from './values.ts'

/** The types of resources that definitions can be bound to. */
export async function listResourceTypes(environment: Environment): Promise<readonly object[]> {
  const rows = await environment.db.selectFrom('metadef_resource_types').selectAll().orderBy('name').execute()
  return rows.map((row) => ({
    name: row.name,
    created_at: wireTime(row.created_at),
    updated_at: wireTime(row.updated_at),
  }))
}

export async function associationsOf(
  db: Db<ImageTables>,
  namespaceIds: readonly string[],
): Promise<ReadonlyMap<string, readonly Record<string, unknown>[]>> {
  const found = new Map<string, Record<string, unknown>[]>(namespaceIds.map((id) => [id, []]))
  if (namespaceIds.length === 0) return found
  const rows = await db
    .selectFrom('metadef_associations')
    .selectAll()
    .where('namespace_id', 'in', namespaceIds)
    .orderBy('name')
    .execute()
  for (const row of rows) {
    found.get(row.namespace_id)?.push(
      withoutNulls({
        name: row.name,
        prefix: row.prefix,
        properties_target: row.properties_target,
        created_at: wireTime(row.created_at),
        updated_at: wireTime(row.updated_at),
      }),
    )
  }
  return found
}

export async function listAssociations(
  environment: Environment,
  request: ImageRequest,
  namespaceName: string,
): Promise<readonly object[]> {
  const namespace = await findNamespace(environment, request, namespaceName, 'list_metadef_resource_types')
  const found = await associationsOf(environment.db, [namespace.id])
  const readable = allows(environment, request, 'get_metadef_resource_type', namespace)
  return readable ? (found.get(namespace.id) ?? []) : []
}

/** Binds a namespace to a type of resource; a type of a new name is made. @throws Conflict, Invalid */
export async function createAssociation(
  environment: Environment,
  request: ImageRequest,
  namespaceName: string,
  body: Readonly<Record<string, unknown>>,
): Promise<Record<string, unknown>> {
  refuseServiceFields(body)
  checkMetadef('association', body)
  return await environment.db.transaction().execute(async (transaction) => {
    const rule = 'add_metadef_resource_type_association'
    const namespace = await findNamespace(environment, request, namespaceName, rule, transaction)
    return await insertAssociation(transaction, namespace, body, environment.now().toISOString())
  })
}

export async function insertAssociation(
  db: Db<ImageTables>,
  namespace: NamespaceRow,
  body: Readonly<Record<string, unknown>>,
  now: string,
): Promise<Record<string, unknown>> {
  const name = textOf(body['name']) ?? ''
  await db
    .insertInto('metadef_resource_types')
    .values({ name, created_at: now, updated_at: now })
    .onConflict((conflict) => conflict.column('name').doNothing())
    .execute()
  const row = {
    namespace_id: namespace.id,
    name,
    prefix: textOf(body['prefix']),
    properties_target: textOf(body['properties_target']),
    created_at: now,
    updated_at: now,
  }
  try {
    await db.insertInto('metadef_associations').values(row).execute()
  } catch (error) {
    if (!isUniqueViolation(error)) throw error
    throw new Conflict(
      `The metadata definition resource-type association of resource-type=${name} to namespace=${namespace.namespace} already exists.`,
      { cause: error },
    )
  }
  const { namespace_id: _, ...fields } = row
  return withoutNulls({ ...fields, created_at: wireTime(now), updated_at: wireTime(now) })
}

/** @throws Forbidden while the namespace is protected; NotFound */
export async function deleteAssociation(
  environment: Environment,
  request: ImageRequest,
  namespaceName: string,
  resourceType: string,
): Promise<void> {
  const rule = 'remove_metadef_resource_type_association'
  const namespace = await findNamespace(environment, request, namespaceName, rule)
  refuseProtected(namespace)
  const deleted = await environment.db
    .deleteFrom('metadef_associations')
    .where('namespace_id', '=', namespace.id)
    .where('name', '=', resourceType)
    .executeTakeFirst()
  if (deleted.numDeletedRows === 0n) {
    throw new NotFound(
      `The metadata definition resource-type association of resource-type=${resourceType} to namespace=${namespaceName}, was not found.`,
    )
  }
}
