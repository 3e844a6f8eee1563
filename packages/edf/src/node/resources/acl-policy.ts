import { type AclPolicy, AclPolicyInput } from '../../schemas/acl-policy.ts'
import { Link } from '../../schemas/common.ts'
import type { NodeContext } from '../context.ts'
import type { InitiatorGroupRow, InitiatorRow } from '../database/rows.ts'
import { conflict, notFound, validationFailed } from '../errors.ts'
import { listOf } from '../http/list.ts'
import type { ApiRequest, Route } from '../http/route.ts'
import { initiatorGroupPath, initiatorGroupView, requireInitiatorGroup } from './initiator-groups.ts'
import { initiatorPath, initiatorView, requireInitiator } from './initiators.ts'
import { locateStorageInstance, nameOf, pathOf, storageInstancePath } from './locate.ts'

/** Who is on the list of a storage instance, in the order in which they were put on it. */
export function aclInitiators(node: Pick<NodeContext, 'database'>, siUuid: string): InitiatorRow[] {
  return node.database.all<InitiatorRow>(
    `SELECT initiator.* FROM acl_initiator acl JOIN initiator ON initiator.seq = acl.initiator
     WHERE acl.storage_instance = ? ORDER BY acl.seq`,
    siUuid,
  )
}

export function aclGroups(node: Pick<NodeContext, 'database'>, siUuid: string): InitiatorGroupRow[] {
  return node.database.all<InitiatorGroupRow>(
    `SELECT initiator_group.* FROM acl_initiator_group acl
     JOIN initiator_group ON initiator_group.seq = acl.initiator_group
     WHERE acl.storage_instance = ? ORDER BY acl.seq`,
    siUuid,
  )
}

export function aclView(node: NodeContext, siUuid: string, siPath: string): AclPolicy {
  return {
    path: `${siPath}/acl_policy`,
    initiators: aclInitiators(node, siUuid).map(({ id }) => ({ path: initiatorPath(id) })),
    initiator_groups: aclGroups(node, siUuid).map(({ name }) => ({ path: initiatorGroupPath(name) })),
  }
}

/** The paths on the lists of many storage instances, in two queries. */
export function aclPaths(
  node: Pick<NodeContext, 'database'>,
  siUuids: readonly string[],
): (siUuid: string) => Pick<AclPolicy, 'initiators' | 'initiator_groups'> {
  const uuids = JSON.stringify(siUuids)
  const initiators = node.database.all<{ si: string; id: string }>(
    `SELECT acl.storage_instance AS si, initiator.id FROM acl_initiator acl
     JOIN initiator ON initiator.seq = acl.initiator
     WHERE acl.storage_instance IN (SELECT value FROM json_each(?)) ORDER BY acl.seq`,
    uuids,
  )
  const groups = node.database.all<{ si: string; name: string }>(
    `SELECT acl.storage_instance AS si, initiator_group.name FROM acl_initiator_group acl
     JOIN initiator_group ON initiator_group.seq = acl.initiator_group
     WHERE acl.storage_instance IN (SELECT value FROM json_each(?)) ORDER BY acl.seq`,
    uuids,
  )
  const initiatorsBySi = Map.groupBy(initiators, ({ si }) => si)
  const groupsBySi = Map.groupBy(groups, ({ si }) => si)
  return (siUuid) => ({
    initiators: (initiatorsBySi.get(siUuid) ?? []).map(({ id }) => ({ path: initiatorPath(id) })),
    initiator_groups: (groupsBySi.get(siUuid) ?? []).map(({ name }) => ({ path: initiatorGroupPath(name) })),
  })
}

/** A list of references, resolved; absent stays absent. */
export interface ResolvedAcl {
  readonly initiators?: readonly InitiatorRow[]
  readonly groups?: readonly InitiatorGroupRow[]
}

/** @throws ApiError 404 when somebody on the list is unknown */
export function resolveAcl(
  node: NodeContext,
  tenant: string,
  input: AclPolicyInput | undefined,
): ResolvedAcl {
  const paths = (list: AclPolicyInput['initiators']) =>
    list?.map((item) => {
      const path = pathOf(item)
      if (path === '') throw validationFailed('acl_policy: each element needs a path')
      return nameOf(path)
    })
  const initiators = paths(input?.initiators)?.map((key) => requireInitiator(node, tenant, key))
  const groups = paths(input?.initiator_groups)?.map((name) => requireInitiatorGroup(node, tenant, name))
  return { ...(initiators && { initiators }), ...(groups && { groups }) }
}

/** Replaces each list that is given; who is named twice is stored once. */
export function storeAcl(node: NodeContext, siUuid: string, acl: ResolvedAcl): void {
  const { database } = node
  if (acl.initiators) {
    database.run('DELETE FROM acl_initiator WHERE storage_instance = ?', siUuid)
    for (const { seq } of acl.initiators) {
      database.run(
        'INSERT INTO acl_initiator (storage_instance, initiator) VALUES (?, ?) ON CONFLICT DO NOTHING',
        siUuid,
        seq,
      )
    }
  }
  if (acl.groups) {
    database.run('DELETE FROM acl_initiator_group WHERE storage_instance = ?', siUuid)
    for (const { seq } of acl.groups) {
      database.run(
        `INSERT INTO acl_initiator_group (storage_instance, initiator_group) VALUES (?, ?)
         ON CONFLICT DO NOTHING`,
        siUuid,
        seq,
      )
    }
  }
}

export function aclRoutes(node: NodeContext): Route[] {
  const path = '/app_instances/:ai/storage_instances/:si/acl_policy'
  return [
    {
      method: 'GET',
      path,
      summary: 'Read who may log in',
      handle: (request) => {
        const { ai, si } = locateStorageInstance(node, request)
        const data = aclView(node, si.uuid, storageInstancePath(ai.id, si.name))
        return { data, path: data.path }
      },
    },
    {
      method: 'PUT',
      path,
      summary: 'Replace the lists that are given',
      body: AclPolicyInput,
      handle: async (request) => {
        const { ai, si } = locateStorageInstance(node, request)
        const acl = resolveAcl(node, request.tenant, request.body(AclPolicyInput))
        node.database.transaction(() => storeAcl(node, si.uuid, acl))
        await node.exports.refreshAccess(si.uuid)
        const data = aclView(node, si.uuid, storageInstancePath(ai.id, si.name))
        return { data, path: data.path }
      },
    },
    {
      method: 'GET',
      path: `${path}/initiators`,
      summary: 'List the initiators that may log in',
      handle: (request) => {
        const { si } = locateStorageInstance(node, request)
        const { items, page } = listOf(request, aclInitiators(node, si.uuid).map(initiatorView))
        return { data: items, page }
      },
    },
    {
      method: 'GET',
      path: `${path}/initiator_groups`,
      summary: 'List the initiator groups that may log in',
      handle: (request) => {
        const { si } = locateStorageInstance(node, request)
        const groups = aclGroups(node, si.uuid).map((row) => initiatorGroupView(node, row))
        const { items, page } = listOf(request, groups)
        return { data: items, page }
      },
    },
    {
      method: 'PUT',
      path: `${path}/initiators`,
      summary: 'Add or remove an initiator',
      body: Link,
      handle: async (request) => {
        const row = await linkInitiator(node, request)
        return { data: initiatorView(row), path: initiatorPath(row.id), tenant: row.tenant }
      },
    },
    {
      method: 'PUT',
      path: `${path}/initiator_groups`,
      summary: 'Add or remove an initiator group',
      body: Link,
      handle: async (request) => {
        const row = await linkGroup(node, request)
        return {
          data: initiatorGroupView(node, row),
          path: initiatorGroupPath(row.name),
          tenant: row.tenant,
        }
      },
    },
  ]
}

/**
 * An initiator that is on the list already is a conflict; one of the same id that now lies nearer takes the place of
 * the one above.
 */
async function linkInitiator(node: NodeContext, request: ApiRequest): Promise<InitiatorRow> {
  const { si } = locateStorageInstance(node, request)
  const link = request.body(Link)
  const present = aclInitiators(node, si.uuid)
  const key = nameOf(pathOf(link))
  let answered: InitiatorRow
  if (link.op === 'add') {
    const row = requireInitiator(node, request.tenant, key)
    if (present.some(({ seq }) => seq === row.seq)) {
      throw conflict(`The initiator ${row.id} is in the access list already`)
    }
    const others = present.map((item) => (item.id === row.id ? row : item))
    const initiators = others.includes(row) ? others : [...others, row]
    node.database.transaction(() => storeAcl(node, si.uuid, { initiators }))
    answered = row
  } else {
    const row = present.find((item) => item.id === key || item.name === key)
    if (row === undefined) throw notFound(`${request.path}/${key}`)
    node.database.run(
      'DELETE FROM acl_initiator WHERE storage_instance = ? AND initiator = ?',
      si.uuid,
      row.seq,
    )
    answered = row
  }
  await node.exports.refreshAccess(si.uuid)
  return answered
}

async function linkGroup(node: NodeContext, request: ApiRequest): Promise<InitiatorGroupRow> {
  const { si } = locateStorageInstance(node, request)
  const link = request.body(Link)
  const present = aclGroups(node, si.uuid)
  const name = nameOf(pathOf(link))
  let answered: InitiatorGroupRow
  if (link.op === 'add') {
    const row = requireInitiatorGroup(node, request.tenant, name)
    if (present.some(({ seq }) => seq === row.seq)) {
      throw conflict(`The initiator group ${row.name} is in the access list already`)
    }
    const groups = [...present.filter((item) => item.name !== row.name), row]
    node.database.transaction(() => storeAcl(node, si.uuid, { groups }))
    answered = row
  } else {
    const row = present.find((item) => item.name === name)
    if (row === undefined) throw notFound(`${request.path}/${name}`)
    node.database.run(
      'DELETE FROM acl_initiator_group WHERE storage_instance = ? AND initiator_group = ?',
      si.uuid,
      row.seq,
    )
    answered = row
  }
  await node.exports.refreshAccess(si.uuid)
  return answered
}
