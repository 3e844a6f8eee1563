import { randomUUID } from 'node:crypto'
import {
  CreateSnapshotPolicy,
  SnapshotInterval,
  type SnapshotPolicy,
  UpdateSnapshotPolicy,
} from '../../schemas/snapshot-policy.ts'
import type { NodeContext } from '../context.ts'
import { isUniqueViolation } from '../database/database.ts'
import type { SnapshotPolicyRow } from '../database/rows.ts'
import { conflict, notFound, validationFailed } from '../errors.ts'
import { listOf } from '../http/list.ts'
import type { ApiRequest, Route } from '../http/route.ts'
import { nextRun } from '../snapshot-schedule.ts'
import { appInstancePath, locateAppInstance, locateVolume, volumePath } from './locate.ts'

/** Policies of an app instance or volume; the owner is its path, which holds ids and names that do not change. */
export function snapshotPolicyViews(node: Pick<NodeContext, 'database'>, owner: string): SnapshotPolicy[] {
  return node.database
    .all<SnapshotPolicyRow>('SELECT * FROM snapshot_policy WHERE owner = ? ORDER BY seq', owner)
    .map(view)
}

/** As `snapshotPolicyViews`, of many owners in one query. */
export function snapshotPoliciesOf(
  node: Pick<NodeContext, 'database'>,
  owners: readonly string[],
): (owner: string) => SnapshotPolicy[] {
  const rows = node.database.all<SnapshotPolicyRow>(
    'SELECT * FROM snapshot_policy WHERE owner IN (SELECT value FROM json_each(?)) ORDER BY seq',
    JSON.stringify(owners),
  )
  const byOwner = Map.groupBy(rows, ({ owner }) => owner)
  return (owner) => (byOwner.get(owner) ?? []).map(view)
}

/** @throws ApiError 409 when the owner has a policy of that name */
export function insertSnapshotPolicy(
  node: Pick<NodeContext, 'database'>,
  owner: string,
  policy: CreateSnapshotPolicy,
): void {
  const startTime = policy.start_time || new Date().toISOString()
  try {
    node.database.run(
      `INSERT INTO snapshot_policy (id, owner, name, interval, retention_count, start_time, next_run)
       VALUES (?, ?, ?, ?, ?, ?, ?)`,
      randomUUID(),
      owner,
      policy.name,
      policy.interval,
      policy.retention_count,
      startTime,
      nextRunOf(startTime, policy.interval),
    )
  } catch (error) {
    if (!isUniqueViolation(error)) throw error
    throw conflict(`${owner}/snapshot_policies/${policy.name} exists`)
  }
}

/**
 * Makes these the policies of an owner: others go, those of the same name are changed and keep their snapshots.
 * @throws ApiError 422 when a start is no time
 */
export function replaceSnapshotPolicies(
  node: Pick<NodeContext, 'database'>,
  owner: string,
  policies: readonly CreateSnapshotPolicy[],
): void {
  const present = node.database.all<SnapshotPolicyRow>('SELECT * FROM snapshot_policy WHERE owner = ?', owner)
  for (const row of present) {
    const wanted = policies.find(({ name }) => name === row.name)
    if (wanted === undefined) node.database.run('DELETE FROM snapshot_policy WHERE seq = ?', row.seq)
    else changeSnapshotPolicy(node, row, wanted)
  }
  for (const policy of policies) {
    if (!present.some(({ name }) => name === policy.name)) insertSnapshotPolicy(node, owner, policy)
  }
}

type PolicyChange = Partial<Pick<CreateSnapshotPolicy, 'interval' | 'retention_count' | 'start_time'>>

/** What of a policy is to change. The Go SDK writes the interval under the key "name". */
export function snapshotPolicyChange(body: UpdateSnapshotPolicy): PolicyChange {
  const interval = body.interval ?? SnapshotInterval.enum.find((known) => known === body.name)
  return {
    ...(interval && { interval }),
    ...(body.retention_count !== undefined && { retention_count: body.retention_count }),
    ...(body.start_time && { start_time: body.start_time }),
  }
}

function changeSnapshotPolicy(
  node: Pick<NodeContext, 'database'>,
  row: SnapshotPolicyRow,
  change: PolicyChange,
): void {
  const interval = change.interval ?? row.interval
  const startTime = change.start_time || row.start_time
  node.database.run(
    `UPDATE snapshot_policy SET interval = ?, retention_count = ?, start_time = ?, next_run = ? WHERE seq = ?`,
    interval,
    change.retention_count ?? row.retention_count,
    startTime,
    nextRunOf(startTime, interval),
    row.seq,
  )
}

/** UNIX milliseconds. @throws ApiError 422 when the start is no time */
function nextRunOf(startTime: string, interval: string): number {
  const start = Date.parse(startTime)
  if (Number.isNaN(start)) throw validationFailed(`start_time "${startTime}" is no ISO 8601 time`)
  return nextRun(start, interval, Date.now())
}

/** Removes the policies of an owner and of everything below it. */
export function deleteSnapshotPolicies(node: Pick<NodeContext, 'database'>, owner: string): void {
  node.database.run(
    `DELETE FROM snapshot_policy WHERE owner = ? OR substr(owner, 1, length(?) + 1) = ? || '/'`,
    owner,
    owner,
    owner,
  )
}

export function snapshotPolicyRoutes(node: NodeContext): Route[] {
  return [
    ...routesOf(node, '/app_instances/:ai', (request) => appInstancePath(locateAppInstance(node, request))),
    ...routesOf(node, '/app_instances/:ai/storage_instances/:si/volumes/:vol', (request) => {
      const { ai, si, volume } = locateVolume(node, request)
      return volumePath(ai.id, si.name, volume.name)
    }),
  ]
}

function routesOf(node: NodeContext, prefix: string, ownerOf: (request: ApiRequest) => string): Route[] {
  const collection = `${prefix}/snapshot_policies`
  const answer = (owner: string, name: string) => {
    const data = view(required(node, owner, name))
    return { data, path: data.path }
  }
  return [
    {
      method: 'GET',
      path: collection,
      summary: 'List snapshot policies',
      handle: (request) => {
        const { items, page } = listOf(request, snapshotPolicyViews(node, ownerOf(request)))
        return { data: items, page }
      },
    },
    {
      method: 'POST',
      path: collection,
      summary: 'Create a snapshot policy',
      body: CreateSnapshotPolicy,
      handle: (request) => {
        const owner = ownerOf(request)
        const policy = request.body(CreateSnapshotPolicy)
        insertSnapshotPolicy(node, owner, policy)
        return answer(owner, policy.name)
      },
    },
    {
      method: 'GET',
      path: `${collection}/:name`,
      summary: 'Read a snapshot policy',
      handle: (request) => answer(ownerOf(request), request.param('name')),
    },
    {
      method: 'PUT',
      path: `${collection}/:name`,
      summary: 'Update a snapshot policy',
      body: UpdateSnapshotPolicy,
      handle: (request) => {
        const owner = ownerOf(request)
        const row = required(node, owner, request.param('name'))
        changeSnapshotPolicy(node, row, snapshotPolicyChange(request.body(UpdateSnapshotPolicy)))
        return answer(owner, row.name)
      },
    },
    {
      method: 'DELETE',
      path: `${collection}/:name`,
      summary: 'Delete a snapshot policy; its snapshots stay',
      handle: (request) => {
        const row = required(node, ownerOf(request), request.param('name'))
        node.database.run('DELETE FROM snapshot_policy WHERE seq = ?', row.seq)
        return { data: view(row), path: view(row).path }
      },
    },
  ]
}

function required(node: NodeContext, owner: string, name: string): SnapshotPolicyRow {
  const row = node.database.get<SnapshotPolicyRow>(
    'SELECT * FROM snapshot_policy WHERE owner = ? AND name = ?',
    owner,
    name,
  )
  if (row === undefined) throw notFound(`${owner}/snapshot_policies/${name}`)
  return row
}

function view(row: SnapshotPolicyRow): SnapshotPolicy {
  return {
    path: `${row.owner}/snapshot_policies/${row.name}`,
    name: row.name,
    interval: row.interval,
    retention_count: row.retention_count,
    start_time: row.start_time,
  }
}
