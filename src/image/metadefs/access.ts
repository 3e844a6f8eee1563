import type { Selectable } from 'kysely'
import type { Db } from '../../kernel/db/database.ts'
import { Forbidden, NotFound } from '../../kernel/errors.ts'
import type { ImageTables, MetadefNamespacesTable } from '../db/tables.ts'
import type { Environment, ImageRequest } from '../environment.ts'
import type { PolicyRule } from '../policy.ts'

export type NamespaceRow = Selectable<MetadefNamespacesTable>

export function noSuchNamespace(name: string): NotFound {
  return new NotFound(`Metadata definition namespace=${name} was not found.`)
}

/** Fields that the service fills in itself. @throws Forbidden */
export function refuseServiceFields(body: Readonly<Record<string, unknown>>): void {
  for (const name of ['self', 'schema', 'created_at', 'updated_at']) {
    if (name in body) throw new Forbidden(`Attribute '${name}' is read-only.`)
  }
}

/** @throws Forbidden unless the rule lets the caller act, where no namespace is in sight yet */
export function requireRule(environment: Environment, request: ImageRequest, rule: PolicyRule): void {
  const { projectId } = request.identity
  if (environment.policy.allows(rule, request.identity, { project_id: projectId })) return
  throw new Forbidden('You are not authorized to complete this action.')
}

/**
 * Finds a namespace that the caller may see, and act upon in the given way.
 * @throws NotFound for one that is not there, or not for the caller's eyes; Forbidden
 * @see image-api specification 7.9, 10.1
 */
export async function findNamespace(
  environment: Environment,
  request: ImageRequest,
  name: string,
  rule: PolicyRule,
  db: Db<ImageTables> = environment.db,
): Promise<NamespaceRow> {
  const row = await db
    .selectFrom('metadef_namespaces')
    .selectAll()
    .where('namespace', '=', name)
    .executeTakeFirst()
  if (row === undefined || !isVisible(environment, request, row)) throw noSuchNamespace(name)
  if (!allows(environment, request, rule, row)) {
    throw new Forbidden('You are not authorized to complete this action.')
  }
  return row
}

export function isVisible(environment: Environment, request: ImageRequest, row: NamespaceRow): boolean {
  const seen =
    request.isAdmin ||
    row.visibility === 'public' ||
    row.owner === null ||
    row.owner === request.identity.projectId
  return seen && allows(environment, request, 'get_metadef_namespace', row)
}

export function allows(
  environment: Environment,
  request: ImageRequest,
  rule: PolicyRule,
  row: NamespaceRow,
): boolean {
  return environment.policy.allows(rule, request.identity, {
    project_id: row.owner,
    owner: row.owner,
    visibility: row.visibility,
  })
}

/** @throws Forbidden while the namespace is protected */
export function refuseProtected(row: NamespaceRow): void {
  if (row.protected === 1) {
    throw new Forbidden(`Metadata definition namespace ${row.namespace} is protected and cannot be deleted.`)
  }
}
